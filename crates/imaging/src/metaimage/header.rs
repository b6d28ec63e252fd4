//! The text of a MetaImage header and what it says about the voxels.
//!
//! Behaves as ITK 5.4's MetaImageIO where ITK gives an image: keys are case-sensitive and may be followed by `=` or
//! `:`, unknown keys are ignored, `TransformMatrix` holds one grid axis after the other (the transpose of ITK's
//! `GetDirection()`), a negative spacing flips its axis, and `MET_LONG` has 32 bits. Where ITK picks one of two
//! contradicting lines, this reader refuses.

use crate::Geometry;

use super::{Limits, Problem};

/// Type of the voxels in the file, under MetaIO's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are MetaIO's")]
pub enum ElementType {
    Char,
    UChar,
    Short,
    UShort,
    Int,
    UInt,
    Long,
    ULong,
    LongLong,
    ULongLong,
    Float,
    Double,
}

impl ElementType {
    const ALL: [Self; 12] = [
        Self::Char,
        Self::UChar,
        Self::Short,
        Self::UShort,
        Self::Int,
        Self::UInt,
        Self::Long,
        Self::ULong,
        Self::LongLong,
        Self::ULongLong,
        Self::Float,
        Self::Double,
    ];

    /// MetaIO's name, e.g. `MET_SHORT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Char => "MET_CHAR",
            Self::UChar => "MET_UCHAR",
            Self::Short => "MET_SHORT",
            Self::UShort => "MET_USHORT",
            Self::Int => "MET_INT",
            Self::UInt => "MET_UINT",
            Self::Long => "MET_LONG",
            Self::ULong => "MET_ULONG",
            Self::LongLong => "MET_LONG_LONG",
            Self::ULongLong => "MET_ULONG_LONG",
            Self::Float => "MET_FLOAT",
            Self::Double => "MET_DOUBLE",
        }
    }

    /// Bytes per voxel.
    pub fn size(self) -> usize {
        match self {
            Self::Char | Self::UChar => 1,
            Self::Short | Self::UShort => 2,
            // MetaIO fixes `long` to 32 bits, whatever the machine's C compiler means by it.
            Self::Int | Self::UInt | Self::Long | Self::ULong | Self::Float => 4,
            Self::LongLong | Self::ULongLong | Self::Double => 8,
        }
    }
}

/// Order of the bytes of one voxel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first (`BinaryDataByteOrderMSB = True`).
    Big,
}

/// Where the voxels are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataFile {
    /// In the same file, right after the header (`LOCAL`).
    Local,
    /// In a file of this name; a relative name counts from the header's folder.
    Named(String),
}

/// How many bytes of the data file come before the voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderSize {
    /// `HeaderSize` absent or 0: the voxels start at the beginning of the data file, or right after a `LOCAL` header.
    None,
    /// So many bytes from the beginning of the data file are to be skipped.
    Bytes(u64),
    /// `HeaderSize = -1`: the voxels are the last bytes of the data file.
    FromEnd,
}

/// A header whose every claim has been checked on its own and against [`Limits`].
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The grid.
    pub geometry: Geometry,
    /// Type of the voxels in the file.
    pub element_type: ElementType,
    /// Byte order of the voxels in the file.
    pub byte_order: ByteOrder,
    /// Whether the voxels are zlib-compressed.
    pub compressed: bool,
    /// Length of the compressed data, if stated (`CompressedDataSize`).
    pub compressed_bytes: Option<u64>,
    /// Bytes before the voxels.
    pub header_size: HeaderSize,
    /// Where the voxels are.
    pub data_file: DataFile,
    /// Length of the header's text up to and including the line `ElementDataFile`, bytes.
    pub text_bytes: usize,
    /// Whether the header states the spacing; ITK assumes 1 mm where it does not.
    pub spacing_stated: bool,
}

impl Header {
    /// Understands the beginning of a .mhd or .mha file. `bytes` may go on after the header and is looked at as far
    /// as [`Limits::MAX_HEADER_BYTES`].
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Problem> {
        let fields = Fields::parse(bytes, limits)?;
        fields.header(limits)
    }

