//! Draws the pictures of docs/design/phantom.md: `pictures <folder>`.
use phantom::{HospitalStyle, Phantom, PhantomSpec, Size, generate};
use std::error::Error;
use std::fs::File;
use std::path::Path;

/// A grey picture.
struct Picture {
    width: usize,
    pixels: Vec<u8>,
}

impl Picture {
    fn new(width: usize, height: usize) -> Self {
        Self { width, pixels: vec![0; width * height] }
    }

    /// Fills the rectangle at (x, y) from `hu(column, row)`, given as fractions of the rectangle.
    fn panel(&mut self, at: [usize; 2], size: [usize; 2], window: (f64, f64), hu: impl Fn(f64, f64) -> f64) {
        for row in 0..size[1] {
            for column in 0..size[0] {
                let v = hu((column as f64 + 0.5) / size[0] as f64, (row as f64 + 0.5) / size[1] as f64);
                let grey = (v - window.0 + 0.5 * window.1) / window.1 * 255.0;
                self.pixels[(at[1] + row) * self.width + at[0] + column] = grey.clamp(0.0, 255.0) as u8;
            }
        }
    }

    fn save(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let height = (self.pixels.len() / self.width) as u32;
        let mut encoder = png::Encoder::new(File::create(path)?, self.width as u32, height);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_compression(png::Compression::High);
        encoder.write_header()?.write_image_data(&self.pixels)?;
        Ok(())
    }
}

const LUNG: (f64, f64) = (-500.0, 1500.0);
const SOFT: (f64, f64) = (40.0, 400.0);

/// Linear interpolation at a continuous index; air outside.
fn hu(phantom: &Phantom, index: [f64; 3]) -> f64 {
    let shape = phantom.volume.geometry().shape_zyx;
    let mut sum = 0.0;
    for corner in 0..8usize {
        let (mut weight, mut at) = (1.0, [0usize; 3]);
        for axis in 0..3 {
            let v = index[axis].clamp(0.0, (shape[axis] - 1) as f64);
            let up = corner >> axis & 1;
            let floor = v.floor();
            weight *= if up == 1 { v - floor } else { 1.0 - v + floor };
            at[axis] = (floor as usize + up).min(shape[axis] - 1);
        }
        if weight > 0.0 {
            sum += weight * f64::from(phantom.volume.at(at));
        }
    }
    sum.max(-1024.0)
}

fn scan(index: u64, style: HospitalStyle) -> Phantom {
    generate(&PhantomSpec::new(7, index, style, Size::Full))
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: pictures <folder>")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;

    let levels = [0.32, 0.5, 0.72];
    let contrast = scan(0, HospitalStyle::ThickSlice);
    let [nz, ny, nx] = contrast.volume.geometry().shape_zyx;
    let mut axial = Picture::new(3 * 340, 2 * 272);
    for (column, level) in levels.iter().enumerate() {
        for (row, window) in [LUNG, SOFT].into_iter().enumerate() {
            axial.panel([column * 340, row * 272], [340, 272], window, |u, v| {
                hu(&contrast, [level * nz as f64, (0.08 + 0.8 * v) * ny as f64, u * nx as f64])
            });
        }
    }
    axial.save(&folder.join("phantom-axial.png"))?;

    let thin = scan(1, HospitalStyle::ThinSoft);
    let geometry = thin.volume.geometry();
    let [nz, ny, nx] = geometry.shape_zyx;
    let height = (geometry.spacing_mm_xyz[2] * nz as f64 / (geometry.spacing_mm_xyz[0] * nx as f64) * 420.0) as usize;
    let mut planes = Picture::new(840, height);
    planes.panel([0, 0], [420, height], LUNG, |u, v| {
        hu(&thin, [(1.0 - v) * (nz - 1) as f64, 0.48 * ny as f64, u * nx as f64])
    });
    planes.panel([420, 0], [420, height], LUNG, |u, v| {
        hu(&thin, [(1.0 - v) * (nz - 1) as f64, u * ny as f64, 0.3 * nx as f64])
    });
    planes.save(&folder.join("phantom-coronal-sagittal.png"))?;

    let mut styles = Picture::new(3 * 300, 2 * 260);
    let mut nodules = Picture::new(8 * 110, 2 * 110);
    let mut drawn = 0;
    for (i, style) in HospitalStyle::ALL.into_iter().enumerate() {
        let phantom = scan(3, style);
        let geometry = phantom.volume.geometry();
        let [nz, ny, nx] = geometry.shape_zyx;
        // Some scans of the old scanner are stored with reversed axes.
        let flipped = geometry.direction[0][0] < 0.0;
        let turn = |t: f64| if flipped { 1.0 - t } else { t };
        styles.panel([i % 3 * 300, i / 3 * 260], [300, 260], LUNG, |u, v| {
            hu(&phantom, [0.6 * nz as f64, turn(0.2 + 0.52 * v) * ny as f64, turn(0.03 + 0.5 * u) * nx as f64])
        });
    }
    styles.save(&folder.join("phantom-styles.png"))?;
    for index in 0.. {
        let phantom = generate(&PhantomSpec::new(8, index, HospitalStyle::ThinSoft, Size::Small));
        for nodule in &phantom.nodules {
            if drawn < 16 {
                let c = nodule.center_mm_xyz;
                nodules.panel([drawn % 8 * 110, drawn / 8 * 110], [108, 108], LUNG, |u, v| {
                    let point = [c[0] + 36.0 * (u - 0.5), c[1] + 36.0 * (v - 0.5), c[2]];
                    hu(&phantom, phantom.volume.geometry().index_from_world(point))
                });
                drawn += 1;
            }
        }
        if drawn == 16 {
            break;
        }
    }
    nodules.save(&folder.join("phantom-nodules.png"))?;
    Ok(())
}
