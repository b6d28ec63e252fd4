//! The grid of a scan and its slices, as CT values for the viewer and as pictures for reports.
//!
//! Slices count along LPS axes whatever the order in the file: axial from the feet to the head, coronal from the front to
//! the back, sagittal from the patient's right to the left. Rows and columns of a slice follow the same axes.

use std::io::Write;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use imaging::luna16::Finding;
use imaging::render::{Marker, Plane, SliceNumber, SliceStyle, render_part};
use imaging::{Geometry, VoxelBox, Window};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::accounts::Caller;
use crate::catalog::{Language, Message};
use crate::data::slices::{CutError, PREVIEW_LOW_HU, PREVIEW_STEP_HU, preview_factors};
use crate::data::{Scan, scan_for};
use crate::http::context::Context;
use crate::http::openapi::{Binary, Kept, SliceOrPicture};
use crate::http::{App, Problem};
use crate::store::StorageError;
use crate::store::annotations;
use crate::token::hex;

/// Findings on one picture.
const MARKS: usize = 64;
/// Such marks and a point, for programs.
const MARKS_PATTERN: &str = r"^([0-9]{1,9}:(-?[0-9]{1,5}(\.[0-9]{1,9})?,){3}[1-4]?[0-9]{1,2}(;|$)){0,64}$";
const POINT_PATTERN: &str = r"^-?[0-9]{1,5}(\.[0-9]{1,9})?(,-?[0-9]{1,5}(\.[0-9]{1,9})?){2}$";
/// A picture around a finding, millimetres.
const FIELD_MM: std::ops::RangeInclusive<f64> = 5.0..=1000.0;
/// The finest pixels, millimetres.
const PIXEL_MM: std::ops::RangeInclusive<f64> = 0.05..=10.0;
/// CT values that a window may have.
const HU: std::ops::RangeInclusive<f64> = -5000.0..=5000.0;
/// Widths that it may have.
const WIDTH: std::ops::RangeInclusive<f64> = 1.0..=10_000.0;
/// What saves less than a tenth is not worth unpacking.
const WORTH: f64 = 0.9;

/// The caller's own scan; whoever else asks learns nothing.
pub(in crate::http) async fn own_scan(app: &App, caller: &Caller, id: i64) -> Result<Scan, Problem> {
    let caller = caller.clone();
    let scan = app.store.read(move |db| scan_for(db, &caller, id).map_err(StorageError::from)).await?;
    scan.ok_or_else(Problem::not_found)
}

impl From<CutError> for Problem {
    fn from(error: CutError) -> Self {
        match error {
            CutError::NoSuchSlice { count } => Self::no_such_slice(count),
            CutError::File(error) => {
                // The message of the error begins with a path, which no log needs.
                let error = match &*error {
                    imaging::slices::SliceError::File(error) => error.problem.to_string(),
                    other => other.to_string(),
                };
                tracing::error!(error, "a scan could not be read");
                Self::scan_unreadable()
            }
            CutError::Task => Self::internal(),
        }
    }
}

/// Where the voxels of a scan lie on the grid that slices are counted on.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ScanGeometry {
    id: i64,
    /// The content by a name that nobody can guess: in the query of slices, it lets a browser keep them for good.
    edition: String,
    series_uid: String,
    /// Numbers of voxels.
    shape_zyx: [usize; 3],
    spacing_mm_xyz: [f64; 3],
    /// The centre of the first voxel.
    origin_mm_xyz: [f64; 3],
    /// Direction cosines, row-major: column `j` is the world direction of grid axis `j` (x, y, z).
    direction: [[f64; 3]; 3],
    hu_min: i16,
    hu_max: i16,
    /// Whether the grid of the file is another one, so that values were interpolated.
    resampled: bool,
    preview: Preview,
    /// What is known of its nodules.
    annotations: Vec<Annotation>,
}

/// A known nodule.
#[derive(Serialize, JsonSchema)]
struct Annotation {
    center_mm_xyz: [f64; 3],
    diameter_mm: f64,
}

/// How to read a preview: a byte is `low_hu` and so many steps of `step_hu`, a voxel as wide as `factors_zyx` of the grid's.
#[derive(Serialize, JsonSchema)]
struct Preview {
    factors_zyx: [usize; 3],
    low_hu: i16,
    step_hu: i16,
}

