// Where voxels, millimetres and the patient's sides are. Knows no page.
//
// A grid is what GET /api/scans/{id} says of a scan: shape_zyx, spacing_mm_xyz, origin_mm_xyz, direction. World
// coordinates are LPS: x to the patient's left, y to the back, z to the head. Voxels are [x, y, z].

export const PLANES = ["axial", "coronal", "sagittal"];

/** The grid's axes (0 is x) across a plane's slices, to the right of the picture and along its height. */
export const AXES = {
  axial: { across: 2, right: 0, down: 1, upright: false },
  coronal: { across: 1, right: 0, down: 2, upright: true },
  sagittal: { across: 0, right: 1, down: 2, upright: true },
};

export const count = (grid, axis) => grid.shape_zyx[2 - axis];

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export function worldFromVoxel(grid, voxel) {
  const step = voxel.map((index, axis) => index * grid.spacing_mm_xyz[axis]);
  return grid.origin_mm_xyz.map((origin, row) => origin + grid.direction[row].reduce((sum, cosine, axis) => sum + cosine * step[axis], 0));
}

export function voxelFromWorld(grid, point) {
  const offset = point.map((value, row) => value - grid.origin_mm_xyz[row]);
  // The direction is orthonormal: its transpose is its inverse.
  return [0, 1, 2].map((axis) => offset.reduce((sum, value, row) => sum + grid.direction[row][axis] * value, 0) / grid.spacing_mm_xyz[axis]);
}

/** The voxel nearest to a place, inside the grid. */
export function nearestVoxel(grid, point) {
  return voxelFromWorld(grid, point).map((index, axis) => clamp(Math.round(index), 0, count(grid, axis) - 1));
}

export function isInside(grid, point) {
  return voxelFromWorld(grid, point).every((index, axis) => index > -0.5 && index < count(grid, axis) - 0.5);
}

const SIDES = [["R", "L"], ["A", "P"], ["F", "H"]];

/** What lies in a direction: the side that it points to most, then others that it points to noticeably. */
function letters(vector) {
  const parts = vector.map((cosine, axis) => ({ size: Math.abs(cosine), letter: SIDES[axis][cosine > 0 ? 1 : 0] }));
  const seen = parts.filter(({ size }) => size > 0.2).sort((a, b) => b.size - a.size);
  return seen.map(({ letter }) => letter).join("");
}

/** The letters at the edges of a plane's picture. */
export function edgeLetters(grid, plane) {
  const { right, down, upright } = AXES[plane];
  const along = (axis, sign) => letters(grid.direction.map((row) => row[axis] * sign));
  const below = upright ? -1 : 1;
  return { right: along(right, 1), left: along(right, -1), bottom: along(down, below), top: along(down, -below) };
}

/** A place as fractions of a picture, which may lie outside of it, from a continuous voxel. */
export function pictureFromVoxel(grid, plane, voxel) {
  const { right, down, upright } = AXES[plane];
  const v = (voxel[down] + 0.5) / count(grid, down);
  return [(voxel[right] + 0.5) / count(grid, right), upright ? 1 - v : v];
}

/** The continuous voxel at a place of the picture of slice `index`. */
export function voxelFromPicture(grid, plane, index, [u, v]) {
  const { across, right, down, upright } = AXES[plane];
  const voxel = [0, 0, 0];
  voxel[across] = index;
  voxel[right] = u * count(grid, right) - 0.5;
  voxel[down] = (upright ? 1 - v : v) * count(grid, down) - 0.5;
  return voxel;
}

/** Millimetres along the width and the height of a plane's picture. */
export function pictureSize(grid, plane) {
  const { right, down } = AXES[plane];
  return [right, down].map((axis) => count(grid, axis) * grid.spacing_mm_xyz[axis]);
}

/** How far a sphere's centre lies from a slice, in millimetres, and whether the sphere touches the slice. */
export function touches(grid, plane, index, { center_mm_xyz, diameter_mm }) {
  const { across } = AXES[plane];
  const spacing = grid.spacing_mm_xyz[across];
  const away = Math.abs(voxelFromWorld(grid, center_mm_xyz)[across] - index) * spacing;
  return away <= diameter_mm / 2 + spacing / 2;
}

export const distance = (a, b) => Math.hypot(...a.map((value, axis) => value - b[axis]));
