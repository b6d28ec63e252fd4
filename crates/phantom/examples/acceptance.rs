//! Measures how hard the phantoms are: `acceptance <scans> <small|full> <seed>`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for the terminal")]

use phantom::Size;
use phantom::acceptance::acceptance;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, scans, size, seed] = &arguments[..] else {
        return Err("usage: acceptance <scans> <small|full> <seed>".into());
    };
    let size = if size == "full" { Size::Full } else { Size::Small };
    let result = acceptance(scans.parse()?, size, seed.parse()?, &mut |done, total| eprintln!("{done}/{total}"))?;
    println!("{result:?} accepted: {}", result.accepted());
    Ok(())
}
