//! Writing MetaImage files the way ITK does, so that every reader of LUNA16 reads them.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use atomic_write_file::AtomicWriteFile;
use flate2::Compression as Level;
use flate2::write::ZlibEncoder;

use crate::{Geometry, Volume};

use super::{ByteOrder, DataFile, ElementType, Header, HeaderSize, MetaImageError, Problem};

/// How the voxels are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As they are: `.raw`, or behind the header in a `.mha`.
    #[default]
    None,
    /// zlib: `.zraw`, or behind the header in a `.mha`.
    Zlib,
}

/// A type of voxel that can be written.
pub trait WriteElement: Copy + private::Sealed {
    /// Its name in the header.
    const ELEMENT_TYPE: ElementType;
    /// Appends the little-endian bytes.
    fn encode(self, out: &mut Vec<u8>);
}

mod private {
    pub trait Sealed {}
}

macro_rules! write_element {
    ($($type:ty => $name:ident),*) => {$(
        impl private::Sealed for $type {}
        impl WriteElement for $type {
            const ELEMENT_TYPE: ElementType = ElementType::$name;
            fn encode(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

write_element!(u8 => UChar, i16 => Short, f32 => Float);

/// Writes `volume` to `path`: a header with a `.raw` or `.zraw` beside it for a name in `.mhd`, one file for a name in
/// `.mha`.
///
/// Each file appears complete or not at all (written aside, synced, renamed), the header last; an existing image of
/// the same name is replaced.
pub fn write<T: WriteElement>(path: &Path, volume: &Volume<T>, compression: Compression) -> Result<(), MetaImageError> {
    let name_problem = || Problem::Name.at(path);
    let stem = path.file_stem().and_then(|s| s.to_str()).ok_or_else(name_problem)?;
    match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("mhd") => {
            let data_name = match compression {
                Compression::None => format!("{stem}.raw"),
                Compression::Zlib => format!("{stem}.zraw"),
            };
            let data_path = path.with_file_name(&data_name);
            let data_bytes =
                replace(&data_path, |file| write_voxels(volume, compression, file)).map_err(at(&data_path))?;
            let header = own_header::<T>(volume.geometry(), compression, &data_bytes.to_string(), &data_name);
            replace(path, |file| file.write_all(header.as_bytes())).map_err(at(path))
        }
        Some("mha") => replace(path, |file| {
            // The length of compressed data is known afterwards: room is left for it.
            let header = |size: u64| own_header::<T>(volume.geometry(), compression, &format!("{size:<20}"), "LOCAL");
            file.write_all(header(0).as_bytes())?;
            let data_bytes = write_voxels(volume, compression, file)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(header(data_bytes).as_bytes())
        })
        .map_err(at(path)),
        _ => Err(name_problem()),
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> MetaImageError {
    move |source| Problem::Io { doing: "writing", source }.at(path)
}

/// The text of a header that says what `header` says, with the voxels in the file `data_file` beside it, and nothing else:
/// whatever other lines the original had, such as a patient's attributes, are not in it.
pub fn header_text(header: &Header, data_file: &str) -> String {
    let size = header.compressed_bytes.map(|bytes| bytes.to_string());
    let compressed = header.compressed.then_some(size.as_deref());
    let skipped = match header.header_size {
        HeaderSize::Bytes(bytes) => bytes.to_string(),
        HeaderSize::FromEnd => "-1".to_owned(),
        HeaderSize::None => match header.data_file {
            // What was behind a text is now in a file with that text before it.
            DataFile::Local => header.text_bytes.to_string(),
            DataFile::Named(_) => String::new(),
        },
    };
    let order = header.byte_order;
    text(&header.geometry, header.element_type, order, compressed, &skipped, data_file)
}

/// The header in ITK's order of lines; `compressed` holds the length of the compressed data where it is known.
fn text(
    geometry: &Geometry,
    element_type: ElementType,
    order: ByteOrder,
    compressed: Option<Option<&str>>,
    skipped: &str,
    data: &str,
) -> String {
    let words = |values: &[f64]| values.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
    let [nz, ny, nx] = geometry.shape_zyx;
    let axes: [f64; 9] = std::array::from_fn(|i| geometry.direction[i % 3][i / 3]);
    let big = if order == ByteOrder::Big { "True" } else { "False" };
    let compressed = match compressed {
        None => "CompressedData = False\n".to_owned(),
        Some(None) => "CompressedData = True\n".to_owned(),
        Some(Some(bytes)) => format!("CompressedData = True\nCompressedDataSize = {bytes}\n"),
    };
    let skipped = if skipped.is_empty() { String::new() } else { format!("HeaderSize = {skipped}\n") };
    format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = {big}\n{compressed}\
         TransformMatrix = {}\nOffset = {}\nCenterOfRotation = 0 0 0\nAnatomicalOrientation = RAI\n\
         ElementSpacing = {}\nDimSize = {nx} {ny} {nz}\n{skipped}ElementType = {}\nElementDataFile = {data}\n",
        words(&axes),
        words(&geometry.origin_mm_xyz),
        words(&geometry.spacing_mm_xyz),
        element_type.name(),
    )
}

/// The header of what is written here.
fn own_header<T: WriteElement>(geometry: &Geometry, compression: Compression, data_bytes: &str, data: &str) -> String {
    let compressed = (compression == Compression::Zlib).then_some(Some(data_bytes));
    text(geometry, T::ELEMENT_TYPE, ByteOrder::Little, compressed, "", data)
}

/// Writes the voxels and returns how many bytes they took.
fn write_voxels<T: WriteElement>(
    volume: &Volume<T>,
    compression: Compression,
    file: &mut (impl Write + Seek),
) -> io::Result<u64> {
    let start = file.stream_position()?;
    match compression {
        Compression::None => encode(volume, file)?,
        Compression::Zlib => {
            let mut encoder = ZlibEncoder::new(&mut *file, Level::default());
            encode(volume, &mut encoder)?;
            encoder.finish()?;
        }
    }
    Ok(file.stream_position()? - start)
}

fn encode<T: WriteElement>(volume: &Volume<T>, out: &mut impl Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    for piece in volume.voxels().chunks(1 << 18) {
        bytes.clear();
        piece.iter().for_each(|voxel| voxel.encode(&mut bytes));
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Writes a file aside, syncs it and puts it in place.
fn replace<O>(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<O>) -> io::Result<O> {
    let aside = AtomicWriteFile::open(path)?;
    let mut file = BufWriter::new(aside.as_file());
    let output = write(&mut file)?;
    file.flush()?;
    drop(file);
    aside.commit()?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metaimage::Limits;

    #[test]
    fn a_header_written_anew_says_the_same_and_nothing_of_the_patient() {
        let original = "ObjectType = Image\nNDims = 3\nPatientName = X^Y\nComment = Z\nBinaryDataByteOrderMSB = True\n\
            CompressedData = True\nTransformMatrix = 0 1 0 1 0 0 0 0 -1\nOffset = -1.5 2.25 3e2\n\
            ElementSpacing = 0.703125 0.703125 1.25\nDimSize = 4 5 6\nHeaderSize = 7\nElementType = MET_USHORT\n\
            ElementDataFile = x y.zraw\n";
        let limits = Limits::strangers();
        let header = Header::parse(original.as_bytes(), &limits).unwrap();
        let text = header_text(&header, "1.2.3.zraw");
        assert!(!text.contains("X^Y") && !text.contains("Comment"), "{text}");
        let again = Header::parse(text.as_bytes(), &limits).unwrap();
        let named = DataFile::Named("1.2.3.zraw".to_owned());
        assert_eq!(again, Header { data_file: named, text_bytes: text.len(), ..header });

        let local = original.replace("HeaderSize = 7\n", "").replace("x y.zraw", "LOCAL");
        let header = Header::parse(local.as_bytes(), &limits).unwrap();
        let again = Header::parse(header_text(&header, "a.mha").as_bytes(), &limits).unwrap();
        assert_eq!(again.header_size, HeaderSize::Bytes(local.len() as u64));
    }
}
