//! Changes of resolution: max-pooling, transposed convolution, trilinear up-sampling, voxels to channels.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use conv3d::{max_pool, space_to_depth, transposed, upsample};

use super::buffers::{array, dense, dims, recycle, tensor, values};

/// The gradient of one output by one input of shape `[n, c, d, h, w]`: what `compute` writes, given the number of
/// planes, the output's gradient and the array for the input's.
fn backward_of_one<S>(
    ops: Ops<S, 1>,
    grads: &mut Gradients,
    input: [usize; 5],
    compute: impl FnOnce(usize, &[f32], &mut [f32]),
) {
    let dy = dense(grads.consume::<Flex>(&ops.node));
    let [node] = ops.parents;
    if let Some(node) = node {
        let mut dx = array(input.iter().product());
        compute(input[0] * input[1], values(&dy), &mut dx);
        grads.register::<Flex>(node.id, tensor(dx, &input));
    }
    recycle(dy);
}

// ---------------------------------------------------------------- trilinear up-sampling

pub(super) fn upsample2(x: FlexTensor) -> FlexTensor {
    let [n, c, d, h, w] = dims(&x);
    let mut y = array(n * c * d * h * w * 8);
    upsample::forward(n * c, [d, h, w], values(&dense(x)), &mut y);
    tensor(y, &[n, c, 2 * d, 2 * h, 2 * w])
}

#[derive(Debug)]
pub(super) struct Upsample2Backward;

impl Backward<Flex, 1> for Upsample2Backward {
    type State = [usize; 5];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let input = ops.state;
        let [_, _, d, h, w] = input;
        backward_of_one(ops, grads, input, |planes, dy, dx| upsample::backward(planes, [d, h, w], dy, dx));
    }
}

// ---------------------------------------------------------------- max-pooling

/// The output, and each block's winner.
pub(super) fn max_pool2(x: FlexTensor) -> (FlexTensor, Vec<u8>) {
    let [n, c, d, h, w] = dims(&x);
    let (d, h, w) = (d / 2, h / 2, w / 2);
    let (mut y, mut winner) = (array(n * c * d * h * w), vec![0; n * c * d * h * w]);
    max_pool::forward(n * c, [d, h, w], values(&dense(x)), &mut y, &mut winner);
    (tensor(y, &[n, c, d, h, w]), winner)
}

#[derive(Debug)]
pub(super) struct MaxPool2Backward;

impl Backward<Flex, 1> for MaxPool2Backward {
    /// The output's shape and the winners.
    type State = ([usize; 5], Vec<u8>);

    fn backward(self, mut ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let ([n, c, d, h, w], winner) = std::mem::take(&mut ops.state);
        backward_of_one(ops, grads, [n, c, 2 * d, 2 * h, 2 * w], |planes, dy, dx| {
            max_pool::backward(planes, [d, h, w], dy, &winner, dx);
        });
    }
}

// ---------------------------------------------------------------- voxels to channels

pub(super) fn space_to_depth(x: FlexTensor) -> FlexTensor {
    let [n, c, d, h, w] = dims(&x);
    let (d, h, w) = (d / 2, h / 2, w / 2);
    let mut y = array(n * c * d * h * w * 8);
    space_to_depth::space_to_depth(n * c, [d, h, w], values(&dense(x)), &mut y);
    tensor(y, &[n, 8 * c, d, h, w])
}

#[derive(Debug)]
pub(super) struct SpaceToDepthBackward;

impl Backward<Flex, 1> for SpaceToDepthBackward {
    type State = [usize; 5];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let input = ops.state;
        let [_, _, d, h, w] = input;
        backward_of_one(ops, grads, input, |planes, dy, dx| {
            space_to_depth::depth_to_space(planes, [d / 2, h / 2, w / 2], dy, dx);
        });
    }
}

// ---------------------------------------------------------------- transposed convolution beside a skip connection

