//! Three-vectors in millimetres, `[x, y, z]`.

pub(crate) type Vec3 = [f32; 3];

pub(crate) fn add(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(crate) fn sub(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(crate) fn scale(a: Vec3, s: f32) -> Vec3 {
    [a[0] * s, a[1] * s, a[2] * s]
}

/// `a + s·b`.
pub(crate) fn along(a: Vec3, b: Vec3, s: f32) -> Vec3 {
    [a[0] + b[0] * s, a[1] + b[1] * s, a[2] + b[2] * s]
}

pub(crate) fn dot(a: Vec3, b: Vec3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(crate) fn norm(a: Vec3) -> f32 {
    dot(a, a).sqrt()
}

/// The unit vector along `a`, or z for the zero vector.
pub(crate) fn unit(a: Vec3) -> Vec3 {
    let n = norm(a);
    if n > 1e-9 { scale(a, 1.0 / n) } else { [0.0, 0.0, 1.0] }
}

/// Some unit vector perpendicular to `a`, close to `hint`.
pub(crate) fn perpendicular(a: Vec3, hint: Vec3) -> Vec3 {
    let a = unit(a);
    let p = along(hint, a, -dot(hint, a));
    if norm(p) > 1e-3 {
        return unit(p);
    }
    let other = if a[0].abs() < 0.8 { [1.0, 0.0, 0.0] } else { [0.0, 1.0, 0.0] };
    unit(cross(a, other))
}
