//! SIGINT, SIGTERM and SIGHUP become a flag that loops look at; a second signal kills at once. Those that were ignored
//! when the program was started stay so, as `nohup` and shells want it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// The number of the signal that came, 0 before.
static CAME: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// A signal asked the program to stop.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("stopped by {}", low_level::signal_name(*.0).unwrap_or("a signal"))]
pub struct Stopped(i32);

impl Stopped {
    /// What a shell shows for a program that died by this signal.
    pub fn status(&self) -> u8 {
        128u8.wrapping_add(self.0 as u8)
    }

    /// Die by the same signal, so that the shell's loop stops too. Returns only if that cannot be done.
    pub fn die(&self) {
        let _ = low_level::emulate_default_handler(self.0);
    }
}

/// Catch the signals from here on.
pub fn install() -> io::Result<()> {
    let came = CAME.get_or_init(Arc::default);
    let twice = Arc::new(AtomicBool::new(false));
    let ignored = ignored();
    let caught = [SIGINT, SIGTERM, SIGHUP].into_iter();
    for signal in caught.filter(|signal| ignored >> (signal - 1) & 1 == 0) {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&twice))?;
        flag::register(signal, Arc::clone(&twice))?;
        flag::register_usize(signal, Arc::clone(came), signal as usize)?;
    }
    Ok(())
}

/// The signals that are ignored, a bit for each from the lowest one on, as far as the system says.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// An error once a signal has come.
pub fn check() -> Result<(), Stopped> {
    match CAME.get().map_or(0, |came| came.load(Ordering::Relaxed)) {
        0 => Ok(()),
        signal => Err(Stopped(signal as i32)),
    }
}

/// Sleep, unless a signal comes.
pub fn sleep(mut time: Duration) -> Result<(), Stopped> {
    const SLICE: Duration = Duration::from_millis(100);
    while !time.is_zero() {
        check()?;
        std::thread::sleep(time.min(SLICE));
        time = time.saturating_sub(SLICE);
    }
    check()
}
