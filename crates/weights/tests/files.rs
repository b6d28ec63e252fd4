//! Files of PyTorch and safetensors (`fixtures/generate.py`), and what must hold for any weights and any bytes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::error::Error;
use std::path::{Path, PathBuf};

use common::{bits, state_dicts};
use proptest::prelude::*;
use weights::{FileError, Overwrite, StateDict, StateError, Tensor, hex, sha256_of_file};

fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(name)
}

fn load(name: &str) -> Result<StateDict, FileError> {
    let path = fixture(name);
    if name.ends_with(".pth") { StateDict::load_pth(&path) } else { StateDict::load_safetensors(&path) }
}

/// The error and its causes, without the path of this machine.
fn message(error: &FileError) -> String {
    let mut text = error.to_string().replace(&fixture("").display().to_string(), "");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn expected() -> StateDict {
    let mut state = StateDict::default();
    for line in std::fs::read_to_string(fixture("expected.txt")).unwrap().lines() {
        let mut fields = line.split(' ');
        let name = fields.next().unwrap();
        let [shape, values] = [fields.next().unwrap(), fields.next().unwrap()];
        let shape = shape.split(',').filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect();
        let values = values.split(',').filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect();
        state.insert(name, Tensor::new(shape, values).unwrap()).unwrap();
    }
    state
}

#[test]
fn every_way_of_pytorch_to_save_the_weights_reads_alike() {
    let expected = expected();
    assert_eq!(expected.len(), 5);
    for name in [
        "plain.pth",
        "counted.pth",
        "f16.pth",
        "bf16.pth",
        "f64.pth",
        "strided.pth",
        "views.pth",
        "legacy.pth",
        "nested_state_dict.pth",
        "nested_model_with_code.pth",
        "bf16.safetensors",
        "counted.safetensors",
    ] {
        let mut state = load(name).unwrap_or_else(|error| panic!("{}", message(&error)));
        let metadata = std::mem::take(&mut state.metadata);
        assert_eq!(bits(&state), bits(&expected), "{name}");
        assert_eq!(metadata.get("epoch").map(String::as_str), (name == "counted.safetensors").then_some("3"));
    }
}

#[test]
fn files_that_are_no_weights_are_refused_with_a_reason() {
    let types = "expected f32, f16, bf16, f64 or i64";
    for (name, reason) in [
        ("bad_no_tensor.pth", "no tensor in the file".to_owned()),
        ("bad_bool.pth", format!("tensor \"a\" has elements of type Bool, {types}")),
        ("bad_bool.safetensors", format!("tensor \"a\" has elements of type BOOL, {types}")),
        ("bad_range.pth", "tensor \"a\" holds a number beyond the range of f32".to_owned()),
        ("bad_huge_view.pth", "the tensors would take more than".to_owned()),
        ("bad_complex.pth", "not a valid PyTorch file".to_owned()),
        ("bad_code.pth", "not a valid PyTorch file".to_owned()),
        ("expected.txt", "not a valid safetensors file".to_owned()),
    ] {
        let error = message(&load(name).unwrap_err());
        assert!(error.starts_with(&format!("cannot use the weights in {name}: {reason}")), "{error}");
    }
    let wrong_kind = message(&StateDict::load_pth(&fixture("bf16.safetensors")).unwrap_err());
    assert!(wrong_kind.contains("not a valid PyTorch file"), "{wrong_kind}");
    assert!(matches!(load("absent.pth"), Err(FileError::Read { .. })));
    assert!(matches!(load("absent.safetensors"), Err(FileError::Read { .. })));
    // Had a reader run the code in the two checkpoints that hold some, this would be there.
    assert!(!Path::new("weights-crate-ran-code").exists());
}

#[test]
fn a_file_larger_than_any_checkpoint_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    // A sparse file: it takes no space.
    std::fs::File::create(&path).unwrap().set_len(weights::MAX_FILE_BYTES + 1).unwrap();
    assert!(matches!(StateDict::load_pth(&path), Err(FileError::TooLarge { .. })));
    assert!(matches!(StateDict::load_safetensors(&path), Err(FileError::TooLarge { .. })));
}

#[test]
fn a_header_may_claim_what_it_likes() {
    for claim in [u64::MAX, 1 << 40, 99_999_999] {
        let bytes = [&claim.to_le_bytes()[..], b"{}"].concat();
        assert!(StateDict::from_safetensors(&bytes).is_err());
    }
    let header = r#"{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    assert!(StateDict::from_safetensors(&bytes).is_err());
}

#[test]
fn a_file_is_replaced_only_when_allowed_and_named_by_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let state = expected();
    type Save = fn(&StateDict, &Path, Overwrite) -> Result<weights::Sha256, FileError>;
    for (name, save) in [("权重.pth", StateDict::save_pth as Save), ("权重.safetensors", StateDict::save_safetensors)]
    {
        let path = folder.path().join(name);
        let hash = save(&state, &path, Overwrite::Refuse).unwrap();
        assert_eq!(hash, sha256_of_file(&path).unwrap());
        assert!(matches!(save(&StateDict::default(), &path, Overwrite::Refuse), Err(FileError::Exists { .. })));
        assert_eq!(hash, sha256_of_file(&path).unwrap());
        assert_ne!(hash, save(&StateDict::default(), &path, Overwrite::Allow).unwrap());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "a temporary file was left behind");
    assert!(matches!(
        state.save_pth(&folder.path().join("no/such/folder"), Overwrite::Allow),
        Err(FileError::Write { .. })
    ));
}

