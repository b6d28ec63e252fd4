//! Writes a data set: `dataset <folder> <sites> <scans> <small|full> <seed>`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for the terminal")]

use phantom::{DatasetSpec, Size, write_dataset};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, out, sites, scans, size, seed] = &arguments[..] else {
        return Err("usage: dataset <folder> <sites> <scans> <small|full> <seed>".into());
    };
    let size = if size == "full" { Size::Full } else { Size::Small };
    let spec = DatasetSpec::new(sites.parse()?, scans.parse()?, size, seed.parse()?);
    let summary = write_dataset(Path::new(out), &spec, &mut |p| eprintln!("{}/{} {}", p.done, p.total, p.site))?;
    println!("{summary:?}");
    Ok(())
}
