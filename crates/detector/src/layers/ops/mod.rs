//! The operations whose time counts on the CPU, put into Burn by its backend extension with hand-written backward
//! passes. Only the CPU device (`Flex`) comes here; [`super`] sends every other device to Burn's own operations.

mod batch_norm;
mod buffers;
mod resample;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{AutodiffBackend, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;
use conv3d::ConvShape;
use conv3d::group_norm::GroupNorm;

use batch_norm::{BatchNormReluBackward, Statistics};
pub(crate) use buffers::KeptMemory;
use buffers::{array, dense, dims, recycle, tensor, values};
use resample::{MaxPool2Backward, SpaceToDepthBackward, UpBesideBackward, Upsample2Backward};

/// Stride and zero padding of a convolution with a cubic kernel, the same on all three axes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stride(pub(crate) usize, pub(crate) usize);

/// A group normalisation's constants, and the slope of the leaky ReLU after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupNormAct {
    pub(crate) groups: usize,
    pub(crate) epsilon: f32,
    pub(crate) slope: Option<f32>,
}

#[backend_extension(Autodiff, Flex)]
pub(crate) trait LayerOps: Backend {
    /// `x`: `[n, ci, d, h, w]`, `weight`: `[co, ci, k, k, k]`, `bias`: `[co]` → `[n, co, d', h', w']`.
    fn conv3d_cpu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: Stride,
    ) -> FloatTensor<Self>;
    /// `x`: `[n, c, …]`, `weight`, `bias`: `[c]` → the shape of `x`.
    fn group_norm_act_cpu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        o: GroupNormAct,
    ) -> FloatTensor<Self>;
    /// `x`: `[n, c, d, h, w]`, `weight`, `bias`: `[c]` → the shape of `x`; the batch's means and biased variances, `[c]`.
    fn batch_norm_relu_cpu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    /// `x`: `[n, c, d, h, w]` → `[n, c, 2d, 2h, 2w]`.
    fn upsample2_cpu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// `x`: `[n, c, 2d, 2h, 2w]` → `[n, c, d, h, w]`.
    fn max_pool2_cpu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// `x`: `[n, c, 2d, 2h, 2w]` → `[n, 8c, d, h, w]`.
    fn space_to_depth_cpu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// `skip`: `[n, cs, 2d, 2h, 2w]`, `x`: `[n, ci, d, h, w]`, `weight`: `[ci, co, 2, 2, 2]`, `bias`: `[co]` →
    /// `[n, cs + co, 2d, 2h, 2w]`.
    fn up_beside_cpu(
        skip: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

// ---------------------------------------------------------------- convolution

fn conv_shape(x: &FlexTensor, weight: &FlexTensor, stride: Stride) -> ConvShape {
    let [batch, in_channels, d, h, w] = dims(x);
    let [out_channels, _, kd, kh, kw] = dims(weight);
    ConvShape {
        batch,
        in_channels,
        out_channels,
        input: [d, h, w],
        kernel: [kd, kh, kw],
        stride: [stride.0; 3],
        padding: [stride.1; 3],
    }
}

impl LayerOps for Flex {
    fn conv3d_cpu(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, stride: Stride) -> FlexTensor {
        let shape = conv_shape(&x, &weight, stride);
        let (x, weight, bias) = (dense(x), dense(weight), dense(bias));
        let [d, h, w] = shape.output();
        let mut y = array(shape.output_len());
        conv3d::forward(&shape, values(&x), values(&weight), Some(values(&bias)), &mut y);
        tensor(y, &[shape.batch, shape.out_channels, d, h, w])
    }

    fn group_norm_act_cpu(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, o: GroupNormAct) -> FlexTensor {
        group_norm_forward(x, weight, bias, o).0
    }

    fn batch_norm_relu_cpu(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f32,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (y, Statistics { mean, variance }) = batch_norm::forward(x, weight, bias, epsilon);
        let shape = [mean.len()];
        (y, tensor(mean, &shape), tensor(variance, &shape))
    }

    fn upsample2_cpu(x: FlexTensor) -> FlexTensor {
        resample::upsample2(x)
    }

    fn max_pool2_cpu(x: FlexTensor) -> FlexTensor {
        resample::max_pool2(x).0
    }

    fn space_to_depth_cpu(x: FlexTensor) -> FlexTensor {
        resample::space_to_depth(x)
    }

    fn up_beside_cpu(skip: FlexTensor, x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        resample::up_beside(skip, x, weight, bias)
    }
}

#[derive(Debug)]
struct Conv3dBackward;

impl Backward<Flex, 3> for Conv3dBackward {
    type State = (NodeId, NodeId, Stride);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpoints: &mut Checkpointer) {
        // A parent that is None needs no gradient: its work is skipped.
        let [for_x, for_weight, for_bias] = ops.parents;
        let dy = dense(grads.consume::<Flex>(&ops.node));
        let (x, weight, stride) = ops.state;
        let x = dense(checkpoints.retrieve_node_output::<FlexTensor>(x));
        let weight = dense(checkpoints.retrieve_node_output::<FlexTensor>(weight));
        let shape = conv_shape(&x, &weight, stride);
        if let Some(node) = for_x {
            let mut dx = array(values(&x).len());
            conv3d::backward_data(&shape, values(&weight), values(&dy), &mut dx);
            grads.register::<Flex>(node.id, tensor(dx, &x.shape()));
        }
        if let Some(node) = for_weight {
            let mut dw = vec![0.0; values(&weight).len()];
            conv3d::backward_weight(&shape, values(&x), values(&dy), &mut dw);
            grads.register::<Flex>(node.id, tensor(dw, &weight.shape()));
        }
        if let Some(node) = for_bias {
            let mut db = vec![0.0; shape.out_channels];
            conv3d::backward_bias(&shape, values(&dy), &mut db);
            grads.register::<Flex>(node.id, tensor(db, &[shape.out_channels]));
        }
        recycle(dy);
        recycle(x);
    }
}

