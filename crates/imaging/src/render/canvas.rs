//! Pixels, lines, circles and letters; knows nothing of CT.

use super::font;

/// Red, green, blue.
pub(super) type Color = [u8; 3];

/// A picture in 8-bit RGB, from the top left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// Three bytes per pixel.
    pub pixels: Vec<u8>,
}

impl RgbImage {
    /// The picture as the bytes of a PNG file, with the size of a pixel in millimetres where it is known.
    pub fn to_png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&self.pixels));
        // Writing to memory cannot fail, and the size is right by construction.
        written.expect("a picture of its own size fits in a PNG in memory");
        bytes
    }

    /// The color of a pixel.
    ///
    /// # Panics
    /// Outside of the picture.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// Mixes a color into a pixel, nothing outside of the picture. `cover` goes from 0 to 1.
    fn mix(&mut self, x: isize, y: isize, color: Color, cover: f32) {
        if x < 0 || y < 0 || x as usize >= self.width || y as usize >= self.height {
            return;
        }
        let at = (y as usize * self.width + x as usize) * 3;
        for (old, new) in self.pixels[at..at + 3].iter_mut().zip(color) {
            *old = (f32::from(*old) + (f32::from(new) - f32::from(*old)) * cover.clamp(0.0, 1.0) + 0.5) as u8;
        }
    }

    /// A filled block.
    pub(super) fn block(&mut self, [x, y]: [isize; 2], [width, height]: [usize; 2], color: Color) {
        for row in 0..height as isize {
            for column in 0..width as isize {
                self.mix(x + column, y + row, color, 1.0);
            }
        }
    }

    /// An antialiased ring.
    pub(super) fn ring(&mut self, [cx, cy]: [f32; 2], radius: f32, thickness: f32, color: Color) {
        let reach = radius + thickness / 2.0 + 1.0;
        let (left, top) = ((cx - reach).max(0.0) as isize, (cy - reach).max(0.0) as isize);
        let (right, bottom) =
            ((cx + reach).min(self.width as f32) as isize, (cy + reach).min(self.height as f32) as isize);
        for y in top..=bottom {
            for x in left..=right {
                let (dx, dy) = (x as f32 - cx, y as f32 - cy);
                let from_line = ((dx * dx + dy * dy).sqrt() - radius).abs();
                self.mix(x, y, color, thickness / 2.0 + 0.5 - from_line);
            }
        }
    }

    /// Letters from the top left, `scale` pixels per dot, with a dark rim that keeps them legible on bright tissue.
    pub(super) fn text(&mut self, [x, y]: [isize; 2], text: &str, scale: usize, color: Color, rim: Color) {
        for (grow, color) in [(scale.div_ceil(2), rim), (0, color)] {
            for (position, character) in text.chars().enumerate() {
                for (row, bits) in font::glyph(character).into_iter().enumerate() {
                    for column in (0..font::ADVANCE - 1).filter(|column| bits >> (4 - column) & 1 == 1) {
                        let left = x + ((position * font::ADVANCE + column) * scale) as isize - grow as isize;
                        let top = y + (row * scale) as isize - grow as isize;
                        self.block([left, top], [scale + 2 * grow; 2], color);
                    }
                }
            }
        }
    }
}

/// Width and height of a text.
pub(super) fn text_size(text: &str, scale: usize) -> [usize; 2] {
    [(text.chars().count() * font::ADVANCE).saturating_sub(1) * scale, font::HEIGHT * scale]
}
