//! `fednodule secagg-check`

use anyhow::Context;
use federation::secagg::vectors::check;
use serde_json::json;
use workflow::catalog::Message;
use workflow::failure::{Failure, FailureKind};

use crate::args;
use crate::console::{Console, Exit};

pub(crate) fn run(args: &args::SecaggCheck, console: &Console) -> anyhow::Result<Exit> {
    let refused = |error: &(dyn std::error::Error + 'static)| {
        Ok(console.failed_as(error, Failure { kind: FailureKind::Input, advice: Message::AdviceVectors }))
    };
    let read = std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {}", args.file.display()));
    let text = match read {
        Ok(text) => text,
        Err(error) => return refused(error.as_ref()),
    };
    match check(&text, args.seed.as_deref()) {
        Ok(checked) => {
            let document = json!({
                "sites": checked.sites, "threshold": checked.threshold, "dropped": checked.dropped,
                "values": checked.values,
            });
            console.result(&document, || {
                let (sites, dropped, values) = (&checked.sites, &checked.dropped, &checked.values);
                console.text(Message::VectorsMet { sites, threshold: &checked.threshold, dropped, values })
            })?;
            Ok(Exit::Success)
        }
        Err(error) => refused(&error),
    }
}
