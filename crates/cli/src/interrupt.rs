//! Ctrl-C and SIGTERM: the first asks the work to stop at its next step, the second ends the program. A supervisor's word
//! on standard input does, too.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use transport::Stop;
use workflow::catalog::Message;

use crate::console::{Console, Exit};
use crate::supervised;

static STOP: LazyLock<Stop> = LazyLock::new(Stop::default);

/// From now on signals ask for a clean stop, which the returned value tells.
pub(crate) fn listen(console: &Console) -> anyhow::Result<&'static Stop> {
    call(console, || STOP.suspend())?;
    if console.supervised {
        supervised::obey(&STOP);
    }
    Ok(&STOP)
}

/// From now on the first signal calls `stop`.
pub(crate) fn call(console: &Console, stop: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    let console = *console;
    let asked = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(Exit::Interrupted as i32);
        }
        stop();
        console.note(Message::SecondInterrupt);
    })?;
    Ok(())
}
