// From CT values to grey levels.

/** Those of `imaging::Window`. */
export const PRESETS = {
  lung: { center: -600, width: 1500 },
  mediastinum: { center: 40, width: 400 },
  bone: { center: 400, width: 1800 },
};

const LOWEST = -32768;
const table = new Uint32Array(65536);
let made = "";

/** The pixel of every CT value, at its distance from the lowest; LINEAR_EXACT of DICOM PS3.3 C.11.2.1.3.2. */
export function pixels({ center, width }) {
  const wanted = `${center}/${width}`;
  if (made !== wanted) {
    for (let at = 0; at < table.length; at++) {
      const unit = (at + LOWEST - center) / width + 0.5;
      const level = unit <= 0 ? 0 : unit >= 1 ? 255 : (unit * 255 + 0.5) | 0;
      table[at] = 0xff000000 | (level << 16) | (level << 8) | level;
    }
    made = wanted;
  }
  return table;
}

/** Paints a slice of CT values into a picture of the same size, the last row first where the head is up. */
export function paint(values, image, columns, upright, window) {
  const lookUp = pixels(window);
  const out = new Uint32Array(image.data.buffer);
  const rows = values.length / columns;
  for (let row = 0; row < rows; row++) {
    let from = row * columns;
    let to = (upright ? rows - 1 - row : row) * columns;
    for (const end = from + columns; from < end; ) out[to++] = lookUp[values[from++] + 32768];
  }
}
