//! `fednodule export`

use workflow::catalog::Message;
use workflow::export::export;

use crate::args;
use crate::console::{Console, Exit};

pub(crate) fn run(args: &args::Export, console: &Console) -> anyhow::Result<Exit> {
    let exported = export(&args.model, &args.to)?;
    console.note(Message::ExportLosesProvenance);
    console.result(&exported, || {
        console.text(Message::ModelWritten { path: &exported.path.display(), sha256: &exported.sha256 })
    })?;
    Ok(Exit::Success)
}