    /// Bytes of voxels after decompression.
    pub fn voxel_bytes(&self) -> u64 {
        // `Geometry::validated` bounds the number of voxels by isize::MAX / 8, and no element is larger than 8 bytes.
        self.geometry.voxel_count() as u64 * self.element_type.size() as u64
    }

    /// How long the data file must be, where the header alone tells (it does not for compressed data without
    /// `CompressedDataSize` and for `HeaderSize = -1`).
    pub fn data_file_bytes(&self) -> Option<u64> {
        let payload = if self.compressed { self.compressed_bytes? } else { self.voxel_bytes() };
        let before = match (self.header_size, &self.data_file) {
            (HeaderSize::FromEnd, _) => return None,
            (HeaderSize::Bytes(n), _) => n,
            (HeaderSize::None, DataFile::Local) => self.text_bytes as u64,
            (HeaderSize::None, DataFile::Named(_)) => 0,
        };
        before.checked_add(payload)
    }

    /// "512 x 512 x 133 voxels of MET_SHORT", for messages.
    pub(crate) fn claim(&self) -> String {
        let [nz, ny, nx] = self.geometry.shape_zyx;
        format!("{nx} x {ny} x {nz} voxels of {}", self.element_type.name())
    }
}

/// The keys that are read; all others are ignored, as ITK does.
const KEYS: [&str; 20] = [
    "ObjectType",
    "NDims",
    "BinaryData",
    "BinaryDataByteOrderMSB",
    "ElementByteOrderMSB",
    "CompressedData",
    "CompressedDataSize",
    "TransformMatrix",
    "Rotation",
    "Orientation",
    "Offset",
    "Position",
    "Origin",
    "ElementSpacing",
    "ElementSize",
    "DimSize",
    "HeaderSize",
    "ElementNumberOfChannels",
    "ElementType",
    "ElementDataFile",
];

/// One `Key = value` line.
struct Field {
    line: usize,
    key: &'static str,
    value: String,
}

impl Field {
    fn wrong(&self, expected: impl Into<String>) -> Problem {
        const SHOWN: usize = 80;
        let mut found: String = self.value.chars().map(|c| if c.is_control() { '?' } else { c }).take(SHOWN).collect();
        if self.value.chars().nth(SHOWN).is_some() {
            found.push('…');
        }
        Problem::Field { line: self.line, key: self.key, found, expected: expected.into() }
    }

    fn flag(&self) -> Result<bool, Problem> {
        match self.value.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" => Ok(true),
            "false" | "f" | "0" | "no" => Ok(false),
            _ => Err(self.wrong("True or False")),
        }
    }

    fn numbers<T: std::str::FromStr, const N: usize>(&self, expected: &str) -> Result<[T; N], Problem> {
        let values: Option<Vec<T>> = self.value.split_whitespace().take(N + 1).map(|word| word.parse().ok()).collect();
        values.and_then(|v| <[T; N]>::try_from(v).ok()).ok_or_else(|| self.wrong(expected))
    }

    fn number<T: std::str::FromStr>(&self, expected: &str) -> Result<T, Problem> {
        self.numbers::<T, 1>(expected).map(|[value]| value)
    }
}

struct Fields {
    fields: Vec<Field>,
    text_bytes: usize,
}

