//! A whole file from anybody, header and voxels: no panic, and no memory beyond what the bytes can hold
//! (libFuzzer's `-malloc_limit_mb` is the check).
#![no_main]

use std::io::Cursor;
use std::path::Path;

use imaging::metaimage::{DataFile, Header, Limits, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for limits in [Limits::local(), Limits::strangers()] {
        let Ok(header) = Header::parse(bytes, &limits) else { continue };
        let data = match header.data_file {
            DataFile::Local => bytes,
            DataFile::Named(_) => &bytes[header.text_bytes..],
        };
        let open = || Reader::new(header.clone(), Cursor::new(data), Path::new("fuzz.mha"));
        let Ok(reader) = open() else { continue };
        let hu = reader.read_hu();
        let f32 = open().and_then(Reader::read_f32);
        if let (Ok((hu, saturated)), Ok(f32)) = (hu, f32) {
            assert_eq!(hu.voxels().len(), header.geometry.voxel_count());
            for (&hu, &f32) in hu.voxels().iter().zip(f32.voxels()) {
                assert!((f32::from(hu) - f32).abs() <= 1.0 || saturated > 0);
            }
        }
    }
});
