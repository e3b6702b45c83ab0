//! Noticing that others want the lock.
//!
//! libostree waits for a repository's lock in one of two ways. With a timeout of -1 it sleeps in the kernel and gets
//! the lock as soon as it is free for a moment. Otherwise it tries once a second, and a lock that is free for a
//! tenth of the time would let it wait for long. Both open `.lock` first, which can be watched: a process that opened it and
//! has not closed it yet may be waiting, and is given time for its next try.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::control::{Control, Wait};
use crate::error::Result;

/// A bit more than the second between two tries.
const PATIENCE: Duration = Duration::from_millis(1100);

/// The longest that newcomers, one after the other, may keep us waiting.
const LIMIT: Duration = Duration::from_secs(3);

/// How often the watch is read while giving way.
const TICK: Duration = Duration::from_millis(10);

/// A watch on a lock file.
pub(crate) struct Waiters {
    /// None where the kernel allows no watch: then nobody is noticed.
    watch: Option<OwnedFd>,
    /// How many have opened the file since, and not closed it.
    open: usize,
    newest: Instant,
}

impl Waiters {
    /// Watches `lock_file`. Our own descriptor has to be open by now, or it counts.
    pub fn watch(lock_file: &Path) -> Self {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok().filter(|watch| {
            let events = WatchFlags::OPEN | WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
            inotify::add_watch(watch, lock_file, events).is_ok()
        });
        Self { watch, open: 0, newest: Instant::now() }
    }

    /// Waits, with the lock released, as long as somebody who came since may be about to try for it.
    pub fn give_way(&mut self, control: &Control) -> Result<()> {
        let begin = Instant::now();
        self.read_events();
        while self.open > 0 && self.newest.elapsed() < PATIENCE && begin.elapsed() < LIMIT {
            control.wait(Wait::Others, TICK)?;
            self.read_events();
        }
        if self.newest.elapsed() >= PATIENCE {
            // Whoever is still there has had his try. The kernel tells of two files closed at once as of one, and who is
            // not seen to leave must not be waited for again.
            self.open = 0;
        }
        Ok(())
    }

    fn read_events(&mut self) {
        let Some(watch) = &self.watch else { return };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(watch, &mut buffer);
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::OPEN) => {
                    self.open += 1;
                    self.newest = Instant::now();
                }
                Ok(event) if event.events().intersects(ReadFlags::CLOSE_WRITE | ReadFlags::CLOSE_NOWRITE) => {
                    self.open = self.open.saturating_sub(1);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_is_waited_for_until_he_is_gone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let control = Control::new();
        let mut waiters = Waiters::watch(file.path());
        assert_eq!((waiters.open, waiters.give_way(&control).is_ok()), (0, true));
        let newcomer = std::fs::File::open(file.path()).unwrap();
        waiters.read_events();
        assert_eq!(waiters.open, 1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let start = Instant::now();
                while control.snapshot().waiting != Some(Wait::Others) && start.elapsed() < PATIENCE {
                    std::thread::yield_now();
                }
                drop(newcomer);
            });
            waiters.give_way(&control).unwrap();
        });
        assert_eq!(waiters.open, 0);
    }

    #[test]
    fn who_had_his_try_is_not_waited_for_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut waiters = Waiters::watch(file.path());
        let _stays = file.reopen().unwrap();
        waiters.give_way(&Control::new()).unwrap();
        assert_eq!(waiters.open, 0);
        let comes_and_goes = file.reopen().unwrap();
        waiters.read_events();
        assert_eq!(waiters.open, 1);
        drop(comes_and_goes);
        waiters.read_events();
        assert_eq!(waiters.open, 0);
    }
}
