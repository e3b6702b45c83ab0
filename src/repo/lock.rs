//! The repository's lock, interoperable with libostree's.
//!
//! Mirrors `push_repo_lock` in `ostree-repo.c`: an open-file-description lock on the whole of `.lock`, shared for
//! readers and writers, exclusive for deletion; `flock` only where the kernel knows no such lock. Differs in one
//! way: it never blocks in the kernel, so that a wait can always be cancelled.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg};
use rustix::fs::{flock, FlockOperation, OFlags};

use super::config::LockTimeout;
use super::directory::{open_existing, open_or_create, LOCK};
use crate::control::{Control, Wait};
use crate::error::{Error, Result};
use crate::fault::{self, Step};
use crate::holds::{Hold, Lockable};

/// The shortest and longest sleep between two tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// With others who hold it shared.
    Shared,
    /// Alone.
    Exclusive,
}

/// What another process does with a lock right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockState {
    /// Nobody holds it.
    Free,
    /// Held shared.
    Shared,
    /// Held exclusively.
    Exclusive,
    /// Not to be told: another user's lock file, which we may not open.
    Unknown,
}

/// An opened lock file, or nothing where the repository is not to be locked.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: Option<OwnedFd>,
    timeout: LockTimeout,
}

impl Lock {
    /// Opens `.lock` in `repo`, creating it as libostree does.
    pub fn open(repo: impl AsFd, path: &Path, timeout: LockTimeout) -> Result<Self> {
        let path = path.join(".lock");
        let file = open_or_create(repo, ".lock", LOCK).map_err(|error| Error::io(&path, error))?;
        Ok(Self { path, file: Some(file), timeout })
    }

    /// Opens `.lock` for a dry run: nothing is created, and what can't be opened is not locked. Where there is no
    /// lock file nobody has locked yet.
    pub fn open_read_only(repo: impl AsFd, path: &Path, timeout: LockTimeout) -> Self {
        let file = open_existing(repo, ".lock", OFlags::RDONLY).ok().flatten();
        Self { path: path.join(".lock"), file, timeout }
    }

    /// A lock that is never taken: `core.locking=false`. The timeout is for the sysroot's lock beside it.
    pub fn disabled(path: &Path, timeout: LockTimeout) -> Self {
        Self { path: path.join(".lock"), file: None, timeout }
    }

    /// Waits for the lock, until the timeout or cancellation.
    pub fn acquire<'a>(&'a self, kind: LockKind, control: &'a Control) -> Result<Held<'a>> {
        poll(self.timeout, control, || self.try_acquire(kind, control))
    }

    /// Takes the lock if it can be had at once.
    pub(crate) fn try_acquire<'a>(
        &'a self,
        kind: LockKind,
        control: &'a Control,
    ) -> Result<Attempt<Held<'a>>> {
        let Some(file) = &self.file else { return Ok(Attempt::Acquired(Held { held: None })) };
        fault::before(Step::Lock);
        if !try_lock(file.as_fd(), kind).map_err(|error| Error::io(&self.path, error))? {
            return Ok(Attempt::Busy(self.path.clone()));
        }
        let lockable = match kind {
            LockKind::Shared => Lockable::RepoShared,
            LockKind::Exclusive => Lockable::RepoExclusive,
        };
        Ok(Attempt::Acquired(Held { held: Some((file, control.hold(lockable))) }))
    }

    /// The lock file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How long to wait for it.
    pub(crate) fn timeout(&self) -> LockTimeout {
        self.timeout
    }

    /// Whether holding this lock exclusively keeps writers away: not with `core.locking=false`.
    pub(crate) fn excludes_writers(&self) -> bool {
        self.file.is_some()
    }
}

/// One try for a lock.
pub(crate) enum Attempt<T> {
    Acquired(T),
    /// Somebody else holds the lock on this file.
    Busy(PathBuf),
}

