//! Writing `.pth`.

use std::io::{self, Cursor, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::pickle;
use crate::file::save;
use crate::{FileError, Overwrite, Sha256, StateDict};

/// Where `torch.save` aligns values, so that they can be mapped into memory.
const ALIGNMENT: u16 = 64;

impl StateDict {
    /// The `.pth` file of these weights, for `model.load_state_dict(torch.load(path, weights_only=True))`. Metadata are
    /// not in it: PyTorch would take them for parameters. The same bytes for the same weights.
    ///
    /// # Errors
    /// When the archive's limits are exceeded.
    pub fn to_pth(&self) -> io::Result<Vec<u8>> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let mut add = |name: &str, bytes: &[u8]| -> io::Result<()> {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .with_alignment(ALIGNMENT)
                .large_file(bytes.len() as u64 > u64::from(u32::MAX));
            archive.start_file(format!("archive/{name}"), options)?;
            archive.write_all(bytes)
        };
        add("data.pkl", &pickle::state_dict(self))?;
        add("byteorder", b"little")?;
        let mut values = Vec::new();
        for (key, (_, tensor)) in self.iter().enumerate() {
            values.clear();
            tensor.write_bytes(&mut values);
            add(&format!("data/{key}"), &values)?;
        }
        add("version", b"3\n")?;
        Ok(archive.finish()?.into_inner())
    }

    /// Writes [`StateDict::to_pth`] so that the file is there whole or not at all; gives its hash.
    ///
    /// # Errors
    /// [`FileError::Write`]; [`FileError::Exists`] when it must not be replaced.
    pub fn save_pth(&self, path: &Path, overwrite: Overwrite) -> Result<Sha256, FileError> {
        let bytes = self.to_pth().map_err(|source| FileError::Write { path: path.to_owned(), source })?;
        save(path, &bytes, overwrite)
    }
}