/// Where the voxels of a scan lie, of the grid that slices are counted on and of the file.
pub(crate) async fn geometry(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Json<ScanGeometry>, Problem> {
    let scan = own_scan(&app, &caller, id).await?;
    let (grid, resampled) = app.slices.grid(&scan).await?;
    let (user, series) = (caller.user_id, scan.series_uid.clone());
    let known = app.store.read(move |db| annotations::of_series(db, user, &series).map_err(StorageError::from)).await?;
    let annotation = |known: Finding| Annotation { center_mm_xyz: known.center_mm_xyz, diameter_mm: known.diameter_mm };
    Ok(Json(ScanGeometry {
        id,
        edition: edition(&scan),
        series_uid: scan.series_uid,
        shape_zyx: grid.shape_zyx,
        spacing_mm_xyz: grid.spacing_mm_xyz,
        origin_mm_xyz: grid.origin_mm_xyz,
        direction: grid.direction,
        hu_min: scan.hu_min,
        hu_max: scan.hu_max,
        resampled,
        preview: Preview {
            factors_zyx: preview_factors(grid.shape_zyx),
            low_hu: PREVIEW_LOW_HU,
            step_hu: PREVIEW_STEP_HU,
        },
        annotations: known.into_iter().map(annotation).collect(),
    }))
}

/// `…/slice/axial/87` is the slice's CT values, row by row, as little-endian int16; `…/slice/axial/87.png` a picture.
pub(crate) async fn slice(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    headers: HeaderMap,
    Path((id, plane, name)): Path<(i64, Plane, String)>,
    Query(wanted): Query<Picture>,
    Query(Edition { edition }): Query<Edition>,
) -> Result<Kept<SliceOrPicture>, Problem> {
    let scan = own_scan(&app, &caller, id).await?;
    let (number, is_picture) = name.strip_suffix(".png").map_or((name.as_str(), false), |number| (number, true));
    let index: usize = number.parse().map_err(|_| Problem::not_found())?;
    let edition = edition.as_deref();
    let drawing = wanted.checked(context.language)?;
    if is_picture {
        let what = format!("{plane:?}/{index}.png {drawing:?}");
        return kept(&scan, &what, edition, &headers, picture(&app, &scan, plane, index, drawing)).await;
    }
    let values = async {
        let slice = app.slices.cut(&scan, plane, index, |_, whole| whole).await?;
        packed(move || slice.voxels().iter().flat_map(|hu| hu.to_le_bytes()).collect(), accepts_gzip(&headers)).await
    };
    kept(&scan, &format!("{plane:?}/{index}"), edition, &headers, values).await
}

/// The whole scan, coarsely, for the view in three dimensions.
pub(crate) async fn preview(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<i64>,
    Query(Edition { edition }): Query<Edition>,
) -> Result<Kept<Binary>, Problem> {
    let scan = own_scan(&app, &caller, id).await?;
    let levels = async {
        let levels = app.slices.preview(&scan).await?;
        packed(move || levels, accepts_gzip(&headers)).await
    };
    kept(&scan, "preview", edition.as_deref(), &headers, levels).await
}

/// As the geometry says it; then a browser may keep the answer.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Edition {
    edition: Option<String>,
}

/// What a picture of a slice shows. Texts, so that a bad value is refused in our own words.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Picture {
    /// The middle of the window, HU.
    #[schemars(with = "Option<f64>", range(min = *HU.start(), max = *HU.end()))]
    center: Option<String>,
    /// The width of the window, HU.
    #[schemars(with = "Option<f64>", range(min = *WIDTH.start(), max = *WIDTH.end()))]
    width: Option<String>,
    /// `number:x,y,z,diameter` in millimetres, several of them with `;` between.
    #[schemars(regex(pattern = MARKS_PATTERN))]
    marks: Option<String>,
    /// `x,y,z` in millimetres: only the neighbourhood of it, `field_mm` wide.
    #[schemars(regex(pattern = POINT_PATTERN))]
    around: Option<String>,
    #[schemars(with = "Option<f64>", range(min = *FIELD_MM.start(), max = *FIELD_MM.end()))]
    field_mm: Option<String>,
    #[schemars(with = "Option<f64>", range(min = *PIXEL_MM.start(), max = *PIXEL_MM.end()))]
    pixel_mm: Option<String>,
}

/// The same, understood.
#[derive(Debug)]
struct Drawing {
    style: SliceStyle,
    around: Option<([f64; 3], f64)>,
    pixel_mm: Option<f64>,
}

impl Picture {
    fn checked(&self, language: Language) -> Result<Drawing, Problem> {
        let refused = |name: &str, expected: Message| Problem::query(name, &expected, language);
        let number = |name: &str, text: &Option<String>, range: std::ops::RangeInclusive<f64>| {
            let Some(text) = text else { return Ok(None) };
            let found = text.parse().ok().filter(|number| range.contains(number));
            let (from, to) = (range.start().to_string(), range.end().to_string());
            found.map(Some).ok_or_else(|| refused(name, Message::ExpectedDecimal { from, to }))
        };
        let center = number("center", &self.center, HU)?.map_or(Window::LUNG.center_hu, |hu| hu as f32);
        let width = number("width", &self.width, WIDTH)?.map_or(Window::LUNG.width_hu, |hu| hu as f32);
        let marks = self.marks.as_deref().unwrap_or_default().split(';').filter(|mark| !mark.is_empty());
        let markers: Option<Vec<Marker>> = marks.map(marker).collect();
        let markers = markers.filter(|markers| markers.len() <= MARKS);
        let around = match &self.around {
            None => None,
            Some(text) => Some(numbers::<3>(text).ok_or_else(|| refused("around", Message::ExpectedPoint))?),
        };
        let field_mm = number("field_mm", &self.field_mm, FIELD_MM)?.unwrap_or(100.0);
        Ok(Drawing {
            style: SliceStyle {
                window: Window { center_hu: center, width_hu: width },
                markers: markers.ok_or_else(|| refused("marks", Message::ExpectedMarks { most: MARKS.to_string() }))?,
                annotated: true,
            },
            around: around.map(|point| (point, field_mm)),
            pixel_mm: number("pixel_mm", &self.pixel_mm, PIXEL_MM)?,
        })
    }
}

