//! Ctrl-C and SIGTERM: the first asks the work to stop at its next step, the second ends the program.

use std::io::Write;
use std::sync::LazyLock;

use transport::Stop;
use workflow::catalog::Message;

use crate::console::{Console, Exit};

static STOP: LazyLock<Stop> = LazyLock::new(Stop::default);

/// From now on signals ask for a clean stop, which the returned value tells.
pub(crate) fn listen(console: &Console) -> anyhow::Result<&'static Stop> {
    let again = console.text(Message::SecondInterrupt);
    ctrlc::set_handler(move || {
        if STOP.requested() {
            std::process::exit(Exit::Interrupted as i32);
        }
        STOP.suspend();
        writeln!(std::io::stderr().lock(), "{again}").ok();
    })?;
    Ok(&STOP)
}
