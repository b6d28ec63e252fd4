//! Where the arithmetic runs.

use std::sync::LazyLock;

use burn::tensor::Device;

/// What the user asked for (`--device`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A GPU when there is one that works, the CPU otherwise.
    #[default]
    Auto,
    /// The CPU, whatever else there is.
    Cpu,
    /// A GPU or an error.
    Gpu,
}

/// Why no GPU is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// This program was compiled without the GPU backend.
    #[error(
        "a GPU was asked for, but this program was built without GPU support; build it with --features gpu, or use --device cpu"
    )]
    NotBuilt,
    /// No card answers.
    #[error(
        "a GPU was asked for, but none was found through Vulkan, Metal or DirectX 12; check the graphics driver, or use --device cpu"
    )]
    NotFound,
}

/// The device that a choice means on this machine, with a line that says what was taken and why.
#[derive(Debug, Clone)]
pub struct ChosenDevice {
    /// To build networks and tensors on.
    pub device: Device,
    /// `cpu` or `gpu`.
    pub name: &'static str,
    /// Set when [`DeviceChoice::Auto`] looked for a GPU and runs on the CPU after all.
    pub fallback: Option<DeviceError>,
}

impl DeviceChoice {
    /// Opens the device. Fails only for [`DeviceChoice::Gpu`].
    pub fn open(self) -> Result<ChosenDevice, DeviceError> {
        let cpu = |fallback| ChosenDevice { device: Device::flex(), name: "cpu", fallback };
        match self {
            Self::Cpu => Ok(cpu(None)),
            Self::Gpu => Ok(ChosenDevice { device: gpu()?, name: "gpu", fallback: None }),
            Self::Auto => Ok(match gpu() {
                Ok(device) => ChosenDevice { device, name: "gpu", fallback: None },
                Err(reason) => cpu(Some(reason)),
            }),
        }
    }
}

#[cfg(not(feature = "gpu"))]
fn gpu() -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt)
}

/// The first real card; software rasterisers are passed over. Opened once: a second `init` of the same selector fails.
#[cfg(feature = "gpu")]
fn gpu() -> Result<Device, DeviceError> {
    use burn::tensor::DeviceKind;
    static GPU: std::sync::OnceLock<Option<Device>> = std::sync::OnceLock::new();
    let kinds = [DeviceKind::DiscreteGpu(0), DeviceKind::IntegratedGpu(0), DeviceKind::VirtualGpu(0)];
    let open = || kinds.into_iter().find_map(|kind| Device::wgpu_options().device_kind(kind).init().ok());
    GPU.get_or_init(open).clone().ok_or(DeviceError::NotFound)
}

/// Is this Burn's CPU backend? (Equality ignores autodiff.)
pub(crate) fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

/// Set to `off`, the CPU uses Burn's own operations: what benchmarks and tests compare the kernels with. One program runs
/// one way from beginning to end, so that its results do not depend on when somebody asked.
static KERNELS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FEDNODULE_KERNELS").is_none_or(|v| v != "off"));

/// Do the layers run through our own kernels on this device? They do on the CPU, unless the environment variable
/// `FEDNODULE_KERNELS` is `off`.
pub fn has_kernels(device: &Device) -> bool {
    is_cpu(device) && *KERNELS
}