impl Fields {
    fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Problem> {
        let text = &bytes[..bytes.len().min(Limits::MAX_HEADER_BYTES)];
        let mut fields: Vec<Field> = Vec::new();
        let mut text_bytes = 0;
        for (number, raw) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            text_bytes += raw.len();
            let line = number + 1;
            // An editor's byte order mark is not part of the first key.
            let raw = if line == 1 { raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(raw) } else { raw };
            let raw = raw.trim_ascii();
            if raw.is_empty() {
                continue;
            }
            let Some(separator) = raw.iter().position(|byte| matches!(byte, b'=' | b':')) else {
                if raw.starts_with(b"#") {
                    continue;
                }
                return Err(if fields.is_empty() {
                    Problem::NotMetaImage { limit: Limits::MAX_HEADER_BYTES }
                } else {
                    Problem::Line { line }
                });
            };
            let key = raw[..separator].trim_ascii();
            let Some(&key) = KEYS.iter().find(|known| known.as_bytes() == key) else { continue };
            let value = String::from_utf8_lossy(raw[separator + 1..].trim_ascii()).into_owned();
            let field = Field { line, key, value };
            if let Some(earlier) = fields.iter().find(|f| f.key == key)
                && (limits.strict || earlier.value != field.value)
            {
                return Err(Problem::Twice { key, first: earlier.line, second: line });
            }
            fields.push(field);
            if key == "ElementDataFile" {
                return Ok(Self { fields, text_bytes });
            }
        }
        Err(Problem::NotMetaImage { limit: Limits::MAX_HEADER_BYTES })
    }

    fn get(&self, key: &'static str) -> Option<&Field> {
        debug_assert!(KEYS.contains(&key));
        self.fields.iter().find(|field| field.key == key)
    }

    fn required(&self, key: &'static str, expected: &'static str) -> Result<&Field, Problem> {
        self.get(key).ok_or(Problem::Missing { key, expected })
    }

    /// The one of several keys of one meaning; two of them must agree.
    fn one_of(&self, keys: &[&'static str], strict: bool) -> Result<Option<&Field>, Problem> {
        let mut given = keys.iter().filter_map(|key| self.get(key));
        let Some(first) = given.next() else { return Ok(None) };
        match given.find(|other| strict || !other.value.split_whitespace().eq(first.value.split_whitespace())) {
            None => Ok(Some(first)),
            Some(other) => Err(Problem::Twice {
                key: keys[0],
                first: first.line.min(other.line),
                second: first.line.max(other.line),
            }),
        }
    }

    fn flag(&self, key: &'static str, default: bool) -> Result<bool, Problem> {
        self.get(key).map_or(Ok(default), Field::flag)
    }

    fn header(&self, limits: &Limits) -> Result<Header, Problem> {
        if let Some(kind) = self.get("ObjectType")
            && !kind.value.eq_ignore_ascii_case("image")
        {
            return Err(kind.wrong("Image"));
        }
        let dims = self.required("NDims", "NDims = 3")?;
        if dims.number::<u32>("3")? != 3 {
            return Err(
                dims.wrong("3: one volume; take a single volume out of a series, or stack slices into one file")
            );
        }
        if let Some(channels) = self.get("ElementNumberOfChannels")
            && channels.number::<u32>("1")? != 1
        {
            return Err(channels.wrong("1: a CT has one value per voxel, this may be a colour or a vector image"));
        }
        if !self.flag("BinaryData", true)? {
            let binary = self.required("BinaryData", "BinaryData = True")?;
            return Err(
                binary.wrong("True: voxels as text are not read; write the image anew with SimpleITK.WriteImage")
            );
        }
        let (geometry, spacing_stated) = self.geometry(limits)?;
        let kind = self.required("ElementType", "e.g. ElementType = MET_SHORT")?;
        let element_type = *ElementType::ALL
            .iter()
            .find(|t| t.name() == kind.value)
            .ok_or_else(|| kind.wrong(format!("one of {}", ElementType::ALL.map(ElementType::name).join(", "))))?;
        let big = self.one_of(&["BinaryDataByteOrderMSB", "ElementByteOrderMSB"], limits.strict)?;
        let byte_order = if big.map_or(Ok(false), Field::flag)? { ByteOrder::Big } else { ByteOrder::Little };
        let compressed = self.flag("CompressedData", false)?;
        let compressed_bytes = match self.get("CompressedDataSize") {
            Some(size) if compressed => Some(size.number::<u64>("a number of bytes")?),
            _ => None,
        };
        let header = Header {
            geometry,
            element_type,
            byte_order,
            compressed,
            compressed_bytes,
            header_size: self.header_size(compressed, limits)?,
            data_file: self.data_file(limits)?,
            text_bytes: self.text_bytes,
            spacing_stated,
        };
        Ok(header)
    }

    fn geometry(&self, limits: &Limits) -> Result<(Geometry, bool), Problem> {
        let dims = self.required("DimSize", "three numbers of voxels, x y z")?;
        let [nx, ny, nz] = dims.numbers::<usize, 3>("three numbers of voxels, x y z")?;
        let shape_zyx = [nz, ny, nx];
        if shape_zyx.iter().any(|n| !(1..=limits.max_dim).contains(n)) {
            return Err(dims.wrong(match limits.max_dim {
                usize::MAX => "three numbers of voxels from 1".to_owned(),
                most => format!("three numbers of voxels from 1 to {most}"),
            }));
        }
        let count = shape_zyx.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if count.is_none_or(|n| n > limits.max_voxels) && limits.max_voxels != usize::MAX {
            return Err(dims.wrong(format!("at most {} voxels in all", limits.max_voxels)));
        }

        let spacing = self.get("ElementSpacing").or(self.get("ElementSize"));
        if spacing.is_none() && limits.strict {
            return Err(Problem::Missing { key: "ElementSpacing", expected: "three distances in mm, x y z" });
        }
        let mut spacing_mm_xyz = [1.0; 3];
        let mut flip = [1.0; 3];
        if let Some(field) = spacing {
            spacing_mm_xyz = field.numbers::<f64, 3>("three distances in mm, x y z")?;
            if !limits.strict {
                flip = spacing_mm_xyz.map(|s| if s < 0.0 { -1.0 } else { 1.0 });
                spacing_mm_xyz = spacing_mm_xyz.map(f64::abs);
            }
            if !spacing_mm_xyz.iter().all(|s| s.is_finite() && limits.spacing_mm.contains(s)) {
                let (low, high) = (limits.spacing_mm.start(), limits.spacing_mm.end());
                return Err(field.wrong(match limits.strict {
                    true => format!("three distances from {low} to {high} mm, x y z"),
                    false => "three finite distances above 0 mm, x y z".to_owned(),
                }));
            }
        }

        let origin = self.one_of(&["Offset", "Position", "Origin"], limits.strict)?;
        let origin_mm_xyz = match origin {
            None => [0.0; 3],
            Some(field) => field.numbers::<f64, 3>("three positions in mm, x y z")?,
        };
        let mut direction = crate::geometry::IDENTITY;
        if let Some(field) = self.one_of(&["TransformMatrix", "Rotation", "Orientation"], limits.strict)? {
            // One grid axis after the other, so that file row = column of the direction matrix.
            let axes = field.numbers::<f64, 9>("nine direction cosines")?;
            direction = std::array::from_fn(|r| std::array::from_fn(|c| axes[c * 3 + r]));
        }
        let direction = direction.map(|row| std::array::from_fn(|c| if flip[c] < 0.0 { -row[c] } else { row[c] }));
        let geometry = Geometry { shape_zyx, spacing_mm_xyz, origin_mm_xyz, direction }.validated()?;
        Ok((geometry, spacing.is_some()))
    }

    fn header_size(&self, compressed: bool, limits: &Limits) -> Result<HeaderSize, Problem> {
        let Some(field) = self.get("HeaderSize") else { return Ok(HeaderSize::None) };
        match field.number::<i64>("a number of bytes, or -1")? {
            0 => Ok(HeaderSize::None),
            -1 if compressed => Err(field.wrong("a number of bytes: -1 has no meaning for compressed data")),
            -1 if limits.strict => Err(field.wrong("a number of bytes: -1 leaves open how long the data file is")),
            -1 => Ok(HeaderSize::FromEnd),
            bytes => u64::try_from(bytes)
                .map(HeaderSize::Bytes)
                .map_err(|_| field.wrong("a number of bytes, or -1 for the end of the file")),
        }
    }

    fn data_file(&self, limits: &Limits) -> Result<DataFile, Problem> {
        let field = self.required("ElementDataFile", "LOCAL or the name of a data file")?;
        let name = field.value.as_str();
        if name.eq_ignore_ascii_case("local") {
            return Ok(DataFile::Local);
        }
        if name.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("list")) || name.contains('%') {
            return Err(field.wrong(
                "one data file; join the slices first: SimpleITK.WriteImage(SimpleITK.ReadImage(\"this.mhd\"), \"one.mha\")",
            ));
        }
        if name.is_empty() || name.contains(['\0', '\u{fffd}']) {
            return Err(field.wrong("LOCAL or the name of a data file in UTF-8"));
        }
        let plain =
            !name.contains(['/', '\\', ':']) && name != "." && name != ".." && !name.chars().any(char::is_control);
        if limits.strict && !plain {
            return Err(field.wrong("LOCAL or a plain file name, without folder, drive or address"));
        }
        Ok(DataFile::Named(name.to_owned()))
    }
}
