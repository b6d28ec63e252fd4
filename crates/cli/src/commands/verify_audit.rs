//! `fednodule verify-audit`

use platform::Fault;
use workflow::catalog::Message;

use super::serve::storage;
use crate::args;
use crate::console::{Console, Exit};

pub(crate) fn run(args: &args::VerifyAudit, console: &Console) -> anyhow::Result<Exit> {
    let report = match platform::verify_audit(&args.data) {
        Ok(report) => report,
        Err(error) => return Ok(console.failed_as(&error, storage(&error))),
    };
    let entries = &report.entries;
    console.result(&report, || match &report.broken {
        None => console.text(Message::AuditSound { entries, head: &report.head }),
        Some(broken) => {
            let fault = console.text(match broken.fault {
                Fault::Gap => Message::AuditGap,
                Fault::Unlinked => Message::AuditUnlinked,
                Fault::Changed => Message::AuditChanged,
                Fault::CutOff => Message::AuditCutOff,
            });
            console.text(Message::AuditBroken { entry: &broken.entry, entries, fault: &fault })
        }
    })?;
    Ok(if report.broken.is_some() { Exit::Input } else { Exit::Success })
}
