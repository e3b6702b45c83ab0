//! A sync of all that a file system has not written yet, and whether it would be of ours.

use std::fs;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::control::Control;
use crate::error::{Error, Result};
use crate::repo::file_system::FileSystem;

/// How often the end of a sync is looked for.
const TICK: Duration = Duration::from_millis(5);

/// What a system always has to write, and what a deletion adds to it at most: blocks of a directory, of inodes, of maps.
const USUAL_KIB: u64 = 256;
const DELETION_KIB: u64 = 16;

/// Writes all that is to be written to a file system; returns how long that took. It can't be interrupted; who cancels
/// is not kept waiting for it. The outer error is the cancellation.
pub(crate) fn sync_file_system(
    directory: impl AsFd,
    control: &Control,
) -> Result<std::result::Result<Duration, Errno>> {
    control.may_wait();
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

/// Whether a sync would write next to nothing but what so many deletions left, which the journal has settled. What
/// others changed the kernel gathers until it lies side by side on the disk; sooner, it takes many times as long.
pub(crate) fn would_write_little_else(deletions: usize, directory: impl AsFd) -> bool {
    // On XFS it settles the log once more, and that's all.
    if FileSystem::of(directory) == FileSystem::Xfs {
        return false;
    }
    let ours = DELETION_KIB.saturating_mul(u64::try_from(deletions).unwrap_or(u64::MAX));
    dirty_kib().is_some_and(|dirty| dirty <= USUAL_KIB.saturating_add(ours))
}

/// What is to be written to its place on any disk, as far as the kernel knows.
fn dirty_kib() -> Option<u64> {
    parse_dirty(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_dirty(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Dirty:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dirty_is_read() {
        let text = "MemTotal:       24576000 kB\nDirty:               392 kB\nWriteback:             0 kB\n";
        assert_eq!(parse_dirty(text), Some(392));
        assert_eq!(parse_dirty("Dirty: many kB\n"), None);
        assert_eq!(parse_dirty("Writeback: 1 kB\n"), None);
    }
}
