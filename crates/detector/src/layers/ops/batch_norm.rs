//! Batch normalisation by the batch's own statistics, with ReLU.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use conv3d::batch_norm::{BatchNorm, Parameters};

use super::buffers::{array, dense, dims, into_values, recycle, tensor, values};

#[derive(Debug, Clone)]
pub(super) struct Statistics {
    pub(super) mean: Vec<f32>,
    /// Biased.
    pub(super) variance: Vec<f32>,
}

impl Statistics {
    fn parameters<'a>(&'a self, gamma: &'a [f32], beta: &'a [f32]) -> Parameters<'a> {
        Parameters { mean: &self.mean, variance: &self.variance, gamma, beta }
    }
}

fn norm_shape(x: &FlexTensor, epsilon: f32) -> BatchNorm {
    let [batch, channels, d, h, w] = dims(x);
    BatchNorm { batch, channels, spatial: d * h * w, epsilon }
}

pub(super) fn forward(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, epsilon: f32) -> (FlexTensor, Statistics) {
    let (x, gamma, beta) = (dense(x), dense(gamma), dense(beta));
    let norm = norm_shape(&x, epsilon);
    let [mean, variance] = [0, 1].map(|_| vec![0.0; norm.channels]);
    let mut statistics = Statistics { mean, variance };
    norm.statistics(values(&x), &mut statistics.mean, &mut statistics.variance);
    let mut y = array(norm.len());
    norm.forward(values(&x), statistics.parameters(values(&gamma), values(&beta)), &mut y);
    (tensor(y, &x.shape()), statistics)
}

#[derive(Debug)]
pub(super) struct BatchNormReluBackward;

impl Backward<Flex, 3> for BatchNormReluBackward {
    /// Input, scale and shift; statistics; epsilon.
    type State = ([NodeId; 3], Statistics, f32);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpoints: &mut Checkpointer) {
        let dy = dense(grads.consume::<Flex>(&ops.node));
        let (nodes, statistics, epsilon) = ops.state;
        let [x, gamma, beta] = nodes.map(|node| dense(checkpoints.retrieve_node_output::<FlexTensor>(node)));
        let norm = norm_shape(&x, epsilon);
        let shapes = [x.shape(), gamma.shape(), beta.shape()];
        let [mut dgamma, mut dbeta] = [0, 1].map(|_| vec![0.0; norm.channels]);
        let mut gradient = into_values(dy);
        let parameters = statistics.parameters(values(&gamma), values(&beta));
        norm.backward(values(&x), parameters, &mut gradient, &mut dgamma, &mut dbeta);
        recycle(x);
        for ((node, gradient), shape) in ops.parents.into_iter().zip([gradient, dgamma, dbeta]).zip(shapes) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(gradient, &shape));
            }
        }
    }
}
