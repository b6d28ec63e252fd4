//! The pickle of a state dict, as `torch.save(model.state_dict(), path)` writes it.
//!
//! Opcodes are those of pickle protocol 2, named as in Python's `pickletools`. Only what a state dict needs is written,
//! and only what `torch.load(weights_only=True)` allows.

use crate::{StateDict, Tensor};

const PROTO_2: [u8; 2] = [0x80, 2];
const GLOBAL: u8 = b'c';
const MARK: u8 = b'(';
const TUPLE: u8 = b't';
const EMPTY_TUPLE: u8 = b')';
const REDUCE: u8 = b'R';
const BINPERSID: u8 = b'Q';
const BINUNICODE: u8 = b'X';
const BININT: u8 = b'J';
const LONG1: u8 = 0x8a;
const NEWFALSE: u8 = 0x89;
const SETITEMS: u8 = b'u';
const STOP: u8 = b'.';

const ORDERED_DICT: &[u8] = b"collections\nOrderedDict\n";
const REBUILD_TENSOR: &[u8] = b"torch._utils\n_rebuild_tensor_v2\n";
const FLOAT_STORAGE: &[u8] = b"torch\nFloatStorage\n";

/// `OrderedDict` of name to tensor; the values of tensor number `n` are in the storage named `n`.
pub(super) fn state_dict(state: &StateDict) -> Vec<u8> {
    let mut out = PROTO_2.to_vec();
    empty_ordered_dict(&mut out);
    out.push(MARK);
    for (key, (name, tensor)) in state.iter().enumerate() {
        text(&mut out, name);
        rebuild_tensor(&mut out, key, tensor);
    }
    out.extend([SETITEMS, STOP]);
    out
}

/// `_rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, backward_hooks)`.
fn rebuild_tensor(out: &mut Vec<u8>, key: usize, tensor: &Tensor) {
    global(out, REBUILD_TENSOR);
    out.push(MARK);
    // The persistent id ('storage', type, key, location, number of elements).
    out.push(MARK);
    text(out, "storage");
    global(out, FLOAT_STORAGE);
    text(out, &key.to_string());
    text(out, "cpu");
    integer(out, tensor.values().len());
    out.extend([TUPLE, BINPERSID]);
    integer(out, 0);
    integers(out, tensor.shape());
    integers(out, &row_major_stride(tensor.shape()));
    out.push(NEWFALSE);
    empty_ordered_dict(out);
    out.extend([TUPLE, REDUCE]);
}

/// The strides that PyTorch gives a contiguous tensor: an empty axis counts as one of length 1.
fn row_major_stride(shape: &[usize]) -> Vec<usize> {
    let mut stride: Vec<usize> = shape
        .iter()
        .rev()
        .scan(1, |step, &axis| {
            let own = *step;
            *step *= axis.max(1);
            Some(own)
        })
        .collect();
    stride.reverse();
    stride
}

fn empty_ordered_dict(out: &mut Vec<u8>) {
    global(out, ORDERED_DICT);
    out.extend([EMPTY_TUPLE, REDUCE]);
}

fn global(out: &mut Vec<u8>, module_and_name: &[u8]) {
    out.push(GLOBAL);
    out.extend(module_and_name);
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(BINUNICODE);
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn integers(out: &mut Vec<u8>, values: &[usize]) {
    out.push(MARK);
    values.iter().for_each(|&value| integer(out, value));
    out.push(TUPLE);
}

/// As Python writes it: four bytes where they suffice, else eight (no axis is longer than `i64::MAX`).
fn integer(out: &mut Vec<u8>, value: usize) {
    match i32::try_from(value) {
        Ok(small) => {
            out.push(BININT);
            out.extend(small.to_le_bytes());
        }
        Err(_) => {
            out.extend([LONG1, 8]);
            out.extend((value as u64).to_le_bytes());
        }
    }
}
