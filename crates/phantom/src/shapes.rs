//! Signed distances (negative inside, millimetres) of the simple bodies that a chest is built from. Ellipses use the
//! first-order distance `f(p) / |∇f(p)|`, exact on the surface, which is where partial volume needs it.

use crate::vector::{Vec3, along, dot, norm, sub};

/// A line segment whose radius changes linearly from `r0` at `a` to `r1` at `b`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Capsule {
    pub(crate) a: Vec3,
    pub(crate) b: Vec3,
    pub(crate) r0: f32,
    pub(crate) r1: f32,
}

impl Capsule {
    /// Distance to the axis and the radius at the nearest point of the axis.
    pub(crate) fn axis_distance(&self, p: Vec3) -> (f32, f32) {
        let ab = sub(self.b, self.a);
        let ap = sub(p, self.a);
        let t = (dot(ap, ab) / dot(ab, ab).max(1e-12)).clamp(0.0, 1.0);
        (norm(along(ap, ab, -t)), self.r0 + (self.r1 - self.r0) * t)
    }

    pub(crate) fn distance(&self, p: Vec3) -> f32 {
        let (d, r) = self.axis_distance(p);
        d - r
    }

    pub(crate) fn max_radius(&self) -> f32 {
        self.r0.max(self.r1)
    }
}

/// An ellipsoid with axes along x, y, z.
pub(crate) fn ellipsoid(p: Vec3, centre: Vec3, axes: Vec3) -> f32 {
    let q = sub(p, centre);
    let k0 = norm([q[0] / axes[0], q[1] / axes[1], q[2] / axes[2]]);
    let k1 = norm([q[0] / (axes[0] * axes[0]), q[1] / (axes[1] * axes[1]), q[2] / (axes[2] * axes[2])]);
    if k1 < 1e-6 { -axes[0].min(axes[1]).min(axes[2]) } else { k0 * (k0 - 1.0) / k1 }
}

/// An ellipse in the plane, infinitely long along the third axis.
pub(crate) fn ellipse(x: f32, y: f32, a: f32, b: f32) -> f32 {
    let (u, v) = (x / a, y / b);
    let k0 = (u * u + v * v).sqrt();
    let (gu, gv) = (u / a, v / b);
    let k1 = (gu * gu + gv * gv).sqrt();
    if k1 < 1e-6 { -a.min(b) } else { k0 * (k0 - 1.0) / k1 }
}

/// A superellipse between an ellipse (`square` 0) and its fourth-power relative (`square` 1).
pub(crate) fn superellipse(x: f32, y: f32, a: f32, b: f32, square: f32) -> f32 {
    let (u, v) = ((x / a) * (x / a), (y / b) * (y / b));
    let round = (u + v).sqrt();
    let fourth = (u * u + v * v).sqrt().sqrt();
    let f = round + (fourth - round) * square;
    // The slope of f along the ray from the centre is f/|p|; across it, the gradient is bounded by 1/min(a, b).
    let r = (x * x + y * y).sqrt();
    if r < 1e-3 { -a.min(b) } else { (f - 1.0) * r / f.max(1e-3) }
}

/// A box with rounded corners of radius `round`.
pub(crate) fn rounded_box(p: Vec3, centre: Vec3, half: Vec3, round: f32) -> f32 {
    let q = sub(p, centre);
    let d: Vec3 = std::array::from_fn(|i| q[i].abs() - half[i] + round);
    norm([d[0].max(0.0), d[1].max(0.0), d[2].max(0.0)]) + d[0].max(d[1]).max(d[2]).min(0.0) - round
}

/// Polynomial smooth minimum: unites two bodies with a fillet of about `k` millimetres.
pub(crate) fn smooth_min(a: f32, b: f32, k: f32) -> f32 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.min(b) - h * h * k * 0.25
}

/// The smooth intersection that belongs to [`smooth_min`].
pub(crate) fn smooth_max(a: f32, b: f32, k: f32) -> f32 {
    -smooth_min(-a, -b, k)
}

/// 0 below `low`, 1 above `high`, smooth between.
pub(crate) fn smooth_step(low: f32, high: f32, v: f32) -> f32 {
    let t = ((v - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
