//! Pictures: the patient's right is on the left, millimetres are square, findings are where they are.

use imaging::render::{
    Marker, Plane, RenderError, SliceNumber, SliceStyle, render_part, render_slice, slice_at, slice_count,
};
use imaging::slices::SliceReader;
use imaging::{Geometry, Volume, VoxelBox, Window};

const AMBER: [u8; 3] = [0xff, 0xb0, 0x20];

/// 60 x 40 x 20 mm with a bright voxel to the patient's right, front and top.
fn marked(direction: [[f64; 3]; 3]) -> Volume<i16> {
    let shape_zyx = [10, 40, 60];
    let geometry = Geometry { shape_zyx, spacing_mm_xyz: [1.0, 1.0, 2.0], origin_mm_xyz: [0.0; 3], direction };
    let corners = [[0.0; 3], shape_zyx.map(|n| (n - 1) as f64)].map(|index| geometry.world_from_index(index));
    let low: [f64; 3] = std::array::from_fn(|d| corners[0][d].min(corners[1][d]));
    // Of the box in the world: 5 mm from the right, 5 mm from the front, 4 mm below the top.
    let place = [low[0] + 5.0, low[1] + 5.0, low[2] + 14.0];
    let mut volume = Volume::filled(geometry.clone(), -1350i16);
    let offset = volume.offset(geometry.index_from_world(place).map(|i| i.round() as usize));
    volume.voxels_mut()[offset] = 150;
    volume
}

fn plain() -> SliceStyle {
    SliceStyle { annotated: false, ..SliceStyle::default() }
}

fn brightest(volume: &Volume<i16>, plane: Plane, index: usize) -> [usize; 2] {
    let image = render_slice(volume, plane, index, &plain()).expect("a picture");
    let at = (0..image.width * image.height).max_by_key(|&at| (image.pixels[at * 3], std::cmp::Reverse(at)));
    let at = at.expect("a pixel");
    assert!(image.pixels[at * 3] > 100);
    [at % image.width, at / image.width]
}

#[test]
fn radiological_orientation_whatever_the_order_in_the_file() {
    for direction in [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]],
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]],
    ] {
        let volume = marked(direction);
        assert_eq!(Plane::ALL.map(|plane| slice_count(&volume, plane)), [Some(10), Some(40), Some(60)]);
        assert_eq!(brightest(&volume, Plane::Axial, 7), [5, 5], "right on the left, front above");
        // Rows of 1 mm, slices of 2 mm: voxel 7 of 10 spans 4 to 6 mm below the top, its centre between two rows.
        assert!(matches!(brightest(&volume, Plane::Coronal, 5), [5, 4 | 5]), "right on the left, head above");
        assert!(matches!(brightest(&volume, Plane::Sagittal, 5), [5, 4 | 5]), "front on the left, head above");
    }
}