// ---------------------------------------------------------------- group normalisation with activation

fn norm_shape(x: &FlexTensor, o: GroupNormAct) -> GroupNorm {
    let [batch, channels, d, h, w] = dims(x);
    GroupNorm { batch, channels, spatial: d * h * w, groups: o.groups, epsilon: o.epsilon, slope: o.slope }
}

/// The output, and the groups' means and reciprocal standard deviations.
fn group_norm_forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    o: GroupNormAct,
) -> (FlexTensor, GroupStatistics) {
    let (x, weight, bias) = (dense(x), dense(weight), dense(bias));
    let norm = norm_shape(&x, o);
    let mut y = array(norm.len());
    let (mut mean, mut rstd) = (vec![0.0; norm.statistics_len()], vec![0.0; norm.statistics_len()]);
    norm.forward(values(&x), values(&weight), values(&bias), &mut y, &mut mean, &mut rstd);
    (tensor(y, &x.shape()), GroupStatistics { mean, rstd })
}

#[derive(Debug, Clone)]
struct GroupStatistics {
    mean: Vec<f32>,
    rstd: Vec<f32>,
}

#[derive(Debug)]
struct GroupNormBackward;

impl Backward<Flex, 3> for GroupNormBackward {
    type State = ([NodeId; 3], GroupStatistics, GroupNormAct);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpoints: &mut Checkpointer) {
        let dy = dense(grads.consume::<Flex>(&ops.node));
        let (nodes, GroupStatistics { mean, rstd }, o) = ops.state;
        let inputs = nodes.map(|node| dense(checkpoints.retrieve_node_output::<FlexTensor>(node)));
        let [x, weight, bias] = inputs.each_ref().map(values);
        let mut gradients = [x, weight, bias].map(|input| array(input.len()));
        let [dx, dweight, dbias] = &mut gradients;
        norm_shape(&inputs[0], o).backward(x, values(&dy), weight, bias, &mean, &rstd, dx, dweight, dbias);
        for ((node, gradient), input) in ops.parents.into_iter().zip(gradients).zip(&inputs) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(gradient, &input.shape()));
            }
        }
        recycle(dy);
        inputs.into_iter().for_each(recycle);
    }
}

// ---------------------------------------------------------------- the autodiff side

