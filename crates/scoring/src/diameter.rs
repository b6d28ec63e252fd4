//! Sensitivity by the size of the nodules.

use serde::{Deserialize, Serialize};

use crate::Evaluation;
use crate::froc::{Event, Froc, curve};

/// Where the classes of diameter meet, millimetres: the sizes at which guidelines change what is done with a patient
/// (5 and 8: British Thoracic Society 2015; 6 and 8: Fleischner Society 2017; 6, 8 and 15: Lung-RADS v2022, solid
/// nodules).
pub const DIAMETER_EDGES_MM: [f64; 4] = [5.0, 6.0, 8.0, 15.0];

/// The nodules of one class of diameter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DiameterBin {
    /// Smallest diameter, millimetres, included.
    pub from_mm: f64,
    /// Upper end, millimetres, not included; nothing for the last class.
    pub to_mm: Option<f64>,
    /// Number of nodules.
    pub nodules: usize,
    /// Sensitivity for them; nothing when there are none.
    pub sensitivity: Option<f64>,
}

impl Evaluation {
    /// Sensitivity by diameter where the detector makes `fp_per_scan` false positives per scan in all.
    pub fn sensitivity_by_diameter(&self, fp_per_scan: f64) -> Vec<DiameterBin> {
        let ends = DIAMETER_EDGES_MM.into_iter().map(Some).chain([None]);
        let starts = [0.0].into_iter().chain(DIAMETER_EDGES_MM);
        starts
            .zip(ends)
            .map(|(from_mm, to_mm)| {
                let is_inside = |nodule: usize| {
                    let diameter_mm = self.nodules[nodule].nodule.diameter_mm;
                    diameter_mm >= from_mm && to_mm.is_none_or(|to| diameter_mm < to)
                };
                let nodules = (0..self.nodules.len()).filter(|&nodule| is_inside(nodule)).count();
                let events: Vec<Event> =
                    self.events.iter().copied().filter(|event| event.nodule.is_none_or(is_inside)).collect();
                let weights = vec![1; self.summary.scans];
                let sensitivity = (nodules > 0).then(|| {
                    Froc::new(curve(&events, &weights, nodules as u64, self.summary.scans)).sensitivity_at(fp_per_scan)
                });
                DiameterBin { from_mm, to_mm, nodules, sensitivity }
            })
            .collect()
    }
}
