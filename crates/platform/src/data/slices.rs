//! Slices of scans, and what of them is kept in memory: scans that are not stored plainly, decoded, and blocks of
//! neighbouring sagittal slices, which a file can only give together.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imaging::metaimage::Limits;
use imaging::render::Plane;
use imaging::slices::{SliceError, SliceReader};
use imaging::{Geometry, Volume, VoxelBox};
use tokio::sync::{OnceCell, Semaphore};

use super::Scan;

/// Sagittal slices that are read from a file together. A viewer asks for the neighbours next anyway.
const SLAB: usize = 16;
/// So many things are read at the same time that are kept afterwards: each may be as large as a scan.
const READERS: usize = 2;
/// The longest edge of a preview, voxels.
pub(crate) const PREVIEW_EDGE: usize = 256;
/// The CT value that is 0 in a preview, and how many each step is worth: 255 is bone.
pub(crate) const PREVIEW_LOW_HU: i16 = -1024;
pub(crate) const PREVIEW_STEP_HU: i16 = 8;

/// Why a slice cannot be shown.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CutError {
    /// There is no such slice; so many there are.
    #[error("there are {count} slices")]
    NoSuchSlice { count: usize },
    /// The scan's file cannot be read.
    #[error("{0}")]
    File(Arc<SliceError>),
    /// A task panicked or was given up.
    #[error("a task that reads a scan did not end")]
    Task,
}

impl From<SliceError> for CutError {
    fn from(error: SliceError) -> Self {
        Self::File(Arc::new(error))
    }
}

/// What is read of a file and kept. A file never changes its content under one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Scan(PathBuf),
    /// The sagittal slices from this one on.
    Slab(PathBuf, usize),
}

#[derive(Debug, Clone)]
enum Kept {
    Scan(Arc<SliceReader>),
    Slab(Arc<Volume<i16>>),
}

/// Cuts scans.
pub(crate) struct Slices {
    /// The server's data folder.
    folder: PathBuf,
    cache: Cache<Key, Kept>,
}

impl Slices {
    /// Keeps at most so many bytes, and in any case what was used last.
    pub(crate) fn new(folder: PathBuf, cache_bytes: usize) -> Self {
        Self { folder, cache: Cache::new(cache_bytes) }
    }

    /// Bytes that are kept at the moment.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// The grid along LPS axes that slices are counted on, and whether an oblique scan was resampled to it.
    pub(crate) async fn grid(&self, scan: &Scan) -> Result<(Geometry, bool), CutError> {
        let scan = self.open(scan.header_path(&self.folder)).await?;
        Ok((scan.geometry().clone(), scan.is_resampled()))
    }

    /// A block of one slice that `choose` cuts out of it, given the grid.
    pub(crate) async fn cut(
        &self,
        scan: &Scan,
        plane: Plane,
        index: usize,
        choose: impl FnOnce(&Geometry, VoxelBox) -> VoxelBox,
    ) -> Result<Volume<i16>, CutError> {
        let path = scan.header_path(&self.folder);
        let scan = self.open(path.clone()).await?;
        let axis = 2 - plane.axes()[0];
        let grid = scan.geometry();
        let count = grid.shape_zyx[axis];
        if index >= count {
            return Err(CutError::NoSuchSlice { count });
        }
        let mut whole = VoxelBox::whole(grid.shape_zyx);
        (whole.start_zyx[axis], whole.end_zyx[axis]) = (index, index + 1);
        let block = choose(grid, whole).intersection(&whole).unwrap_or(whole);
        if plane == Plane::Sagittal && scan.memory_bytes() == 0 {
            let first = index / SLAB * SLAB;
            let slab = self.slab(path, scan, first).await?;
            return blocking(move || Ok(part_of_slab(&slab, &block, first))).await;
        }
        blocking(move || Ok(scan.read(&block)?)).await
    }

    /// The scan at no more than [`PREVIEW_EDGE`] voxels along each axis, in steps of [`PREVIEW_STEP_HU`]: means of blocks,
    /// x fastest.
    pub(crate) async fn preview(&self, scan: &Scan) -> Result<Vec<u8>, CutError> {
        let scan = self.open(scan.header_path(&self.folder)).await?;
        let permit = self.cache.permit().await?;
        blocking(move || {
            let _permit = permit;
            preview(&scan)
        })
        .await
    }

