//! From a file on disk to voxels, in bounded pieces: the file is never in memory as a whole beside its voxels.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::ZlibDecoder;

use crate::Volume;

use super::element::{Sample, conversion};
use super::header::{ByteOrder, DataFile, ElementType, Header, HeaderSize};
use super::{Limits, MetaImageError, Problem};

/// Bytes that are decoded at a time.
const CHUNK: usize = 1 << 20;

/// zlib cannot pack more than this many bytes into one (RFC 1951: 258 bytes per two bits, rounded up).
const ZLIB_MAX_RATIO: u64 = 1032;

/// Reads and checks a header, without the voxels.
pub fn read_header(path: &Path) -> Result<Header, MetaImageError> {
    open_header(path, &Limits::local()).map(|(header, _)| header)
}

/// Reads an image of any scalar type as CT values.
///
/// Numbers are brought to `i16` as ITK's CastImageFilter does (towards zero) and saturated outside its range; use
/// [`Reader`] to learn whether that happened, to apply other [`Limits`] or to see the voxels pass without keeping them.
pub fn read_hu(path: &Path) -> Result<Volume<i16>, MetaImageError> {
    Reader::open(path, &Limits::local())?.read_hu().map(|(volume, _)| volume)
}

/// Reads an image of any scalar type as `f32`, each number rounded to the nearest.
pub fn read_f32(path: &Path) -> Result<Volume<f32>, MetaImageError> {
    Reader::open(path, &Limits::local())?.read_f32()
}

/// An image whose header and data length have been checked, ready to be decoded once.
#[derive(Debug)]
pub struct Reader<R> {
    header: Header,
    data: R,
    /// For messages: the file that holds the voxels.
    data_path: PathBuf,
    /// Bytes in the data stream, from its current position, that belong to the image.
    stored_bytes: u64,
}

/// Voxels that can be read from anywhere in the middle.
#[derive(Debug)]
pub(crate) struct PlainInt16 {
    pub(crate) path: PathBuf,
    /// Bytes before the first voxel.
    pub(crate) start: u64,
    pub(crate) order: ByteOrder,
}

impl PlainInt16 {
    /// Opens the file again: whoever reads here does not disturb others.
    pub(crate) fn open(&self) -> Result<File, MetaImageError> {
        File::open(&self.path).map_err(|source| self.failed(source))
    }

    /// Reads the voxels from the one at `offset` on until `bytes` is full.
    pub(crate) fn read(&self, file: &mut File, offset: usize, bytes: &mut [u8]) -> Result<(), MetaImageError> {
        let position = self.start + offset as u64 * size_of::<i16>() as u64;
        file.seek(SeekFrom::Start(position)).and_then(|_| file.read_exact(bytes)).map_err(|source| self.failed(source))
    }

    /// The voxel in two bytes.
    pub(crate) fn value(&self, bytes: [u8; 2]) -> i16 {
        match self.order {
            ByteOrder::Little => i16::from_le_bytes(bytes),
            ByteOrder::Big => i16::from_be_bytes(bytes),
        }
    }

    fn failed(&self, source: io::Error) -> MetaImageError {
        Problem::Io { doing: "reading the voxels", source }.at(&self.path)
    }
}

