//! What can be wrong with a MetaImage file, in words that its owner can act on.

use std::path::{Path, PathBuf};

use crate::GeometryError;

/// A file that cannot be read or written, and why.
#[derive(Debug)]
pub struct MetaImageError {
    /// The file at fault: the header, or the data file when the fault lies there.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

impl std::fmt::Display for MetaImageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

impl std::error::Error for MetaImageError {
    // The problem is part of the message, so that the cause is the problem's own cause.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.problem)
    }
}

/// What is wrong with a MetaImage file, without the file's name.
///
/// Only values of the keys that this reader knows are ever quoted: other lines may hold patient attributes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The operating system refused.
    #[error("{doing} failed")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Not MetaImage, or the data was mistaken for the header.
    #[error(
        "no ElementDataFile line within the first {limit} bytes: this is not a MetaImage header \
         (a .mhd is a short text, a .mha starts with one)"
    )]
    NotMetaImage {
        /// Longest header that is looked at, bytes.
        limit: usize,
    },
    /// A line that is not `Key = value`.
    #[error("line {line} of the header is not of the form `Key = value`")]
    Line {
        /// Line number, from 1.
        line: usize,
    },
    /// A key that the format requires.
    #[error("the header has no {key} line; expected {expected} (keys are case-sensitive)")]
    Missing {
        /// Name of the key.
        key: &'static str,
        /// What it should have said.
        expected: &'static str,
    },
    /// A value that cannot be used.
    #[error("line {line} of the header: {key} = `{found}`; expected {expected}")]
    Field {
        /// Line number, from 1.
        line: usize,
        /// Name of the key.
        key: &'static str,
        /// The value, shortened.
        found: String,
        /// What the value should be, or what to do.
        expected: String,
    },
    /// One key, or two keys of one meaning, given twice.
    #[error("lines {first} and {second} of the header both set {key}; remove one of them")]
    Twice {
        /// The meaning that is set twice.
        key: &'static str,
        /// The earlier line.
        first: usize,
        /// The later line.
        second: usize,
    },
    /// The grid that the header describes is impossible.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The header is there, its data file is not.
    #[error(
        "the data file named by {} (ElementDataFile) is missing; put it there under exactly this name, \
         header and data file travel together",
        header.display()
    )]
    MissingData {
        /// The header that names the data file.
        header: PathBuf,
    },
    /// The data file does not hold what the header says.
    #[error("{found} bytes of voxel data, expected {expected} ({claim}); the file is {}", incomplete_or_foreign(*found, *expected))]
    DataLength {
        /// Bytes that are there.
        found: u64,
        /// Bytes that the header asks for.
        expected: u64,
        /// How the expected number comes about.
        claim: String,
    },
    /// The compressed data is not as long as the header says.
    #[error("{found} bytes of compressed data, expected {expected} (CompressedDataSize); the file is {}", incomplete_or_foreign(*found, *expected))]
    CompressedLength {
        /// Bytes that are there.
        found: u64,
        /// Bytes that the header asks for.
        expected: u64,
    },
    /// Something follows the compressed data.
    #[error("the compressed data ends after {used} of {found} bytes; the rest does not belong to this image")]
    CompressedSurplus {
        /// Bytes that are there.
        found: u64,
        /// Bytes up to the end of the zlib stream.
        used: u64,
    },
    /// The compressed data holds another number of voxels than the header says.
    #[error("the compressed data holds {}{found} bytes of voxels, expected {expected} ({claim})", if *at_least { "at least " } else { "" })]
    InflatedLength {
        /// Bytes after decompression.
        found: u64,
        /// Whether counting was given up at `found`.
        at_least: bool,
        /// Bytes that the header asks for.
        expected: u64,
        /// How the expected number comes about.
        claim: String,
    },
    /// So few compressed bytes cannot hold the voxels, whatever they are.
    #[error(
        "{found} bytes of compressed data cannot hold {expected} bytes of voxels ({claim}); the file is incomplete"
    )]
    CannotHold {
        /// Compressed bytes that are there.
        found: u64,
        /// Bytes that the header asks for.
        expected: u64,
        /// How the expected number comes about.
        claim: String,
    },
    /// The compressed data is damaged or of another kind.
    #[error(
        "the compressed data is not intact zlib data (stopped after {decoded} of {expected} bytes of voxels); \
         copy the file again or write it anew"
    )]
    Zlib {
        /// Bytes of voxels that could be decoded.
        decoded: u64,
        /// Bytes that the header asks for.
        expected: u64,
        /// The decoder's answer.
        source: std::io::Error,
    },
    /// NaN or infinity, which no CT value can be.
    #[error("{count} voxels are not finite numbers, the first at index {first_zyx:?} (z, y, x); expected HU values")]
    NonFinite {
        /// How many.
        count: u64,
        /// The first in file order.
        first_zyx: [usize; 3],
    },
    /// The machine cannot hold the image.
    #[error("not enough memory for an image of {bytes} bytes ({claim})")]
    Memory {
        /// Bytes that were asked for.
        bytes: u64,
        /// How the number comes about.
        claim: String,
    },
    /// A name under which nothing can be written.
    #[error("expected a name that ends in .mhd or .mha and is valid UTF-8")]
    Name,
}

fn incomplete_or_foreign(found: u64, expected: u64) -> &'static str {
    if found < expected { "incomplete, copy it again" } else { "not the one that this header describes" }
}

impl Problem {
    /// The same problem with the file's name.
    pub fn at(self, path: &Path) -> MetaImageError {
        MetaImageError { path: path.to_path_buf(), problem: self }
    }
}
