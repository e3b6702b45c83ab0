//! Syncs of our own: of what the journal has gathered, and of all that a file system has not written yet.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::fs::{fsync, syncfs};
use rustix::io::Errno;

use crate::control::Control;
use crate::error::{Error, Result};

/// How often the end of a sync is looked for.
const TICK: Duration = Duration::from_millis(5);

/// What a system always has to write, and what a deletion adds to it at most: blocks of a directory, of inodes, of maps.
const USUAL_KIB: u64 = 256;
const DELETION_KIB: u64 = 16;

/// A sync of our own.
pub(crate) struct Sync {
    pub took: Duration,
    /// Whether all was written to its place, or only the journal settled.
    pub wrote_back: bool,
}

/// Writes all that is to be written to a file system. It can't be interrupted; who cancels is not kept waiting for it.
/// The outer error is the cancellation.
pub(crate) fn sync_file_system(
    directory: impl AsFd,
    control: &Control,
) -> Result<std::result::Result<Sync, Errno>> {
    in_background(directory, control, |directory| {
        syncfs(directory)?;
        Ok(true)
    })
}

/// The same for some deletions only: settles the journal, and has what it held written to its place if that is all
/// there is to be written. What others changed the kernel gathers until it lies side by side on the disk; sooner, it
/// takes many times as long.
pub(crate) fn sync_deletions(
    deletions: usize,
    directory: impl AsFd,
    control: &Control,
) -> Result<std::result::Result<Sync, Errno>> {
    let most = USUAL_KIB + DELETION_KIB * u64::try_from(deletions).unwrap_or(u64::MAX / DELETION_KIB / 2);
    in_background(directory, control, move |directory| {
        fsync(directory)?;
        let writes_back = dirty_kib().is_some_and(|dirty| dirty <= most);
        if writes_back {
            syncfs(directory)?;
        }
        Ok(writes_back)
    })
}

/// The closure returns whether all was written back.
fn in_background(
    directory: impl AsFd,
    control: &Control,
    work: impl Fn(&OwnedFd) -> std::result::Result<bool, Errno> + Copy + Send + 'static,
) -> Result<std::result::Result<Sync, Errno>> {
    let directory = match rustix::io::dup(directory) {
        Ok(directory) => Arc::new(directory),
        Err(error) => return Ok(Err(error)),
    };
    let sync = move |directory: &OwnedFd| {
        let start = Instant::now();
        work(directory).map(|wrote_back| Sync { took: start.elapsed(), wrote_back })
    };
    // A thread inherits the priorities of the one that starts it.
    let shared = Arc::clone(&directory);
    let Ok(thread) = Builder::new().spawn(move || sync(&shared)) else {
        // Where the system allows no more threads, it's to be waited for.
        return Ok(sync(&directory));
    };
    while !thread.is_finished() {
        control.sleep(TICK)?;
    }
    thread.join().map_err(|_| Error::Internal("the thread that syncs panicked".into()))
}

/// What is to be written to its place on any disk, as far as the kernel tells.
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