/// Finite numbers with commas between.
fn numbers<const N: usize>(text: &str) -> Option<[f64; N]> {
    let numbers: Option<Vec<f64>> =
        text.split(',').map(|number| number.parse().ok().filter(|number: &f64| number.abs() < 1e6)).collect();
    numbers?.try_into().ok()
}

fn marker(text: &str) -> Option<Marker> {
    let (number, place) = text.split_once(':')?;
    let [x, y, z, diameter_mm] = numbers::<4>(place)?;
    let number = number.parse().ok()?;
    (0.0..=500.0).contains(&diameter_mm).then_some(Marker { center_mm_xyz: [x, y, z], diameter_mm, number })
}

async fn picture(app: &App, scan: &Scan, plane: Plane, index: usize, drawing: Drawing) -> Result<Response, Problem> {
    let Drawing { style, around, pixel_mm } = drawing;
    let (grid, _) = app.slices.grid(scan).await?;
    let count = grid.shape_zyx[2 - plane.axes()[0]];
    let part = app
        .slices
        .cut(scan, plane, index, |grid, whole| match around {
            Some((center_mm_xyz, field_mm)) => neighbourhood(grid, whole, plane, center_mm_xyz, field_mm),
            None => whole,
        })
        .await?;
    let draw = move || {
        let number = SliceNumber { index, count };
        render_part(&part, plane, number, pixel_mm, &style).map(|image| image.to_png())
    };
    let drawn = tokio::task::spawn_blocking(draw).await.map_err(|_| Problem::internal())?;
    let png = drawn.map_err(|_| Problem::picture_too_large())?;
    Ok(([(CONTENT_TYPE, "image/png")], png).into_response())
}

/// The part of a slice around a place, moved inwards where it would reach outside.
fn neighbourhood(grid: &Geometry, whole: VoxelBox, plane: Plane, center_mm_xyz: [f64; 3], field_mm: f64) -> VoxelBox {
    let center = grid.index_from_world(center_mm_xyz);
    let mut block = whole;
    for axis in (0..3).filter(|axis| *axis != 2 - plane.axes()[0]) {
        let count = grid.shape_zyx[axis];
        let wanted = (field_mm / grid.spacing_mm_xyz[2 - axis]).round().max(1.0) as usize;
        let length = wanted.min(count);
        let start = (center[axis] - length as f64 / 2.0 + 0.5).round().max(0.0) as usize;
        block.start_zyx[axis] = start.min(count - length);
        block.end_zyx[axis] = block.start_zyx[axis] + length;
    }
    block
}

/// Changes with the file, with what is shown of it and with this program.
fn tag(scan: &Scan, what: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [&scan.voxels_sha256, &scan.id.to_string(), env!("CARGO_PKG_VERSION"), what] {
        hasher.update(part);
        hasher.update([0]);
    }
    hex(&hasher.finalize()[..12])
}

/// The scan's content by a name that nobody can guess.
fn edition(scan: &Scan) -> String {
    tag(scan, "edition")
}

/// An answer that the browser keeps: for good where the address holds the scan's edition, which only the geometry tells, so
/// that whoever signs in next in the same browser cannot get at it. Everything else is asked for again, and so is whose
/// scan it is.
async fn kept<C>(
    scan: &Scan,
    what: &str,
    presented: Option<&str>,
    headers: &HeaderMap,
    make: impl Future<Output = Result<Response, Problem>>,
) -> Result<Kept<C>, Problem> {
    // Packed and plain bytes have the same tag, which makes it a weak one.
    let tag = format!("W/\"{}\"", tag(scan, what));
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut response = if known.split(',').any(|known| known.trim() == tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        make.await?
    };
    let for_good = presented == Some(&edition(scan));
    let keep = if for_good { "private, max-age=31536000, immutable" } else { "private, no-cache" };
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::from_str(&tag).map_err(|_| Problem::internal())?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    Ok(Kept::new(response))
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|list| list.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
        matches!(name.trim(), "gzip" | "*") && !refused
    })
}

/// Bytes, packed where the browser takes it and it pays.
async fn packed(bytes: impl FnOnce() -> Vec<u8> + Send + 'static, gzip: bool) -> Result<Response, Problem> {
    let pack = move || {
        let bytes = bytes();
        if !gzip {
            return (bytes, false);
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
        match encoder.write_all(&bytes).and_then(|()| encoder.finish()) {
            Ok(small) if (small.len() as f64) < bytes.len() as f64 * WORTH => (small, true),
            _ => (bytes, false),
        }
    };
    let (bytes, is_packed) = tokio::task::spawn_blocking(pack).await.map_err(|_| Problem::internal())?;
    let mut response = Body::from(bytes).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if is_packed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}