impl<C: CheckpointStrategy> LayerOps for Autodiff<Flex, C> {
    fn conv3d_cpu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: Stride,
    ) -> FloatTensor<Self> {
        match Conv3dBackward.prepare::<C>([x.node(), weight.node(), bias.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&x), prep.checkpoint(&weight), stride);
                let y = Flex::conv3d_cpu(x.into_primitive(), weight.into_primitive(), bias.into_primitive(), stride);
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(Flex::conv3d_cpu(
                x.into_primitive(),
                weight.into_primitive(),
                bias.into_primitive(),
                stride,
            )),
        }
    }

    fn group_norm_act_cpu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        o: GroupNormAct,
    ) -> FloatTensor<Self> {
        match GroupNormBackward.prepare::<C>([x.node(), weight.node(), bias.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let nodes = [prep.checkpoint(&x), prep.checkpoint(&weight), prep.checkpoint(&bias)];
                let (y, statistics) =
                    group_norm_forward(x.into_primitive(), weight.into_primitive(), bias.into_primitive(), o);
                prep.finish((nodes, statistics, o), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(Flex::group_norm_act_cpu(
                x.into_primitive(),
                weight.into_primitive(),
                bias.into_primitive(),
                o,
            )),
        }
    }

    fn batch_norm_relu_cpu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [x.node(), weight.node(), bias.node()];
        let (y, Statistics { mean, variance }) =
            match BatchNormReluBackward.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(mut prep) => {
                    let nodes = [prep.checkpoint(&x), prep.checkpoint(&weight), prep.checkpoint(&bias)];
                    let (x, weight, bias) = (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
                    let (y, statistics) = batch_norm::forward(x, weight, bias, epsilon);
                    (prep.finish((nodes, statistics.clone(), epsilon), y), statistics)
                }
                OpsKind::UnTracked(prep) => {
                    let (x, weight, bias) = (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
                    let (y, statistics) = batch_norm::forward(x, weight, bias, epsilon);
                    (prep.finish(y), statistics)
                }
            };
        let shape = [mean.len()];
        (y, Self::from_inner(tensor(mean, &shape)), Self::from_inner(tensor(variance, &shape)))
    }

    fn upsample2_cpu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        match Upsample2Backward.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                prep.finish(dims(&x), Flex::upsample2_cpu(x))
            }
            OpsKind::UnTracked(prep) => prep.finish(Flex::upsample2_cpu(x.into_primitive())),
        }
    }

    fn max_pool2_cpu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        match MaxPool2Backward.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (y, winner) = resample::max_pool2(x.into_primitive());
                prep.finish((dims(&y), winner), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(Flex::max_pool2_cpu(x.into_primitive())),
        }
    }

    fn space_to_depth_cpu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        match SpaceToDepthBackward.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                prep.finish(dims(&x), Flex::space_to_depth_cpu(x))
            }
            OpsKind::UnTracked(prep) => prep.finish(Flex::space_to_depth_cpu(x.into_primitive())),
        }
    }

    fn up_beside_cpu(
        skip: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [skip.node(), x.node(), weight.node(), bias.node()];
        match UpBesideBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let nodes = [prep.checkpoint(&x), prep.checkpoint(&weight)];
                let skip = skip.into_primitive();
                let state = (dims(&skip), nodes);
                let y = Flex::up_beside_cpu(skip, x.into_primitive(), weight.into_primitive(), bias.into_primitive());
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(Flex::up_beside_cpu(
                skip.into_primitive(),
                x.into_primitive(),
                weight.into_primitive(),
                bias.into_primitive(),
            )),
        }
    }
}

// ---------------------------------------------------------------- as tensors

pub(super) fn conv3d(x: Tensor<5>, weight: Tensor<5>, bias: Tensor<1>, stride: Stride) -> Tensor<5> {
    Tensor::from_dispatch(Dispatch::conv3d_cpu(x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch(), stride))
}

pub(super) fn group_norm_act(x: Tensor<5>, weight: Tensor<1>, bias: Tensor<1>, o: GroupNormAct) -> Tensor<5> {
    Tensor::from_dispatch(Dispatch::group_norm_act_cpu(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        o,
    ))
}

pub(super) fn upsample2(x: Tensor<5>) -> Tensor<5> {
    Tensor::from_dispatch(Dispatch::upsample2_cpu(x.into_dispatch()))
}

/// Besides the output, the batch's means and biased variances.
pub(super) fn batch_norm_relu(
    x: Tensor<5>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f32,
) -> (Tensor<5>, Tensor<1>, Tensor<1>) {
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    let (y, mean, variance) = Dispatch::batch_norm_relu_cpu(x, weight, bias, epsilon);
    (Tensor::from_dispatch(y), Tensor::from_dispatch(mean), Tensor::from_dispatch(variance))
}

pub(super) fn max_pool2(x: Tensor<5>) -> Tensor<5> {
    Tensor::from_dispatch(Dispatch::max_pool2_cpu(x.into_dispatch()))
}

pub(super) fn space_to_depth(x: Tensor<5>) -> Tensor<5> {
    Tensor::from_dispatch(Dispatch::space_to_depth_cpu(x.into_dispatch()))
}

pub(super) fn up_beside(skip: Tensor<5>, x: Tensor<5>, weight: Tensor<5>, bias: Tensor<1>) -> Tensor<5> {
    Tensor::from_dispatch(Dispatch::up_beside_cpu(
        skip.into_dispatch(),
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}