/// The published test vector of SHA-256 (FIPS 180-2, appendix B.1).
#[test]
fn a_hash_is_written_as_sha256sum_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc");
    std::fs::write(&path, "abc").unwrap();
    let hash = sha256_of_file(&path).unwrap();
    assert_eq!(hex(&hash), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn names_and_shapes_are_checked() {
    assert!(matches!(Tensor::new(vec![2, 3], vec![0.0; 5]), Err(StateError::Shape { values: 5, .. })));
    assert!(Tensor::new(vec![usize::MAX, 2], vec![]).is_err());
    assert!(Tensor::new(vec![0, usize::MAX, 2], vec![]).is_err());
    let scalar = || Tensor::new(vec![], vec![1.0]).unwrap();
    let mut state = StateDict::default();
    state.insert("a", scalar()).unwrap();
    for name in ["a", "", "__metadata__"] {
        assert_eq!(state.insert(name, scalar()), Err(StateError::Name { name: name.to_owned() }));
    }
}

/// The hash is part of stored rounds and of messages between sites: it must stay. Computed with Python's hashlib from
/// the description at `StateDict::schema_hash`.
#[test]
fn the_schema_hash_is_the_described_one() {
    let mut state = StateDict::default();
    state.insert("stem.weight", Tensor::new(vec![2, 1, 3], vec![0.0; 6]).unwrap()).unwrap();
    state.insert("bias", Tensor::new(vec![], vec![0.0]).unwrap()).unwrap();
    assert_eq!(hex(&state.schema_hash()), "92155515a959f6db19c566d6773344fd2f7c1a970fd3fb5b39f08701f96ae281");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn safetensors_read_back_bit_for_bit(mut state in state_dicts("\\PC{1,20}", 0..6), metadata in prop::collection::btree_map(".{0,9}", ".{0,9}", 0..4)) {
        state.metadata = metadata;
        let bytes = state.to_safetensors();
        let read = StateDict::from_safetensors(&bytes).unwrap();
        prop_assert_eq!(&read.metadata, &state.metadata);
        prop_assert_eq!(bits(&read), bits(&state));
        prop_assert_eq!(read.to_safetensors(), bytes);
    }

    #[test]
    fn pth_reads_back_bit_for_bit(state in state_dicts("\\PC{1,20}", 1..6)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.pth");
        state.save_pth(&path, Overwrite::Refuse).unwrap();
        prop_assert_eq!(bits(&StateDict::load_pth(&path).unwrap()), bits(&state));
        prop_assert_eq!(std::fs::read(&path).unwrap(), state.to_pth().unwrap());
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), start in 0..4_usize) {
        let start: &[u8] = [&b""[..], b"PK\x03\x04", b"\x80\x02", b"\x10\0\0\0\0\0\0\0{"][start];
        let bytes = [start, &bytes].concat();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any");
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(StateDict::from_safetensors(&bytes).is_err());
        prop_assert!(StateDict::load_pth(&path).is_err());
    }

    /// A few bytes changed or the end cut off: the reader gets deeper than with noise.
    #[test]
    fn no_damage_makes_a_reader_panic(
        name in prop::sample::select(vec!["plain.pth", "legacy.pth", "strided.pth", "nested_state_dict.pth", "counted.safetensors"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        end in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = std::fs::read(fixture(name)).unwrap();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged");
        std::fs::write(&path, &bytes).unwrap();
        let results = [StateDict::from_safetensors(&bytes).is_ok(), StateDict::load_pth(&path).is_ok()];
        prop_assert!(results != [true, true], "one file cannot be both");
    }

    #[test]
    fn the_flat_vector_goes_there_and_back(state in state_dicts("[a-c.]{1,4}", 0..6)) {
        let flat = state.to_flat();
        prop_assert_eq!(flat.len(), state.parameter_count());
        let mut other = StateDict::default();
        for (name, tensor) in state.iter() {
            other.insert(name, Tensor::new(tensor.shape().to_vec(), vec![0.0; tensor.values().len()]).unwrap()).unwrap();
        }
        prop_assert_eq!(other.schema_hash(), state.schema_hash());
        other.set_flat(&flat).unwrap();
        prop_assert_eq!(bits(&other), bits(&state));
        let longer = [flat.clone(), vec![0.0]].concat();
        prop_assert_eq!(other.set_flat(&longer), Err(StateError::Length { found: flat.len() + 1, expected: flat.len() }));
        prop_assert_eq!(bits(&other), bits(&state));
    }

    #[test]
    fn the_schema_hash_tells_names_and_shapes_apart(one in state_dicts("[ab]{1,3}", 0..4), other in state_dicts("[ab]{1,3}", 0..4)) {
        let schema = |state: &StateDict| -> Vec<_> { bits(state).into_iter().map(|(name, shape, _)| (name, shape)).collect() };
        prop_assert_eq!(one.schema_hash() == other.schema_hash(), schema(&one) == schema(&other));
    }
}
