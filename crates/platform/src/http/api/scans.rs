//! The caller's scans: the list, small pictures, removing one.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use schemars::JsonSchema;
use serde::Serialize;

use super::slices::own_scan;
use crate::accounts::Caller;
use crate::data::Scan;
use crate::data::examine::THUMBNAIL;
use crate::http::context::Context;
use crate::http::openapi::{NoContent, Picture, Sent};
use crate::http::{App, Problem};
use crate::store::StorageError;
use crate::store::annotations;
use crate::store::scans::{all_of_user, bytes_of_user};
use crate::store::uploads::expected_of_user;

/// A complete scan.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ListedScan")]
struct Shown {
    id: i64,
    series_uid: String,
    /// Voxels along z, y, x in the file's order.
    shape_zyx: Option<[usize; 3]>,
    spacing_mm_xyz: Option<[f64; 3]>,
    hu_min: i16,
    hu_max: i16,
    bytes: i64,
    created_at: String,
    /// Known nodules.
    nodules: usize,
}

fn shown(scan: Scan, nodules: usize) -> Shown {
    Shown {
        id: scan.id,
        series_uid: scan.series_uid,
        shape_zyx: scan.grid.as_ref().map(|grid| grid.shape_zyx),
        spacing_mm_xyz: scan.grid.as_ref().map(|grid| grid.spacing_mm_xyz),
        hu_min: scan.hu_min,
        hu_max: scan.hu_max,
        bytes: scan.bytes,
        created_at: scan.created_at.to_string(),
        nodules,
    }
}

/// The caller's scans.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Scans {
    scans: Vec<Shown>,
    /// With unfinished uploads.
    used_bytes: i64,
    quota_bytes: u64,
}

/// The newest first, with what the caller uses of the quota.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Scans>, Problem> {
    let user = caller.user_id;
    let read = app.store.read(move |db| {
        let known = annotations::of_scans(db, user)?;
        let count = |scan: &Scan| known.iter().filter(|finding| finding.series_uid == scan.series_uid).count();
        let scans = all_of_user(db, user)?.into_iter().map(|scan| {
            let nodules = count(&scan);
            shown(scan, nodules)
        });
        let scans: Vec<Shown> = scans.collect();
        let (_, expected) = expected_of_user(db, user)?;
        Ok::<_, StorageError>((scans, bytes_of_user(db, user)? + expected))
    });
    let (scans, used_bytes) = read.await?;
    Ok(Json(Scans { scans, used_bytes, quota_bytes: app.uploads.quota_bytes() }))
}

/// The middle slice in the lung window.
pub(crate) async fn thumbnail(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Sent<Picture>, Problem> {
    let path = own_scan(&app, &caller, id).await?.header_path(app.trainings.folder()).with_file_name(THUMBNAIL);
    let png = tokio::fs::read(path).await.map_err(|_| Problem::not_found())?;
    // The number is never given to another scan, but whose it is may be asked again.
    Ok(Sent::new(([(CONTENT_TYPE, "image/png"), (CACHE_CONTROL, "private, max-age=600")], png).into_response()))
}

pub(crate) async fn remove(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<NoContent, Problem> {
    app.uploads.remove_scan(&caller, id, context.address).await?;
    Ok(NoContent)
}