    async fn open(&self, path: PathBuf) -> Result<Arc<SliceReader>, CutError> {
        let file = path.clone();
        let open = move || {
            let scan = SliceReader::open(&file, &Limits::strangers())?;
            let bytes = scan.memory_bytes() + size_of::<SliceReader>();
            Ok((Kept::Scan(Arc::new(scan)), bytes))
        };
        match self.cache.get(Key::Scan(path), open).await? {
            Kept::Scan(scan) => Ok(scan),
            Kept::Slab(_) => Err(CutError::Task),
        }
    }

    async fn slab(&self, path: PathBuf, scan: Arc<SliceReader>, first: usize) -> Result<Arc<Volume<i16>>, CutError> {
        let read = move || {
            let mut block = VoxelBox::whole(scan.geometry().shape_zyx);
            block.start_zyx[2] = first;
            block.end_zyx[2] = block.end_zyx[2].min(first + SLAB);
            let slab = scan.read(&block)?;
            let bytes = size_of_val(slab.voxels());
            Ok((Kept::Slab(Arc::new(slab)), bytes))
        };
        match self.cache.get(Key::Slab(path, first), read).await? {
            Kept::Slab(slab) => Ok(slab),
            Kept::Scan(_) => Err(CutError::Task),
        }
    }
}

/// A block of the scan out of the slab that begins with slice `first`.
fn part_of_slab(slab: &Volume<i16>, block: &VoxelBox, first: usize) -> Volume<i16> {
    let inside = VoxelBox {
        start_zyx: [block.start_zyx[0], block.start_zyx[1], block.start_zyx[2] - first],
        end_zyx: [block.end_zyx[0], block.end_zyx[1], block.end_zyx[2] - first],
    };
    let voxels = inside.indices().map(|index| slab.at(index)).collect();
    let origin_mm_xyz = slab.geometry().world_from_index(inside.start_zyx.map(|index| index as f64));
    Volume::new(Geometry { shape_zyx: inside.shape_zyx(), origin_mm_xyz, ..slab.geometry().clone() }, voxels)
}

/// How many voxels along each axis make one of the preview.
pub(crate) fn preview_factors(shape_zyx: [usize; 3]) -> [usize; 3] {
    shape_zyx.map(|count| count.div_ceil(PREVIEW_EDGE))
}

fn preview(scan: &SliceReader) -> Result<Vec<u8>, CutError> {
    let shape_zyx = scan.geometry().shape_zyx;
    let factors = preview_factors(shape_zyx);
    let [nz, ny, nx] = shape_zyx;
    let [rows, columns] = [ny.div_ceil(factors[1]), nx.div_ceil(factors[2])];
    let mut levels = Vec::with_capacity(nz.div_ceil(factors[0]) * rows * columns);
    for z in (0..nz).step_by(factors[0]) {
        let mut block = VoxelBox::whole(shape_zyx);
        (block.start_zyx[0], block.end_zyx[0]) = (z, (z + factors[0]).min(nz));
        let slices = scan.read(&block)?;
        // Mean and number of what each voxel of the preview covers; blocks at the far ends are smaller.
        let mut sums = vec![(0i64, 0i64); rows * columns];
        for (number, row) in slices.voxels().chunks_exact(nx).enumerate() {
            let sums = &mut sums[number % ny / factors[1] * columns..][..columns];
            for (piece, sum) in row.chunks(factors[2]).zip(sums) {
                sum.0 += piece.iter().map(|&hu| i64::from(hu)).sum::<i64>();
                sum.1 += piece.len() as i64;
            }
        }
        let level = |(sum, count): (i64, i64)| {
            let steps = (sum / count.max(1) - i64::from(PREVIEW_LOW_HU)) / i64::from(PREVIEW_STEP_HU);
            u8::try_from(steps.clamp(0, 255)).unwrap_or(u8::MAX)
        };
        levels.extend(sums.into_iter().map(level));
    }
    Ok(levels)
}

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, CutError> + Send + 'static,
) -> Result<T, CutError> {
    tokio::task::spawn_blocking(job).await.unwrap_or(Err(CutError::Task))
}

/// Values by what they are made of, each made once however many ask for it, the least recently used ones forgotten.
struct Cache<K, V> {
    limit_bytes: usize,
    making: Arc<Semaphore>,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Counts uses.
    now: u64,
}

struct Entry<V> {
    cell: Arc<OnceCell<V>>,
    /// 0 until it is made.
    bytes: usize,
    used: u64,
}