/// `[skip, up(x)]` in one array: the transposed convolution writes where a concatenation would copy it to.
pub(super) fn up_beside(skip: FlexTensor, x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
    let (skip, x, weight, bias) = (dense(skip), dense(x), dense(weight), dense(bias));
    let split = Split::new(dims(&skip), &x, &weight);
    let mut y = array(split.batch * split.together());
    for (i, y) in y.chunks_exact_mut(split.together()).enumerate() {
        let (beside, up) = y.split_at_mut(split.skip);
        beside.copy_from_slice(&values(&skip)[i * split.skip..][..split.skip]);
        let x = &values(&x)[i * split.coarse..][..split.coarse];
        transposed::forward(&split.shape, x, values(&weight), Some(values(&bias)), up);
    }
    let [n, c, d, h, w] = dims(&skip);
    recycle(skip);
    tensor(y, &[n, c + split.shape.in_channels, d, h, w])
}

/// A sample's elements.
struct Split {
    batch: usize,
    /// The transposed convolution of one sample.
    shape: conv3d::ConvShape,
    skip: usize,
    coarse: usize,
}

impl Split {
    fn new([batch, channels, ..]: [usize; 5], x: &FlexTensor, weight: &FlexTensor) -> Self {
        let [_, in_channels, d, h, w] = dims(x);
        let [_, out_channels, ..] = dims::<5>(weight);
        Self {
            batch,
            shape: transposed::upsampling(1, in_channels, out_channels, [d, h, w]),
            skip: channels * 8 * d * h * w,
            coarse: in_channels * d * h * w,
        }
    }

    fn together(&self) -> usize {
        self.skip + self.shape.input_len()
    }
}

#[derive(Debug)]
pub(super) struct UpBesideBackward;

impl Backward<Flex, 4> for UpBesideBackward {
    /// The skip connection's shape; input and weights of the transposed convolution.
    type State = ([usize; 5], [NodeId; 2]);

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, checkpoints: &mut Checkpointer) {
        let dy = dense(grads.consume::<Flex>(&ops.node));
        let (skip_dims, nodes) = ops.state;
        let [x, weight] = nodes.map(|node| dense(checkpoints.retrieve_node_output::<FlexTensor>(node)));
        let split = Split::new(skip_dims, &x, &weight);
        let [for_skip, for_x, for_weight, for_bias] = ops.parents;
        let samples = || values(&dy).chunks_exact(split.together()).map(|dy| dy.split_at(split.skip));
        if let Some(node) = for_skip {
            let mut dskip = array(split.batch * split.skip);
            dskip.chunks_exact_mut(split.skip).zip(samples()).for_each(|(d, (dy, _))| d.copy_from_slice(dy));
            grads.register::<Flex>(node.id, tensor(dskip, &skip_dims));
        }
        if let Some(node) = for_x {
            let mut dx = array(split.batch * split.coarse);
            for (dx, (_, dy)) in dx.chunks_exact_mut(split.coarse).zip(samples()) {
                transposed::backward_data(&split.shape, values(&weight), dy, dx);
            }
            grads.register::<Flex>(node.id, tensor(dx, &x.shape()));
        }
        if let Some(node) = for_weight {
            let of_sample = |dw: &mut [f32], (x, (_, dy)): (&[f32], (&[f32], &[f32]))| {
                transposed::backward_weight(&split.shape, x, dy, dw);
            };
            let dw = added_up(values(&weight).len(), values(&x).chunks_exact(split.coarse).zip(samples()), of_sample);
            grads.register::<Flex>(node.id, tensor(dw, &weight.shape()));
        }
        if let Some(node) = for_bias {
            let len = split.shape.in_channels;
            let db = added_up(len, samples(), |db, (_, dy)| transposed::backward_bias(&split.shape, dy, db));
            grads.register::<Flex>(node.id, tensor(db, &[len]));
        }
        recycle(dy);
        recycle(x);
    }
}

/// What `compute` writes for every sample, added up in order.
fn added_up<T>(len: usize, samples: impl Iterator<Item = T>, compute: impl Fn(&mut [f32], T)) -> Vec<f32> {
    let (mut total, mut one) = (vec![0.0; len], vec![0.0; len]);
    for sample in samples {
        compute(&mut one, sample);
        total.iter_mut().zip(&one).for_each(|(t, v)| *t += v);
    }
    total
}
