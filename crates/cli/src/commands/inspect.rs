//! `fednodule inspect`

use imaging::describe;
use workflow::catalog::Message;

use crate::args;
use crate::console::{Console, Exit};

pub(crate) fn run(args: &args::Inspect, console: &Console) -> anyhow::Result<Exit> {
    let description = describe(&args.scan)?;
    for problem in &description.problems {
        console.warn(problem);
    }
    console.result(&description, || {
        let [nz, ny, nx] = description.shape_zyx;
        let joined = |values: &[f64], by: &str| values.iter().map(f64::to_string).collect::<Vec<_>>().join(by);
        let direction = description.direction.map(|row| joined(&row, " ")).join(" ; ");
        [
            (Message::Series, description.seriesuid.clone()),
            (Message::Shape, format!("{nx} × {ny} × {nz}")),
            (Message::Spacing, joined(&description.spacing_mm_xyz, " × ")),
            (Message::Origin, joined(&description.origin_mm_xyz, ", ")),
            (Message::Direction, direction),
            (Message::ElementType, description.element_type.clone()),
            (Message::HuRange, format!("{} … {}", description.hu_min, description.hu_max)),
            (Message::VoxelsSha256, description.voxels_sha256.clone()),
        ]
        .map(|(name, value)| console.field(name, &value))
        .join("\n")
    })?;
    Ok(Exit::Success)
}