impl Reader<File> {
    /// Opens a .mhd or .mha file.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, MetaImageError> {
        let (header, header_file) = open_header(path, limits)?;
        let (data, data_path) = match &header.data_file {
            DataFile::Local => (header_file, path.to_path_buf()),
            DataFile::Named(name) => {
                let data_path = path.parent().unwrap_or(Path::new("")).join(name);
                match File::open(&data_path) {
                    Ok(file) => (file, data_path),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(Problem::MissingData { header: path.to_path_buf() }.at(&data_path));
                    }
                    Err(source) => {
                        return Err(Problem::Io { doing: "opening the data file", source }.at(&data_path));
                    }
                }
            }
        };
        Self::new(header, data, &data_path)
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Takes the voxels from `data`, whatever name the header gives it: for files that lie elsewhere than the header
    /// says, or in memory. A `LOCAL` header's voxels start [`Header::text_bytes`] after the beginning of `data`.
    pub fn new(header: Header, mut data: R, data_path: &Path) -> Result<Self, MetaImageError> {
        let stored_bytes = locate(&header, &mut data).map_err(|problem| problem.at(data_path))?;
        Ok(Self { header, data, data_path: data_path.to_path_buf(), stored_bytes })
    }

    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where the voxels start, if they lie in the file one after the other as `int16`.
    pub(crate) fn plain_int16(&mut self) -> Result<Option<PlainInt16>, MetaImageError> {
        if self.header.compressed || self.header.element_type != ElementType::Short {
            return Ok(None);
        }
        // `locate` has left the data there.
        let start = self
            .data
            .stream_position()
            .map_err(|source| Problem::Io { doing: "seeking in the data file", source }.at(&self.data_path))?;
        Ok(Some(PlainInt16 { path: self.data_path.clone(), start, order: self.header.byte_order }))
    }

    /// All voxels as CT values, with the number of voxels that had to be saturated.
    pub fn read_hu(self) -> Result<(Volume<i16>, u64), MetaImageError> {
        self.collect()
    }

    /// All voxels as `f32`.
    pub fn read_f32(self) -> Result<Volume<f32>, MetaImageError> {
        self.collect().map(|(volume, _)| volume)
    }

    /// Decodes all voxels as CT values in the order of the file (x fastest) and shows them piece by piece, so that
    /// an image larger than memory can be looked at and progress be told. Returns the number of saturated voxels.
    pub fn for_each_hu(self, sink: impl FnMut(&[i16])) -> Result<u64, MetaImageError> {
        self.decode(sink)
    }

    fn collect<S: Sample>(self) -> Result<(Volume<S>, u64), MetaImageError> {
        let geometry = self.header.geometry.clone();
        let count = geometry.voxel_count();
        let mut voxels = Vec::new();
        voxels.try_reserve_exact(count).map_err(|_| {
            let bytes = count as u64 * size_of::<S>() as u64;
            Problem::Memory { bytes, claim: self.header.claim() }.at(&self.data_path)
        })?;
        let saturated = self.decode(|piece: &[S]| voxels.extend_from_slice(piece))?;
        Ok((Volume::new(geometry, voxels), saturated))
    }

    fn decode<S: Sample>(self, sink: impl FnMut(&[S])) -> Result<u64, MetaImageError> {
        let Self { header, data, data_path, stored_bytes } = self;
        let decoded = if header.compressed {
            inflate(&header, data.take(stored_bytes), stored_bytes, sink)
        } else {
            convert_all(&header, data, sink, |_, source| Problem::Io { doing: "reading the voxels", source })
        };
        decoded.map_err(|problem| problem.at(&data_path))
    }
}

/// Reads the header and leaves the file for its `LOCAL` voxels.
fn open_header(path: &Path, limits: &Limits) -> Result<(Header, File), MetaImageError> {
    let read = || -> Result<(Vec<u8>, File), io::Error> {
        let mut file = File::open(path)?;
        let mut text = Vec::new();
        (&mut file).take(Limits::MAX_HEADER_BYTES as u64).read_to_end(&mut text)?;
        Ok((text, file))
    };
    let (text, file) = read().map_err(|source| Problem::Io { doing: "reading the header", source }.at(path))?;
    let header = Header::parse(&text, limits).map_err(|problem| problem.at(path))?;
    Ok((header, file))
}

/// Puts `data` at the first byte of the image and returns how many bytes there belong to it, after checking that
/// exactly as many are there.
fn locate<R: Seek>(header: &Header, data: &mut R) -> Result<u64, Problem> {
    let io = |source| Problem::Io { doing: "seeking in the data file", source };
    let length = data.seek(SeekFrom::End(0)).map_err(io)?;
    let expected = header.voxel_bytes();
    let text_bytes = match header.data_file {
        DataFile::Local => header.text_bytes as u64,
        DataFile::Named(_) => 0,
    };
    let start = match header.header_size {
        HeaderSize::None => text_bytes,
        // Counts from the beginning of the file even for LOCAL data, as in ITK.
        HeaderSize::Bytes(bytes) => bytes.max(text_bytes),
        HeaderSize::FromEnd => length.saturating_sub(expected).max(text_bytes),
    };
    let found = length.saturating_sub(start);
    data.seek(SeekFrom::Start(start)).map_err(io)?;
    if !header.compressed {
        if found != expected {
            return Err(Problem::DataLength { found, expected, claim: header.claim() });
        }
        return Ok(expected);
    }
    if let Some(expected) = header.compressed_bytes
        && found != expected
    {
        return Err(Problem::CompressedLength { found, expected });
    }
    if expected > found.saturating_mul(ZLIB_MAX_RATIO) {
        return Err(Problem::CannotHold { found, expected, claim: header.claim() });
    }
    Ok(found)
}

