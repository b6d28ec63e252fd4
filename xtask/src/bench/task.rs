//! What is measured, and what it should reach.

use std::fmt;

/// One measurement; its text is what the workers are asked, and what the table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// One padded 3³ convolution, forward or forward and every gradient.
    Convolution { channels: [u32; 2], side: u32, gradients: bool },
    /// A whole network on one patch.
    Inference { network: &'static str, side: u32 },
    /// One optimiser step on one patch.
    Training { network: &'static str, side: u32 },
}

use Task::{Convolution, Inference, Training};

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Convolution { channels: [input, output], side, gradients } => {
                write!(f, "convolution {input}>{output}@{side} {}", if *gradients { "gradients" } else { "forward" })
            }
            Inference { network, side } => write!(f, "inference {network}@{side}"),
            Training { network, side } => write!(f, "training {network}@{side}"),
        }
    }
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    /// Our kernels.
    Ours,
    /// The same program with Burn's own operations.
    Flex,
    /// Eager.
    PyTorch,
    /// Inference only.
    OpenVino,
    /// PyTorch's matrix product: how fast this machine multiplies at all.
    Sgemm,
}

impl Contender {
    /// In the order of the table.
    pub(super) const ALL: [Self; 5] = [Self::Ours, Self::Flex, Self::PyTorch, Self::OpenVino, Self::Sgemm];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Flex => "flex",
            Self::PyTorch => "PyTorch",
            Self::OpenVino => "OpenVINO",
            Self::Sgemm => "sgemm",
        }
    }

    pub(super) fn can(self, task: Task) -> bool {
        self != Self::OpenVino || matches!(task, Convolution { gradients: false, .. } | Inference { .. })
    }
}

/// What is compared with a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Our time over another's, at most.
    TimeOver(Contender),
    /// Our peak memory over another's, each beyond what the process had before the task, below.
    PeakOver(Contender),
    /// Our operations a second over sgemm's, at least.
    OfSgemm,
}

/// The network of the design's measurements , for which the goals were set.
const REFERENCE: &str = "reference";

impl Task {
    /// A quick run leaves out what takes longest.
    pub(super) fn all(quick: bool) -> Vec<Self> {
        let layers = [[16, 16, 96], [32, 32, 48], [64, 64, 24], [128, 128, 12], [1, 16, 96]];
        let mut tasks = Vec::new();
        for [input, output, side] in layers {
            tasks.extend([false, true].map(|gradients| Convolution { channels: [input, output], side, gradients }));
        }
        let networks: &[&str] = if quick { &[REFERENCE, "xs"] } else { &[REFERENCE, "xs", "s", "m"] };
        for network in networks {
            tasks.push(Inference { network, side: 96 });
            tasks.push(Training { network, side: 64 });
            if !quick {
                tasks.push(Training { network, side: 96 });
            }
        }
        tasks
    }

    pub(super) fn is_network(self) -> bool {
        !matches!(self, Convolution { .. })
    }

    /// The goals with their limits.
    pub(super) fn goals(self) -> Vec<(Measure, f64)> {
        match self {
            Convolution { channels: [input, output], .. } if input.min(output) >= 32 => vec![(Measure::OfSgemm, 0.8)],
            Inference { network: REFERENCE, .. } => {
                vec![(Measure::TimeOver(Contender::OpenVino), 1.0), (Measure::TimeOver(Contender::PyTorch), 0.5)]
            }
            Training { network: REFERENCE, side } => {
                let mut goals = vec![(Measure::TimeOver(Contender::PyTorch), 0.8)];
                goals.extend((side == 96).then_some((Measure::PeakOver(Contender::PyTorch), 1.0)));
                goals
            }
            _ => Vec::new(),
        }
    }
}

impl Measure {
    /// Whether a value reaches its limit.
    pub(super) fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::TimeOver(_) => value <= limit,
            Self::PeakOver(_) => value < limit,
            Self::OfSgemm => value >= limit,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeOver(other) => write!(f, "time/{} ≤", other.name()),
            Self::PeakOver(other) => write!(f, "peak/{} <", other.name()),
            Self::OfSgemm => write!(f, "of sgemm ≥"),
        }
    }
}
