//! From the bytes of one voxel to a number.

use super::header::{ByteOrder, ElementType};

/// A voxel as the file stores it.
pub(super) trait Element: Copy {
    /// The bytes' value; `bytes` has the size of the type.
    fn decode(bytes: &[u8], order: ByteOrder) -> Self;

    /// As ITK's CastImageFilter and numpy's `astype(int16)` within the range of i16 (towards zero), saturated
    /// outside, and whether that happened; `None` for a number that is not finite.
    fn to_hu(self) -> Option<(i16, bool)>;

    /// The nearest f32; `None` for a number that is not finite.
    fn to_f32(self) -> Option<f32>;
}

macro_rules! decode {
    ($bytes:ident, $order:ident, $type:ty) => {{
        let mut buffer = [0; size_of::<$type>()];
        buffer.copy_from_slice($bytes);
        match $order {
            ByteOrder::Little => <$type>::from_le_bytes(buffer),
            ByteOrder::Big => <$type>::from_be_bytes(buffer),
        }
    }};
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Element for $type {
            fn decode(bytes: &[u8], order: ByteOrder) -> Self {
                decode!(bytes, order, $type)
            }

            fn to_hu(self) -> Option<(i16, bool)> {
                // Every type but u64 fits in i64, and what does not is far outside i16 anyway.
                let wide = i64::try_from(self).unwrap_or(i64::MAX);
                let value = wide.clamp(i64::from(i16::MIN), i64::from(i16::MAX));
                Some((value as i16, value != wide))
            }

            fn to_f32(self) -> Option<f32> {
                Some(self as f32)
            }
        }
    )*};
}

macro_rules! float {
    ($($type:ty),*) => {$(
        impl Element for $type {
            fn decode(bytes: &[u8], order: ByteOrder) -> Self {
                decode!(bytes, order, $type)
            }

            fn to_hu(self) -> Option<(i16, bool)> {
                // `as` truncates towards zero and saturates.
                let value = self as i16;
                self.is_finite().then(|| (value, <$type>::from(value) != self.trunc()))
            }

            fn to_f32(self) -> Option<f32> {
                let value = self as f32;
                value.is_finite().then_some(value)
            }
        }
    )*};
}

integer!(i8, u8, i16, u16, i32, u32, i64, u64);
float!(f32, f64);

/// A kind of number that voxels are wanted as.
pub(super) trait Sample: Copy {
    /// The value and whether it was saturated; `None` for a number that is not finite.
    fn from_element<E: Element>(element: E) -> Option<(Self, bool)>;
}

impl Sample for i16 {
    fn from_element<E: Element>(element: E) -> Option<(Self, bool)> {
        element.to_hu()
    }
}

impl Sample for f32 {
    fn from_element<E: Element>(element: E) -> Option<(Self, bool)> {
        element.to_f32().map(|value| (value, false))
    }
}

/// What a piece of voxels was found to hold.
#[derive(Default)]
pub(super) struct Counts {
    /// Voxels that were saturated.
    pub(super) saturated: u64,
    /// Voxels that are not finite.
    pub(super) non_finite: u64,
    /// Position of the first of them in the piece.
    pub(super) first_non_finite: usize,
}

/// Appends the voxels in `bytes` to `out`; one that is not finite is left out and counted.
pub(super) type Convert<S> = fn(bytes: &[u8], order: ByteOrder, out: &mut Vec<S>) -> Counts;

/// The conversion from the type of the file.
pub(super) fn conversion<S: Sample>(element_type: ElementType) -> Convert<S> {
    match element_type {
        ElementType::Char => convert::<i8, S>,
        ElementType::UChar => convert::<u8, S>,
        ElementType::Short => convert::<i16, S>,
        ElementType::UShort => convert::<u16, S>,
        ElementType::Int | ElementType::Long => convert::<i32, S>,
        ElementType::UInt | ElementType::ULong => convert::<u32, S>,
        ElementType::LongLong => convert::<i64, S>,
        ElementType::ULongLong => convert::<u64, S>,
        ElementType::Float => convert::<f32, S>,
        ElementType::Double => convert::<f64, S>,
    }
}

fn convert<E: Element, S: Sample>(bytes: &[u8], order: ByteOrder, out: &mut Vec<S>) -> Counts {
    let mut counts = Counts::default();
    out.extend(bytes.chunks_exact(size_of::<E>()).enumerate().filter_map(|(position, bytes)| {
        let sample = S::from_element(E::decode(bytes, order));
        match sample {
            Some((_, saturated)) => counts.saturated += u64::from(saturated),
            None => {
                if counts.non_finite == 0 {
                    counts.first_non_finite = position;
                }
                counts.non_finite += 1;
            }
        }
        sample.map(|(value, _)| value)
    }));
    counts
}