/// Repeats `attempt` until it succeeds, the time is over or the run is cancelled.
pub(crate) fn poll<T>(
    timeout: LockTimeout,
    control: &Control,
    mut attempt: impl FnMut() -> Result<Attempt<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = BACKOFF.0;
    loop {
        control.check()?;
        // We have no lock now.
        control.rest_while_paused()?;
        let path = match attempt()? {
            Attempt::Acquired(lock) => return Ok(lock),
            Attempt::Busy(path) => path,
        };
        let waited = start.elapsed();
        let left = match timeout {
            LockTimeout::Never => Duration::MAX,
            LockTimeout::After(limit) => limit.saturating_sub(waited),
        };
        if left.is_zero() {
            return Err(Error::LockTimeout { path, waited_s: waited.as_secs_f64() });
        }
        control.wait(Wait::Lock(path), pause.min(left))?;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// The lock while it is held; dropping it releases.
#[derive(Debug)]
pub struct Held<'a> {
    /// None: a lock that is never taken.
    held: Option<(&'a OwnedFd, Hold<'a>)>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some((file, _)) = &self.held else { return };
        fault::before(Step::Unlock);
        // Nothing can be done about a failure here, and closing the file releases as well.
        if set_lock(file.as_fd(), libc::F_UNLCK).is_err() {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

fn try_lock(file: BorrowedFd, kind: LockKind) -> std::io::Result<bool> {
    let (lock_type, operation) = match kind {
        LockKind::Shared => (libc::F_RDLCK, FlockOperation::NonBlockingLockShared),
        LockKind::Exclusive => (libc::F_WRLCK, FlockOperation::NonBlockingLockExclusive),
    };
    let result = match set_lock(file, lock_type) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            flock(file, operation).map_err(Into::into)
        }
        other => other,
    };
    match result {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the exclusive lock on a file of libostree's own, if nobody else has it. Closing the file releases it.
pub(crate) fn try_exclusive(file: BorrowedFd) -> std::io::Result<bool> {
    try_lock(file, LockKind::Exclusive)
}

fn set_lock(file: BorrowedFd, lock_type: i32) -> std::io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(lock_type)?))?;
    Ok(())
}

/// Who holds the lock on `file`, as `F_OFD_GETLK` reports it.
pub(crate) fn state(file: BorrowedFd) -> std::io::Result<LockState> {
    let mut lock = whole_file(libc::F_WRLCK)?;
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(match i32::from(lock.l_type) {
        libc::F_UNLCK => LockState::Free,
        libc::F_RDLCK => LockState::Shared,
        _ => LockState::Exclusive,
    })
}

fn whole_file(lock_type: i32) -> std::io::Result<libc::flock> {
    let narrow = |value: i32| i16::try_from(value).map_err(|_| std::io::Error::from(Errno::EINVAL));
    Ok(libc::flock {
        l_type: narrow(lock_type)?,
        l_whence: narrow(libc::SEEK_SET)?,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::Mode;

    fn open(dir: &tempfile::TempDir, timeout: LockTimeout) -> Lock {
        let fd = rustix::fs::open(dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        Lock::open(fd, dir.path(), timeout).unwrap()
    }

    #[test]
    fn shared_excludes_exclusive_and_waiting_ends() {
        let dir = tempfile::tempdir().unwrap();
        // Two runs.
        let (control, other) = (Control::new(), Control::new());
        let (a, b) =
            (open(&dir, LockTimeout::Never), open(&dir, LockTimeout::After(Duration::from_millis(30))));
        let shared = a.acquire(LockKind::Shared, &other).unwrap();
        drop(b.acquire(LockKind::Shared, &control).unwrap());
        let busy = b.acquire(LockKind::Exclusive, &control);
        assert!(matches!(busy, Err(Error::LockTimeout { .. })), "{busy:?}");
        assert_eq!(state(b.file.as_ref().unwrap().as_fd()).unwrap(), LockState::Shared);
        drop(shared);
        drop(b.acquire(LockKind::Exclusive, &control).unwrap());
        let times = control.lock_times();
        assert!(times.exclusive.total > Duration::ZERO && times.shared.total > Duration::ZERO);
        assert_eq!(other.lock_times().exclusive.total, Duration::ZERO);
    }

    #[test]
    fn a_wait_can_be_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let (control, other) = (Control::new(), Control::new());
        let (a, b) = (open(&dir, LockTimeout::Never), open(&dir, LockTimeout::Never));
        let _held = a.acquire(LockKind::Exclusive, &other).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(30));
                control.cancel();
            });
            assert!(matches!(b.acquire(LockKind::Shared, &control), Err(Error::Cancelled(_))));
        });
    }
}
