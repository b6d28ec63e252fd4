//! Ctrl-C and SIGTERM: the first asks the work to stop at its next step, the second ends the program.

use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use transport::Stop;
use workflow::catalog::Message;

use crate::console::{Console, Exit};

static STOP: LazyLock<Stop> = LazyLock::new(Stop::default);

/// From now on signals ask for a clean stop, which the returned value tells.
pub(crate) fn listen(console: &Console) -> anyhow::Result<&'static Stop> {
    call(console, || STOP.suspend())?;
    Ok(&STOP)
}

/// From now on the first signal calls `stop`.
pub(crate) fn call(console: &Console, stop: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    let again = console.text(Message::SecondInterrupt);
    let asked = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(Exit::Interrupted as i32);
        }
        stop();
        writeln!(std::io::stderr().lock(), "{again}").ok();
    })?;
    Ok(())
}
