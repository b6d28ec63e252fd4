//! Reading what a worker found: the content of `detections.json` as `fednodule predict` writes it.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::store::inferences::{Finding, Side};

/// The part of `detections.json` that is kept in the database; the file itself stays beside it.
#[derive(Debug, Deserialize)]
struct Document {
    detections: Vec<Detection>,
    model_sha256: String,
    device: String,
    stages_s: Value,
    peak_memory_bytes: Option<u64>,
    searched: Value,
}

#[derive(Debug, Deserialize)]
struct Detection {
    number: u32,
    center_mm_xyz: [f64; 3],
    diameter_mm: f64,
    #[serde(default)]
    volume_mm3: Option<f64>,
    confidence: f64,
    voxel_zyx: [f64; 3],
    #[serde(default)]
    lung: Option<Side>,
}

/// What a worker found.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub(super) findings: Vec<Finding>,
    pub(super) details: Value,
}

/// Why its document is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResultError {
    #[error("the result is no document of this program")]
    Json(#[from] serde_json::Error),
    #[error("the result is of another model than asked for")]
    OtherModel,
    #[error("a finding has a position or size that is no number")]
    NoNumber,
}

/// Reads a document, which must be of the model that was asked for.
pub(super) fn read(document: &[u8], model_sha256: &str) -> Result<Found, ResultError> {
    let document: Document = serde_json::from_slice(document)?;
    if document.model_sha256 != model_sha256 {
        return Err(ResultError::OtherModel);
    }
    let finding = |found: &Detection| {
        let [k, j, i] = found.voxel_zyx;
        Finding {
            number: found.number,
            center_mm_xyz: found.center_mm_xyz,
            voxel_xyz: [i, j, k],
            diameter_mm: found.diameter_mm,
            volume_mm3: found.volume_mm3,
            confidence: found.confidence,
            side: found.lung,
            review: None,
            reviewed_by: None,
        }
    };
    let findings: Vec<Finding> = document.detections.iter().map(finding).collect();
    let numbers = |f: &Finding| {
        let sizes = [f.diameter_mm, f.confidence].into_iter().chain(f.volume_mm3);
        f.center_mm_xyz.into_iter().chain(f.voxel_xyz).chain(sizes)
    };
    if !findings.iter().flat_map(numbers).all(f64::is_finite) {
        return Err(ResultError::NoNumber);
    }
    let details = json!({
        "device": document.device,
        "stages_s": document.stages_s,
        "peak_memory_bytes": document.peak_memory_bytes,
        // Where no lungs were found, the reader must know that the whole body was searched.
        "searched": if document.searched.get("Lungs").is_some() { "lungs" } else { "body" },
    });
    Ok(Found { findings, details })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(model: &str, x: &str) -> String {
        format!(
            r#"{{"seriesuid":"1.2","detections":[{{"number":1,"center_mm_xyz":[{x},2.0,3.0],"diameter_mm":7.5,"volume_mm3":221.0,"confidence":0.9,
            "voxel_zyx":[30.0,20.0,10.0],"lung":"left"}}],"stages_s":{{"loading":0.1}},"peak_memory_bytes":null,"device":"cpu",
            "model_sha256":"{model}","searched":{{"Lungs":{{}}}},"more":1}}"#
        )
    }

    #[test]
    fn a_document_gives_findings_in_the_order_x_y_z() {
        let found = read(document("ab", "1.0").as_bytes(), "ab").unwrap();
        let finding = &found.findings[0];
        assert_eq!((finding.center_mm_xyz, finding.voxel_xyz), ([1.0, 2.0, 3.0], [10.0, 20.0, 30.0]));
        assert_eq!((finding.side, finding.review), (Some(Side::Left), None));
        assert_eq!((finding.diameter_mm, finding.volume_mm3), (7.5, Some(221.0)));
        // What an earlier program has written.
        let old = document("ab", "1.0").replace("\"volume_mm3\":221.0,", "");
        assert_eq!(read(old.as_bytes(), "ab").unwrap().findings[0].volume_mm3, None);
        assert_eq!(found.details["searched"], "lungs");
    }

    #[test]
    fn what_is_no_result_of_this_model_is_refused() {
        assert!(matches!(read(document("ab", "1.0").as_bytes(), "cd"), Err(ResultError::OtherModel)));
        assert!(matches!(
            read(document("ab", "1e999").as_bytes(), "ab"),
            Err(ResultError::Json(_) | ResultError::NoNumber)
        ));
        assert!(matches!(read(b"{}", "ab"), Err(ResultError::Json(_))));
    }
}
