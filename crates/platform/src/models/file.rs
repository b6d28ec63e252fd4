//! Model files: what a file must be to be taken in, and that it has not changed since.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use federation::SessionRecord;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::store::models::Model;
use crate::token::hex;

/// The largest header of a safetensors file, as its own library has it.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Where a model says where it comes from.
const PROVENANCE: &str = "fednodule.provenance";

/// Why a model's file cannot be used. The file is named below the data folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("the model file {file} cannot be read: {kind}")]
    Read { file: String, kind: io::ErrorKind },
    #[error("the model file {file} has SHA-256 {found}, expected {expected}: it was changed; restore it from a backup")]
    Hash { file: String, found: String, expected: String },
    #[error("{file} is no model of this training: {problem}")]
    Content { file: String, problem: String },
}

/// A model file that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Below the data folder.
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// The model of a completed session. `expected` is the hash of the file, where the worker told it.
pub(crate) async fn find(folder: &Path, record: &SessionRecord, expected: Option<String>) -> Result<Found, FileError> {
    let session = record.session_id.to_string();
    let rounds = record.rounds.len() as u64;
    let file = format!("models/session_{session}_federated_model.safetensors");
    let path = folder.join(&file);
    let found = blocking(&file, move || look(&path, &session, rounds)).await?;
    let (bytes, sha256) = found.map_err(|problem| FileError::Content { file: file.clone(), problem })?;
    match expected {
        Some(expected) if expected != sha256 => Err(FileError::Hash { file, found: sha256, expected }),
        _ => Ok(Found { file, bytes, sha256 }),
    }
}

/// Where a registered model lies, after its hash was compared with the record.
pub(crate) async fn verify(folder: &Path, model: &Model) -> Result<PathBuf, FileError> {
    let path = folder.join(&model.file);
    let read = path.clone();
    let found = blocking(&model.file, move || hash(&mut File::open(&read)?).map(|(_, sha256)| sha256)).await?;
    if found == model.sha256 {
        return Ok(path);
    }
    Err(FileError::Hash { file: model.file.clone(), found, expected: model.sha256.clone() })
}

async fn blocking<T: Send + 'static>(
    file: &str,
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, FileError> {
    let done = tokio::task::spawn_blocking(job).await.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
    done.map_err(|error| FileError::Read { file: file.to_owned(), kind: error.kind() })
}

fn hash(file: &mut File) -> io::Result<(u64, String)> {
    let (mut hasher, mut buffer, mut bytes) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hex(&hasher.finalize())));
        }
        bytes += read as u64;
        hasher.update(&buffer[..read]);
    }
}

/// The parts of a header that matter here.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: std::collections::BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: std::collections::BTreeMap<String, Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    data_offsets: [u64; 2],
}

/// Size and hash of a model file, or why it is none of this session.
fn look(path: &Path, session: &str, rounds: u64) -> io::Result<Result<(u64, String), String>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut length = [0_u8; 8];
    if size < 8 {
        return Ok(Err(format!("it has {size} bytes")));
    }
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES.min(size - 8) {
        return Ok(Err(format!("its header claims {length} of {size} bytes")));
    }
    let mut header = Vec::new();
    (&mut file).take(length).read_to_end(&mut header)?;
    let Ok(header) = serde_json::from_slice::<Header>(&header) else {
        return Ok(Err("its header is not that of a safetensors file".to_owned()));
    };
    let end = header.tensors.values().map(|tensor| tensor.data_offsets[1]).max().unwrap_or_default();
    if end == 0 || size - 8 - length != end {
        return Ok(Err(format!("its values have {} bytes, its header says {end}", size - 8 - length)));
    }
    let provenance: Option<Value> = header.metadata.get(PROVENANCE).and_then(|text| serde_json::from_str(text).ok());
    let told = provenance.as_ref().map(|value| (value["session"].as_str(), value["rounds"].as_u64()));
    if told != Some((Some(session), Some(rounds))) {
        return Ok(Err(format!("it does not say that it comes from round {rounds} of session {session}")));
    }
    let mut file = File::open(path)?;
    hash(&mut file).map(Ok)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn model(header: &str, values: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + values, 7);
        bytes
    }

    const HEADER: &str = r#"{"__metadata__":{"fednodule.provenance":"{\"session\":\"7\",\"rounds\":2}"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

    fn look_at(bytes: &[u8], session: &str, rounds: u64) -> Result<(u64, String), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        std::fs::write(&path, bytes).unwrap();
        look(&path, session, rounds).unwrap()
    }

    #[test]
    fn only_the_whole_model_of_the_session_is_taken() {
        let whole = model(HEADER, 8);
        let (bytes, sha256) = look_at(&whole, "7", 2).unwrap();
        assert_eq!((bytes, sha256), (whole.len() as u64, hex(&Sha256::digest(&whole))));
        for (bytes, session, rounds) in [
            (whole.clone(), "8", 2),
            (whole.clone(), "7", 3),
            (model(HEADER, 7), "7", 2),
            (model(HEADER, 9), "7", 2),
            (whole[..whole.len() / 2].to_vec(), "7", 2),
            (whole[..5].to_vec(), "7", 2),
            (u64::MAX.to_le_bytes().to_vec(), "7", 2),
            (model(r#"{"w":{"data_offsets":[0,8]}}"#, 8), "7", 2),
        ] {
            assert!(look_at(&bytes, session, rounds).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(look_at(&bytes, "7", 2).is_err());
        }
    }
}
