//! Running the program, and small scans and models to run it on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use detector::network::UNet3dConfig;
use detector::{Architecture, Device, Model, ParameterSchema, Plan, Provenance};
use imaging::metaimage::{Compression, write};
use imaging::{Geometry, Volume};
use serde_json::Value;
use weights::Overwrite;

/// How the program ended and what it said.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The one JSON document on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The program, in Chinese whatever machine the tests run on.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fednodule"));
    command.env("FEDNODULE_LANG", "zh").env_remove("LANG").env_remove("LC_ALL");
    command
}

pub(crate) fn fednodule<I: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = I>) -> Run {
    program().args(arguments).output().unwrap().into()
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Names in a folder, sorted; nothing where it is not there.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A box of air with a body of water and two lungs in it, 2.5 mm voxels: small, and plausible to the lung mask.
pub(crate) fn write_chest(folder: &Path, name: &str) -> PathBuf {
    let shape_zyx = [80, 96, 128];
    let geometry = Geometry::axis_aligned(shape_zyx, [2.5; 3], [-150.0, -120.0, -300.0]).unwrap();
    let mut voxels: Vec<i16> = Vec::with_capacity(geometry.voxel_count());
    let inside =
        |p: [f64; 3], c: [f64; 3], r: [f64; 3]| (0..3).map(|i| ((p[i] - c[i]) / r[i]).powi(2)).sum::<f64>() < 1.0;
    for z in 0..shape_zyx[0] {
        for y in 0..shape_zyx[1] {
            for x in 0..shape_zyx[2] {
                let p = [z as f64, y as f64, x as f64];
                let lung = [40.0, 88.0].iter().any(|&cx| inside(p, [40.0, 48.0, cx], [32.0, 30.0, 17.0]));
                let body = inside([0.0, p[1], p[2]], [0.0, 48.0, 64.0], [1.0, 44.0, 60.0]);
                let nodule = inside(p, [40.0, 48.0, 40.0], [2.5; 3]);
                voxels.push(if nodule {
                    30
                } else if lung {
                    -850
                } else if body {
                    40
                } else {
                    -1000
                });
            }
        }
    }
    let path = folder.join(format!("{name}.mhd"));
    write(&path, &Volume::new(geometry, voxels), Compression::None).unwrap();
    path
}

/// Four voxels whose every number is known.
pub(crate) fn write_tiny(folder: &Path) -> PathBuf {
    let path = folder.join("1.2.3.mhd");
    std::fs::write(
        &path,
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n\
         TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = -1.5 2 30\nElementSpacing = 0.5 0.75 2.5\nDimSize = 2 1 2\n\
         ElementType = MET_SHORT\nElementDataFile = 1.2.3.raw\n",
    )
    .unwrap();
    let voxels: Vec<u8> = [-1000_i16, 0, 40, 3071].iter().flat_map(|hu| hu.to_le_bytes()).collect();
    std::fs::write(folder.join("1.2.3.raw"), voxels).unwrap();
    path
}

/// A model that has learned nothing.
pub(crate) fn write_model(folder: &Path) -> PathBuf {
    let config = UNet3dConfig { widths: vec![8, 8], blocks: vec![1, 1], group_channels: 8 };
    let architecture = Architecture::DetectionUnet(config);
    let schema = ParameterSchema::of(&architecture.build(&Device::flex()).unwrap());
    let provenance = Provenance { note: "<untrained>, for tests".to_owned(), ..Provenance::default() };
    let plan = Plan { spacing_mm: 2.5, ..Plan::with_patch(32) };
    let model = Model { architecture, plan, parameters: schema.initial(7), provenance };
    let path = folder.join("model.safetensors");
    model.save(&path, Overwrite::Refuse).unwrap();
    path
}

/// The tables of a small data set, which LUNA16's script has scored.
pub(crate) fn table(name: &str) -> String {
    text(&Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scoring/tests/fixtures")).join(name))
}
