//! Writing MetaImage files the way ITK does, so that every reader of LUNA16 reads them.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use atomic_write_file::AtomicWriteFile;
use flate2::Compression as Level;
use flate2::write::ZlibEncoder;

use crate::{Geometry, Volume};

use super::{ElementType, MetaImageError, Problem};

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
            let header = header_text::<T>(volume.geometry(), compression, &data_bytes.to_string(), &data_name);
            replace(path, |file| file.write_all(header.as_bytes())).map_err(at(path))
        }
        Some("mha") => replace(path, |file| {
            // The length of compressed data is known afterwards: room is left for it.
            let header = |size: u64| header_text::<T>(volume.geometry(), compression, &format!("{size:<20}"), "LOCAL");
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

/// The header in ITK's order of lines.
fn header_text<T: WriteElement>(geometry: &Geometry, compression: Compression, data_bytes: &str, data: &str) -> String {
    let words = |values: &[f64]| values.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
    let [nz, ny, nx] = geometry.shape_zyx;
    let axes: [f64; 9] = std::array::from_fn(|i| geometry.direction[i % 3][i / 3]);
    let compressed = match compression {
        Compression::None => "CompressedData = False\n".to_owned(),
        Compression::Zlib => format!("CompressedData = True\nCompressedDataSize = {data_bytes}\n"),
    };
    format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{compressed}\
         TransformMatrix = {}\nOffset = {}\nCenterOfRotation = 0 0 0\nAnatomicalOrientation = RAI\n\
         ElementSpacing = {}\nDimSize = {nx} {ny} {nz}\nElementType = {}\nElementDataFile = {data}\n",
        words(&axes),
        words(&geometry.origin_mm_xyz),
        words(&geometry.spacing_mm_xyz),
        T::ELEMENT_TYPE.name(),
    )
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
