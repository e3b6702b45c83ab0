//! A sync of all that a file system has not written yet.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::control::Control;
use crate::error::{Error, Result};

/// How often the end of a sync is looked for.
const TICK: Duration = Duration::from_millis(5);

/// Writes all that is to be written to a file system; returns how long that took. It can't be interrupted; who cancels
/// is not kept waiting for it. The outer error is the cancellation.
pub(crate) fn sync_file_system(
    directory: impl AsFd,
    control: &Control,
) -> Result<std::result::Result<Duration, Errno>> {
    let directory = match rustix::io::dup(directory) {
        Ok(directory) => Arc::new(directory),
        Err(error) => return Ok(Err(error)),
    };
    // A thread inherits the priorities of the one that starts it.
    let shared = Arc::clone(&directory);
    let Ok(sync) = Builder::new().spawn(move || timed_sync(&shared)) else {
        // Where the system allows no more threads, it's to be waited for.
        return Ok(timed_sync(&directory));
    };
    while !sync.is_finished() {
        control.sleep(TICK)?;
    }
    sync.join().map_err(|_| Error::Internal("the thread that syncs panicked".into()))
}

fn timed_sync(directory: impl AsFd) -> std::result::Result<Duration, Errno> {
    let start = Instant::now();
    rustix::fs::syncfs(directory)?;
    Ok(start.elapsed())
}
