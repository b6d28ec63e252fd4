//! MetaImage (`.mhd` + `.raw`/`.zraw`, `.mha`): the format of LUNA16 and ITK's own.
//!
//! Reading agrees with ITK voxel for voxel and world point for world point; writing is read back by it. Documentation
//! of the format: <https://itk.org/Wiki/ITK/MetaIO/Documentation>.

mod element;
mod error;
mod header;
mod limits;
mod read;
mod write;

pub use error::{MetaImageError, Problem};
pub use header::{ByteOrder, DataFile, ElementType, Header, HeaderSize};
pub use limits::Limits;
pub(crate) use read::PlainInt16;
pub use read::{Reader, read_f32, read_header, read_hu};
pub use write::{Compression, WriteElement, header_text, write};