impl<K: Eq + Hash + Clone, V: Clone + Send + 'static> Cache<K, V> {
    fn new(limit_bytes: usize) -> Self {
        let state = State { entries: HashMap::new(), now: 0 };
        Self { limit_bytes, making: Arc::new(Semaphore::new(READERS)), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self) -> usize {
        self.state().entries.values().map(|entry| entry.bytes).sum()
    }

    /// Waits until few others make something large.
    async fn permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, CutError> {
        Arc::clone(&self.making).acquire_owned().await.map_err(|_| CutError::Task)
    }

    /// The value, which `make` makes where it is not kept, with its size in bytes.
    async fn get(
        &self,
        key: K,
        make: impl FnOnce() -> Result<(V, usize), CutError> + Send + 'static,
    ) -> Result<V, CutError> {
        let cell = {
            let mut state = self.state();
            state.now += 1;
            let now = state.now;
            let empty = || Entry { cell: Arc::default(), bytes: 0, used: now };
            let entry = state.entries.entry(key.clone()).or_insert_with(empty);
            entry.used = now;
            Arc::clone(&entry.cell)
        };
        let mut made = None;
        let value = cell
            .get_or_try_init(async || {
                let permit = self.permit().await?;
                let job = move || {
                    let _permit = permit;
                    make()
                };
                let (value, bytes) = blocking(job).await?;
                made = Some(bytes);
                Ok(value)
            })
            .await
            .cloned();
        match (&value, made) {
            (Ok(_), Some(bytes)) => self.keep(&key, &cell, bytes),
            (Err(_), _) => self.forget_empty(&key, &cell),
            _ => {}
        }
        value
    }

    fn keep(&self, key: &K, cell: &Arc<OnceCell<V>>, bytes: usize) {
        let mut state = self.state();
        match state.entries.get_mut(key) {
            Some(entry) if Arc::ptr_eq(&entry.cell, cell) => entry.bytes = bytes,
            _ => return,
        }
        let mut total: usize = state.entries.values().map(|entry| entry.bytes).sum();
        while total > self.limit_bytes {
            let others = state.entries.iter().filter(|(other, entry)| *other != key && entry.bytes > 0);
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.used).map(|(oldest, _)| oldest.clone()) else {
                return;
            };
            total -= state.entries.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
    }

    fn forget_empty(&self, key: &K, cell: &Arc<OnceCell<V>>) {
        let mut state = self.state();
        if state.entries.get(key).is_some_and(|entry| Arc::ptr_eq(&entry.cell, cell) && !entry.cell.initialized()) {
            state.entries.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use imaging::metaimage::{Compression, write};

    /// Stores a volume as somebody's scan.
    fn stored(folder: &Path, volume: &Volume<i16>, compression: Compression) -> Scan {
        let scan = Scan {
            id: 1,
            username: "city-first".to_owned(),
            series_uid: "1.2.3".to_owned(),
            header_file: "scan.mhd".to_owned(),
            voxels_sha256: String::new(),
            hu_min: 0,
            hu_max: 0,
            bytes: 0,
            grid: None,
            created_at: crate::clock::Moment(0),
        };
        let path = scan.header_path(folder);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, volume, compression).unwrap();
        scan
    }

    fn volume(direction: [[f64; 3]; 3]) -> Volume<i16> {
        let geometry = Geometry {
            shape_zyx: [9, 12, 37],
            spacing_mm_xyz: [0.7, 0.9, 2.5],
            origin_mm_xyz: [-20.5, 3.0, -100.0],
            direction,
        };
        let voxels = (0..geometry.voxel_count()).map(|at| at as i16 - 1100).collect();
        Volume::new(geometry, voxels)
    }

    const STRAIGHT: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    const FLIPPED: [[f64; 3]; 3] = [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]];

    #[tokio::test]
    async fn all_slices_of_all_planes_are_the_volume_s() {
        let folder = tempfile::tempdir().unwrap();
        for (direction, compression) in
            [(STRAIGHT, Compression::None), (FLIPPED, Compression::None), (FLIPPED, Compression::Zlib)]
        {
            let scan = stored(folder.path(), &volume(direction), compression);
            let volume = imaging::to_lps(&volume(direction)).unwrap();
            let slices = Slices::new(folder.path().to_owned(), 1 << 20);
            let (grid, resampled) = slices.grid(&scan).await.unwrap();
            assert_eq!((&grid, resampled), (volume.geometry(), false));
            for plane in Plane::ALL {
                let axis = 2 - plane.axes()[0];
                let count = grid.shape_zyx[axis];
                for index in 0..count {
                    let slice = slices.cut(&scan, plane, index, |_, whole| whole).await.unwrap();
                    let mut block = VoxelBox::whole(grid.shape_zyx);
                    (block.start_zyx[axis], block.end_zyx[axis]) = (index, index + 1);
                    let expected: Vec<i16> = block.indices().map(|at| volume.at(at)).collect();
                    assert_eq!(slice.voxels(), expected, "{plane:?} {index}");
                    let origin = volume.geometry().world_from_index(block.start_zyx.map(|at| at as f64));
                    for (found, expected) in slice.geometry().origin_mm_xyz.iter().zip(origin) {
                        assert!((found - expected).abs() < 1e-9);
                    }
                }
                let beyond = slices.cut(&scan, plane, count, |_, whole| whole).await;
                assert!(matches!(beyond, Err(CutError::NoSuchSlice { count: found }) if found == count));
            }
        }
    }

    #[tokio::test]
    async fn a_preview_is_the_mean_of_its_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let geometry = Geometry::axis_aligned([2, 3, 600], [1.0; 3], [0.0; 3]).unwrap();
        let voxels = (0..geometry.voxel_count()).map(|at| ((at * 7919) % 4000) as i16 - 2000).collect();
        let volume = Volume::new(geometry, voxels);
        let scan = stored(folder.path(), &volume, Compression::None);
        let levels = Slices::new(folder.path().to_owned(), 0).preview(&scan).await.unwrap();
        assert_eq!(preview_factors([2, 3, 600]), [1, 1, 3]);
        assert_eq!(levels.len(), 2 * 3 * 200);
        for (at, level) in levels.into_iter().enumerate() {
            let first = at / 200 * 600 + at % 200 * 3;
            let mean = volume.voxels()[first..first + 3].iter().map(|&hu| f64::from(hu)).sum::<f64>() / 3.0;
            let shown = f64::from(PREVIEW_LOW_HU) + f64::from(level) * f64::from(PREVIEW_STEP_HU);
            let within = (shown - 1.0..shown + 9.0).contains(&mean);
            assert!(within || (level == 0 && mean < -1000.0) || (level == 255 && mean > 1000.0), "{mean} is {level}");
        }
    }

    #[tokio::test]
    async fn memory_is_bounded_and_the_last_used_stays() {
        let cache = Cache::<u32, u32>::new(100);
        let made = Arc::new(AtomicUsize::new(0));
        let get = async |key: u32, bytes: usize| {
            let made = Arc::clone(&made);
            let make = move || {
                made.fetch_add(1, Ordering::SeqCst);
                Ok((key * 10, bytes))
            };
            assert_eq!(cache.get(key, make).await.unwrap(), key * 10);
        };
        get(1, 40).await;
        get(2, 40).await;
        get(1, 40).await;
        assert_eq!((made.load(Ordering::SeqCst), cache.bytes()), (2, 80));
        get(3, 40).await;
        assert_eq!(cache.bytes(), 80, "2 was used longest ago");
        get(1, 40).await;
        assert_eq!(made.load(Ordering::SeqCst), 3);
        get(2, 40).await;
        assert_eq!(made.load(Ordering::SeqCst), 4);
        get(9, 500).await;
        assert_eq!(cache.bytes(), 500, "what is too large is kept alone");
        get(9, 500).await;
        assert_eq!(made.load(Ordering::SeqCst), 5);
        get(1, 1).await;
        assert_eq!(cache.bytes(), 1);
    }

    #[tokio::test]
    async fn what_failed_is_tried_again_and_what_many_want_is_made_once() {
        let cache = Arc::new(Cache::<u32, u32>::new(100));
        let failed = cache.get(1, || Err(CutError::Task)).await;
        assert!(matches!(failed, Err(CutError::Task)));
        assert!(cache.state().entries.is_empty());
        let made = Arc::new(AtomicUsize::new(0));
        let all: Vec<_> = (0..20)
            .map(|_| {
                let (cache, made) = (Arc::clone(&cache), Arc::clone(&made));
                tokio::spawn(async move {
                    cache.get(1, move || Ok((made.fetch_add(1, Ordering::SeqCst) as u32, 1))).await.unwrap()
                })
            })
            .collect();
        for one in all {
            assert_eq!(one.await.unwrap(), 0);
        }
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }
}
