//! The network over one tile, on whatever device.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use crate::device::has_kernels;
use crate::network::{Network, PackedNetwork, host};

/// A network ready for tiles of one size.
pub(crate) struct Runner {
    side: usize,
    kind: Kind,
}

enum Kind {
    /// On the CPU, past the framework.
    Packed(PackedNetwork),
    /// Elsewhere.
    Framework(Network, Device),
}

impl Runner {
    /// For tiles of `side`³ voxels.
    pub(crate) fn new(network: Network, side: usize, device: &Device) -> Self {
        let network = network.valid();
        let kind = if has_kernels(device) {
            Kind::Packed(network.packed(side))
        } else {
            Kind::Framework(network, device.clone())
        };
        Self { side, kind }
    }

    /// Voxels of a tile's side.
    pub(crate) fn side(&self) -> usize {
        self.side
    }

    /// Tiles that are worth running side by side: on the CPU they keep the cores busier than the loops within one.
    pub(crate) fn together(&self) -> usize {
        match self.kind {
            Kind::Packed(_) => rayon::current_num_threads(),
            Kind::Framework(..) => 1,
        }
    }

    /// Whether the maps are the classic network's: the segmentation alone.
    pub(crate) fn only_segments(&self) -> bool {
        matches!(self.kind, Kind::Packed(PackedNetwork::Classic(..)) | Kind::Framework(Network::ClassicUnet(_), _))
    }

    /// The raw maps, see [`Network::forward`].
    ///
    /// # Shapes
    /// `tile`: `[side, side, side]` → `[maps, side/2, side/2, side/2]`
    pub(crate) fn forward(&self, tile: Vec<f32>) -> Vec<f32> {
        match &self.kind {
            Kind::Packed(network) => network.forward(&tile),
            Kind::Framework(network, device) => {
                let shape = [1, 1, self.side, self.side, self.side];
                host(network.forward(Tensor::from_data(TensorData::new(tile, shape), device)))
            }
        }
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("side", &self.side).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Architecture, ClassicUNet3dConfig, ParameterSchema, UNet3dConfig};

    /// A network whose statistics, scales and shifts are not neutral, and a tile.
    fn example(architecture: &Architecture, side: usize) -> (Network, Vec<f32>) {
        let wave = |n: usize, f: f32| (0..n).map(move |i| (i as f32 * f).sin() + 0.3 * (i as f32 * 0.37 * f).cos());
        let network = architecture.build(&Device::flex()).unwrap();
        let mut parameters = ParameterSchema::of(&network).initial(7);
        let shake: Vec<f32> = wave(parameters.len(), 0.7).collect();
        parameters.iter_mut().zip(shake).for_each(|(p, s)| *p += 0.2 * s.abs());
        (network.with_parameters(&parameters).valid(), wave(side.pow(3), 0.013).collect())
    }

    fn networks() -> Vec<(Architecture, usize)> {
        let detection = |widths: &[usize], blocks: &[usize], group_channels| {
            let (widths, blocks) = (widths.to_vec(), blocks.to_vec());
            Architecture::DetectionUnet(UNet3dConfig { widths, blocks, group_channels })
        };
        let classic = |widths: &[usize]| Architecture::ClassicUnet(ClassicUNet3dConfig { widths: widths.to_vec() });
        vec![
            (detection(&[8, 16, 24], &[1, 1, 2], 8), 40),
            (detection(&[12, 20], &[2, 1], 4), 12),
            (classic(&[8, 16]), 18),
            (classic(&[3, 5, 20]), 28),
            (classic(&[1, 2]), 4),
        ]
    }

    /// Sums of up to some hundred products, a few layers deep, where Winograd's transforms cost two bits: 1e-4 of the
    /// largest output.
    #[test]
    fn the_packed_network_is_the_network() {
        for (architecture, side) in networks() {
            let (network, tile) = example(&architecture, side);
            let device = Device::flex();
            let expected =
                Runner { side, kind: Kind::Framework(network.clone(), device.clone()) }.forward(tile.clone());
            let packed = Runner::new(network, side, &device);
            assert!(matches!(packed.kind, Kind::Packed(_)));
            // twice: what the first pass leaves behind must not show
            packed.forward(vec![1.0; side.pow(3)]);
            let found = packed.forward(tile);
            assert_eq!(found.len(), expected.len());
            let scale = expected.iter().fold(1f32, |m, v| m.max(v.abs()));
            let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-4 * scale, "{architecture:?}: largest difference {worst}, largest value {scale}");
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        for (architecture, side) in networks() {
            let run = |threads| {
                let (network, tile) = example(&architecture, side);
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| Runner::new(network, side, &Device::flex()).forward(tile))
            };
            let bits = |maps: Vec<f32>| maps.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert!(bits(run(1)) == bits(run(2)), "{architecture:?}");
        }
    }

    /// A scan with a value that is no number must not get a clean report.
    #[test]
    fn what_is_no_number_is_not_hidden() {
        for (architecture, side) in networks() {
            let (network, mut tile) = example(&architecture, side);
            let runner = Runner::new(network, side, &Device::flex());
            let clean = runner.forward(tile.clone());
            assert!(clean.iter().all(|v| v.is_finite()));
            tile[side.pow(3) / 2] = f32::NAN;
            assert!(runner.forward(tile.clone()).iter().any(|v| v.is_nan()), "{architecture:?}");
            tile[side.pow(3) / 2] = 0.0;
            // nothing of it stays in the arrays
            assert!(runner.forward(tile).iter().all(|v| v.is_finite()), "{architecture:?}");
        }
    }
}
