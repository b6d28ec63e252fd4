//! One scan: read, search, draw, write.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use detector::inference::{
    Detection, FederatedLungNodulePredictor, Mode, PredictError as SearchError, PredictOptions, Stage,
};
use detector::{ChosenDevice, DeviceChoice, Provenance};
use imaging::luna16::{Mark, TableError, write_marks};
use imaging::lung_mask::{LungSide, LungSource};
use imaging::metaimage::{MetaImageError, read_hu};
use imaging::render::RenderError;
use imaging::{Geometry, GeometryError};
use serde::{Deserialize, Serialize};

use super::PredictError;
use super::pictures::Pictures;
use crate::files::{OutputError, Staging};
use crate::{memory, report};

/// By this file a folder is known to hold results of ours.
const MARKER: &str = "detections.json";

/// What is being done with a scan, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PredictStage {
    /// Reading the file.
    Loading,
    /// Resampling and finding the lungs.
    Preprocessing,
    /// The network.
    Inference,
    /// From its maps to detections.
    Detection,
    /// Drawing the pictures.
    Rendering,
}

impl From<Stage> for PredictStage {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Resampling | Stage::Masking => Self::Preprocessing,
            Stage::Inference => Self::Inference,
            Stage::Detection => Self::Detection,
        }
    }
}

/// A detection with its place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MarkedDetection {
    /// From 1, strongest first: the number in pictures and tables.
    pub number: u32,
    /// Position, size and confidence.
    #[serde(flatten)]
    pub detection: Detection,
    /// Continuous voxel index of the centre in the file, from 0.
    pub voxel_zyx: [f64; 3],
    /// The patient's lung that it lies in, where that is known.
    #[serde(default)]
    pub lung: Option<LungSide>,
}

/// Everything that is known about a scan after prediction: the content of `detections.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScanResult {
    /// The file's stem, in LUNA16 the SeriesInstanceUID; characters that no table can hold are `_`.
    pub seriesuid: String,
    /// Strongest first.
    pub detections: Vec<MarkedDetection>,
    /// Seconds of each stage.
    pub stages_s: BTreeMap<PredictStage, f64>,
    /// Largest resident memory of the process during this scan; nothing where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
    /// `cpu` or `gpu`.
    pub device: String,
    /// Hash of the model file.
    pub model_sha256: String,
    /// Where the model comes from and where it is weak.
    pub model_provenance: Provenance,
    /// Care taken.
    pub mode: Mode,
    /// Weaker detections were left out.
    pub threshold: f64,
    /// The scan's grid.
    pub geometry: Geometry,
    /// Lowest and highest CT value.
    pub hu_range: [i16; 2],
    /// The part of the scan that was searched, on the resampled grid.
    pub searched: LungSource,
    /// Whether the scan is oblique, so that its pictures are resampled.
    pub oblique: bool,
    /// Folder of the results.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl ScanResult {
    /// The detections as rows of a LUNA16 submission.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        self.detections.iter().map(|marked| Mark {
            series_uid: self.seriesuid.clone(),
            center_mm_xyz: marked.detection.center_mm_xyz,
            probability: marked.detection.confidence,
            diameter_mm: Some(marked.detection.diameter_mm),
        })
    }
}

