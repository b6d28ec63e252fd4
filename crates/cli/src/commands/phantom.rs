//! `fednodule phantom`

use phantom::{DatasetSpec, write_dataset};
use workflow::catalog::Message;

use crate::args;
use crate::console::{Console, Exit};

pub(crate) fn run(args: &args::Phantom, console: &Console) -> anyhow::Result<Exit> {
    let spec = DatasetSpec::new(args.sites as usize, args.scans as usize, args.size, args.seed);
    let bar = console.bar();
    let summary = write_dataset(&args.out, &spec, &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(progress.site);
    });
    bar.finish_and_clear();
    let summary = summary?;
    console.result(&summary, || {
        let written = console.text(Message::PhantomsWritten {
            scans: &summary.generated,
            kept: &summary.kept,
            nodules: &summary.nodules,
            excluded: &summary.excluded,
        });
        let folders = summary.sites.iter().map(|site| console.text(Message::WrittenTo { path: &site.display() }));
        std::iter::once(written).chain(folders).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Success)
}