#[test]
fn millimetres_are_square() {
    let image = render_slice(&marked([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), Plane::Coronal, 0, &plain());
    let image = image.expect("a picture");
    assert_eq!([image.width, image.height], [60, 20]);
}

fn head(shape_zyx: [usize; 3]) -> Volume<i16> {
    Volume::filled(Geometry::axis_aligned(shape_zyx, [1.0; 3], [-50.0, -50.0, 0.0]).expect("a grid"), 40)
}

#[test]
fn findings_are_circled_on_the_slices_that_they_touch() {
    let volume = head([30, 100, 100]);
    let marker = Marker { center_mm_xyz: [10.0, -20.0, 15.0], diameter_mm: 8.0, number: 12 };
    let style = SliceStyle { window: Window::MEDIASTINUM, markers: vec![marker.clone()], annotated: false };
    let amber = |index: usize| -> Vec<[usize; 2]> {
        let image = render_slice(&volume, Plane::Axial, index, &style).expect("a picture");
        let all = (0..image.height).flat_map(|y| (0..image.width).map(move |x| [x, y]));
        all.filter(|&[x, y]| image.pixel(x, y) == AMBER).collect()
    };
    assert_eq!(slice_at(&volume, Plane::Axial, marker.center_mm_xyz), Some(15));
    assert!(amber(10).is_empty() && amber(20).is_empty());
    let ring: Vec<_> = amber(15);
    assert!(ring.len() > 30);
    let on_ring = ring.iter().filter(|[x, y]| {
        let from_center = (*x as f64 - 60.0).hypot(*y as f64 - 30.0);
        (6.0..8.0).contains(&from_center)
    });
    assert!(on_ring.count() > 20, "a circle 3 mm outside of the finding");
    let image = render_slice(&volume, Plane::Axial, 15, &style).expect("a picture");
    assert_eq!(image.pixel(60, 30), [128; 3], "the finding itself is not drawn upon");
    let plain = render_slice(&volume, Plane::Axial, 10, &style).expect("a picture");
    assert!(plain.pixels.iter().all(|&level| level == 128), "nothing else is drawn");
}

#[test]
fn a_part_looks_as_it_does_in_the_whole() {
    let volume = marked([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]);
    let scan = SliceReader::of(volume.clone()).expect("a scan");
    let shape_zyx = scan.geometry().shape_zyx;
    for plane in Plane::ALL {
        let [across, ..] = plane.axes();
        let (index, count) = ([5, 5, 7][across], shape_zyx[2 - across]);
        let mut block = VoxelBox::whole(shape_zyx);
        (block.start_zyx[2 - across], block.end_zyx[2 - across]) = (index, index + 1);
        let marker = Marker { center_mm_xyz: [-50.0, -30.0, 14.0], diameter_mm: 8.0, number: 3 };
        let style = SliceStyle { markers: vec![marker], ..SliceStyle::default() };
        let slice = scan.read(&block).expect("a slice");
        let part = render_part(&slice, plane, SliceNumber { index, count }, None, &style).expect("a picture");
        assert!(part == render_slice(&volume, plane, index, &style).expect("a picture"), "{plane:?}");
        let finer = render_part(&slice, plane, SliceNumber { index, count }, Some(0.25), &style).expect("a picture");
        assert_eq!([finer.width, finer.height], [part.width * 4, part.height * 4]);
    }
}

#[test]
fn annotations_do_not_use_the_colour_of_findings() {
    let image = render_slice(&head([4, 300, 300]), Plane::Axial, 3, &SliceStyle::default()).expect("a picture");
    let letters: Vec<_> = image.pixels.chunks_exact(3).filter(|pixel| pixel[0] != pixel[1] || pixel[0] < 200).collect();
    assert!(letters.len() > 200, "letters are there");
    assert!(!letters.contains(&AMBER.as_slice()));
    // 100 mm of 1 mm pixels: the bar is the longest run in the colour of the labels at the bottom left.
    let label = |x: usize, y: usize| image.pixel(x, y) == [0xe6, 0xea, 0xee];
    let runs = (image.height - 8..image.height).map(|y| (0..120).filter(|&x| label(x, y)).count());
    assert_eq!(runs.max(), Some(100));
}

#[test]
fn png_decodes_to_the_same_pixels() {
    let image = render_slice(&head([4, 30, 50]), Plane::Axial, 0, &SliceStyle::default()).expect("a picture");
    let png = image.to_png();
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("a frame");
    assert_eq!(([info.width as usize, info.height as usize], pixels), ([image.width, image.height], image.pixels));
}

#[test]
fn what_cannot_be_drawn_is_said() {
    let volume = head([4, 5, 6]);
    let error = render_slice(&volume, Plane::Axial, 4, &plain()).expect_err("no such slice");
    assert_eq!(error.to_string(), "slice 4 does not exist: the volume has 4 Axial slices, counted from 0");
    let (s, c) = 0.5f64.sin_cos();
    let direction = [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]];
    let oblique = Volume::filled(Geometry { direction, ..volume.geometry().clone() }, 0i16);
    assert_eq!(render_slice(&oblique, Plane::Axial, 0, &plain()), Err(RenderError::Oblique));
    let stretched = Geometry { spacing_mm_xyz: [0.01, 20.0, 20.0], ..Geometry::clone(volume.geometry()) };
    let error = render_slice(&Volume::filled(stretched, 0), Plane::Axial, 0, &plain());
    assert!(matches!(error, Err(RenderError::TooLarge { .. })));
    // Smaller than its letters: drawn without a panic.
    render_slice(&head([1, 1, 1]), Plane::Axial, 0, &SliceStyle::default()).expect("a picture");
}
