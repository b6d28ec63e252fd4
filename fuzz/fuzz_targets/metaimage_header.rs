//! Header text from anybody: no panic, and what strangers may send is also readable from the own disk.
#![no_main]

use imaging::metaimage::{Header, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let local = Header::parse(text, &Limits::local());
    match Header::parse(text, &Limits::strangers()) {
        Ok(header) => {
            assert!(header.voxel_bytes() <= 8 << 29);
            assert_eq!(header, local.expect("strict rules are a subset"));
        }
        Err(problem) => assert!(problem.to_string().len() < 1000),
    }
});