/// Why a scan has no results.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Its file.
    #[error(transparent)]
    Image(#[from] MetaImageError),
    /// Something in a folder that is no readable scan.
    #[error("{message}")]
    Unusable {
        /// What is wrong, and what to do.
        message: String,
    },
    /// Its results would replace those of another scan.
    #[error("a scan named {seriesuid} is in this batch already: name every scan once, or use another output folder")]
    Duplicate {
        /// The name.
        seriesuid: String,
    },
    /// The search.
    #[error(transparent)]
    Predict(#[from] SearchError),
    /// An oblique scan could not be resampled for the pictures.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The pictures.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A position or a size that no table can hold.
    #[error(transparent)]
    Table(TableError),
    /// Its results cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// The name of a scan in tables and folders, from its file's name.
pub(crate) fn series_uid(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let usable = |c: char| !(c == ',' || c == '"' || c.is_whitespace() || c.is_control());
    let uid: String = stem.trim_start_matches('.').chars().map(|c| if usable(c) { c } else { '_' }).collect();
    if uid.is_empty() { "_".to_owned() } else { uid }
}

/// A model on its device, ready for any number of scans.
#[derive(Debug)]
pub struct LoadedModel {
    predictor: FederatedLungNodulePredictor,
    device: ChosenDevice,
    /// Hash of the model file.
    pub sha256: String,
    /// Where it comes from.
    pub provenance: Provenance,
}

impl LoadedModel {
    /// Reads a model file and puts it on a device.
    pub fn open(path: &Path, device: DeviceChoice) -> Result<Self, PredictError> {
        let model = crate::signed::load(path)?;
        let sha256 = weights::hex(
            &weights::sha256_of_file(path)
                .map_err(detector::ModelError::from)
                .map_err(crate::signed::LoadError::from)?,
        );
        let device = device.open()?;
        let predictor = model
            .predictor(&device.device)
            .map_err(|source| PredictError::Network { path: path.to_path_buf(), source })?;
        Ok(Self { predictor, device, sha256, provenance: model.provenance })
    }

    /// The device in use.
    pub fn device(&self) -> &ChosenDevice {
        &self.device
    }

    /// Marks a scan and writes its folder `out/seriesuid`: `detections.csv`, `detections.json`, `report.html` and
    /// the pictures. `progress` hears of stage, steps done and steps of the stage, and returns whether to go on.
    ///
    /// # Errors
    /// [`ScanError`]; nothing of the folder is left then.
    pub fn predict(
        &self,
        path: &Path,
        seriesuid: &str,
        options: &PredictOptions,
        out: &Path,
        progress: &mut dyn FnMut(PredictStage, usize, usize) -> bool,
    ) -> Result<ScanResult, ScanError> {
        memory::reset_peak();
        let mut stages_s = BTreeMap::new();
        let mut proceed = |stage, done, total| {
            if progress(stage, done, total) { Ok(()) } else { Err(ScanError::Predict(SearchError::Stopped)) }
        };

        proceed(PredictStage::Loading, 0, 1)?;
        let start = Instant::now();
        let volume = read_hu(path)?;
        stages_s.insert(PredictStage::Loading, start.elapsed().as_secs_f64());

        let mut observer = |p: detector::inference::Progress| match proceed(p.stage.into(), p.done, p.total) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let prediction = self.predictor.predict(&volume, options, &mut observer)?;
        for (stage, seconds) in &prediction.stages_s {
            *stages_s.entry(PredictStage::from(*stage)).or_default() += seconds;
        }

        proceed(PredictStage::Rendering, 0, 1)?;
        let start = Instant::now();
        let detections: Vec<MarkedDetection> = (1..)
            .zip(prediction.detections.iter().zip(&prediction.lungs))
            .map(|(number, (&detection, &lung))| MarkedDetection {
                number,
                detection,
                voxel_zyx: volume.geometry().index_from_world(detection.center_mm_xyz),
                lung,
            })
            .collect();
        let pictures = Pictures::draw(&volume, &detections)?;
        stages_s.insert(PredictStage::Rendering, start.elapsed().as_secs_f64());

        let values = volume.voxels();
        let extreme = |pick: fn(i16, i16) -> i16| values.iter().copied().reduce(pick).unwrap_or_default();
        let mut result = ScanResult {
            seriesuid: seriesuid.to_owned(),
            detections,
            stages_s,
            peak_memory_bytes: memory::peak_bytes(),
            device: self.device.name.to_owned(),
            model_sha256: self.sha256.clone(),
            model_provenance: self.provenance.clone(),
            mode: options.mode,
            threshold: options.threshold,
            geometry: volume.geometry().clone(),
            hu_range: [extreme(i16::min), extreme(i16::max)],
            searched: prediction.searched,
            oblique: pictures.oblique,
            folder: PathBuf::new(),
        };
        result.folder = write(&result, &pictures, out)?;
        Ok(result)
    }
}

fn write(result: &ScanResult, pictures: &Pictures, out: &Path) -> Result<PathBuf, ScanError> {
    let staging = Staging::new(out, &result.seriesuid)?;
    let marks: Vec<Mark> = result.marks().collect();
    write_marks(&staging.path("detections.csv"), &marks).map_err(|error| match error {
        TableError::Write { source, .. } => {
            OutputError::Write { path: out.join(&result.seriesuid).join("detections.csv"), source }.into()
        }
        other => ScanError::Table(other),
    })?;
    for picture in &pictures.all {
        staging.write(&picture.name(), &picture.png)?;
    }
    staging.write("report.html", report::scan::html(result, pictures).as_bytes())?;
    let json = serde_json::to_vec_pretty(result).expect("plain data serialises");
    staging.write(MARKER, &json)?;
    staging.place(MARKER)?;
    Ok(out.join(&result.seriesuid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_file_name_gives_a_name_for_tables_and_folders() {
        for (path, uid) in [
            ("a/1.3.6.1.4.mhd", "1.3.6.1.4"),
            ("胸部 CT, 2.mhd", "胸部_CT__2"),
            ("..mhd", "_"),
            ("...mhd", "_"),
            (".hidden.mhd", "hidden"),
        ] {
            assert_eq!(series_uid(Path::new(path)), uid);
        }
    }
}