/// Converts exactly the header's number of voxels from `data`.
fn convert_all<S: Sample>(
    header: &Header,
    mut data: impl Read,
    mut sink: impl FnMut(&[S]),
    failed: impl Fn(u64, io::Error) -> Problem,
) -> Result<u64, Problem> {
    let convert = conversion::<S>(header.element_type);
    let size = header.element_type.size();
    let total = header.voxel_bytes();
    let mut bytes = vec![0; CHUNK.min(usize::try_from(total).unwrap_or(CHUNK))];
    let mut samples = Vec::with_capacity(bytes.len() / size);
    let (mut done, mut saturated, mut non_finite, mut first) = (0u64, 0, 0, None);
    while done < total {
        let wanted = usize::try_from(total - done).unwrap_or(CHUNK).min(CHUNK);
        let filled = fill(&mut data, &mut bytes[..wanted]);
        let got = match filled {
            Ok(got) if got == wanted => got,
            Ok(got) => return Err(failed(done + got as u64, io::ErrorKind::UnexpectedEof.into())),
            Err((got, error)) => return Err(failed(done + got as u64, error)),
        };
        samples.clear();
        let counts = convert(&bytes[..got], header.byte_order, &mut samples);
        saturated += counts.saturated;
        if counts.non_finite > 0 {
            first.get_or_insert(done as usize / size + counts.first_non_finite);
            non_finite += counts.non_finite;
        }
        if non_finite == 0 {
            sink(&samples);
        }
        done += got as u64;
    }
    match first {
        None => Ok(saturated),
        Some(position) => {
            let [_, ny, nx] = header.geometry.shape_zyx;
            Err(Problem::NonFinite {
                count: non_finite,
                first_zyx: [position / (ny * nx), position / nx % ny, position % nx],
            })
        }
    }
}

/// Reads until `bytes` is full or the data ends; says how far it came either way.
fn fill(data: &mut impl Read, bytes: &mut [u8]) -> Result<usize, (usize, io::Error)> {
    let mut got = 0;
    while got < bytes.len() {
        match data.read(&mut bytes[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((got, error)),
        }
    }
    Ok(got)
}

/// Converts the header's number of voxels from zlib data of `stored_bytes` bytes and makes sure that there is
/// nothing more in it.
fn inflate<S: Sample>(
    header: &Header,
    data: impl Read,
    stored_bytes: u64,
    sink: impl FnMut(&[S]),
) -> Result<u64, Problem> {
    /// Surplus is counted so far; a bomb is not worth more.
    const SURPLUS_COUNTED: u64 = 1 << 20;
    let expected = header.voxel_bytes();
    let mut decoder = ZlibDecoder::new(BufReader::with_capacity(CHUNK, data));
    let saturated = convert_all(header, &mut decoder, sink, |decoded, source| {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            Problem::InflatedLength { found: decoded, at_least: false, expected, claim: header.claim() }
        } else {
            Problem::Zlib { decoded, expected, source }
        }
    })?;
    let surplus = io::copy(&mut (&mut decoder).take(SURPLUS_COUNTED), &mut io::sink())
        .map_err(|source| Problem::Zlib { decoded: expected, expected, source })?;
    if surplus > 0 {
        let (found, at_least) = (expected + surplus, surplus == SURPLUS_COUNTED);
        return Err(Problem::InflatedLength { found, at_least, expected, claim: header.claim() });
    }
    if decoder.total_in() != stored_bytes {
        return Err(Problem::CompressedSurplus { found: stored_bytes, used: decoder.total_in() });
    }
    Ok(saturated)
}
