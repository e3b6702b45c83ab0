//! The caller's hold on a running operation: cancel it, watch its progress.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::holds::{Hold, Holds, LockTimes, Lockable};

/// How often a wait looks at the cancel flag.
const TICK: Duration = Duration::from_millis(20);

/// What a run is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Listing refs and commits; what each run begins with.
    Roots,
    /// Removing old deployments and boot files.
    Deployments,
    /// Following commits to all that they reach.
    Crawl,
    /// Deciding on, and deleting, what nothing reaches.
    Sweep,
    /// All is done.
    Done,
    /// Waiting for a lock.
    Lock,
    /// Waiting to be resumed.
    Paused,
}

impl Phase {
    const ALL: [Phase; 7] = [
        Phase::Roots,
        Phase::Deployments,
        Phase::Crawl,
        Phase::Sweep,
        Phase::Done,
        Phase::Lock,
        Phase::Paused,
    ];

    /// The name used in progress reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Lock => "lock",
            Phase::Paused => "paused",
            Phase::Deployments => "deployments",
            Phase::Roots => "roots",
            Phase::Crawl => "crawl",
            Phase::Sweep => "sweep",
            Phase::Done => "done",
        }
    }
}

/// What a run waits for, doing nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The lock on this file, which another process holds.
    Lock(PathBuf),
    /// Others are about to take the lock, and go first.
    Others,
    /// Other programs use the disk.
    Disk,
    /// So many files were deleted that the rate allows no more for now.
    Rate,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::Lock(path) => path.display().fmt(f),
            Wait::Others => f.write_str("other programs that want the lock"),
            Wait::Disk => f.write_str("other programs that use the disk"),
            Wait::Rate => f.write_str("the rate limit"),
        }
    }
}

/// One look at a run's progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What the run is busy with.
    pub phase: Phase,
    /// Steps done in this phase: dirtrees read, or object directories swept. In one phase it only rises.
    pub done: u64,
    /// Steps in this phase, where that is known.
    pub total: Option<u64>,
    /// Bytes freed so far.
    pub bytes_freed: u64,
    /// What it waits for right now, if it does nothing.
    pub waiting: Option<Wait>,
}

/// Cancel flag and progress counters, shared between one run and its caller.
///
/// All loads and stores are relaxed: flags and counters are looked at again and again, and no other memory is ordered
/// by them.
#[derive(Debug, Default)]
pub struct Control {
    cancelled: AtomicBool,
    paused: AtomicBool,
    /// The callback for items cannot keep up.
    too_fast: AtomicBool,
    /// Threads that wait to be resumed.
    resting: AtomicUsize,
    waiting: Mutex<Option<Wait>>,
    /// Held while a phase and its counters change together.
    entering: Mutex<()>,
    phase: AtomicU8,
    done: AtomicU64,
    /// Zero stands for "not known".
    total: AtomicU64,
    bytes_freed: AtomicU64,
    disk_bytes_freed: AtomicU64,
    deadline: OnceLock<Instant>,
    holds: Holds,
}

impl Control {
    /// A control with nothing cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the run to stop; it does so within a fraction of a second.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether [`Control::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Pauses the run, or resumes it. A paused run holds no lock.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Pauses the run as [`Control::pause`] does, but as part of its work: the callback for items cannot keep up.
    pub fn hold_back(&self, too_fast: bool) {
        self.too_fast.store(too_fast, Ordering::Relaxed);
    }

    /// Whether the run was asked to rest.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed) || self.too_fast.load(Ordering::Relaxed)
    }

    /// Has the run stop after `time`, as if it was cancelled, but with success. Can be called once.
    pub fn limit_time(&self, time: Duration) {
        // None: so far away that it is no limit.
        if let Some(deadline) = Instant::now().checked_add(time) {
            let _ = self.deadline.set(deadline);
        }
    }

    /// For how long the run held locks so far.
    pub fn lock_times(&self) -> LockTimes {
        self.holds.times()
    }

    /// Bytes on disk that the run gave back so far: of files whose last name it deleted, and of directories.
    pub fn disk_bytes_freed(&self) -> u64 {
        self.disk_bytes_freed.load(Ordering::Relaxed)
    }

    /// Progress as of now.
    pub fn snapshot(&self) -> Snapshot {
        let waiting = lock(&self.waiting).clone();
        let is_resting = self.resting.load(Ordering::Relaxed) > 0;
        let interrupted = match &waiting {
            _ if is_resting && self.paused.load(Ordering::Relaxed) => Some(Phase::Paused),
            Some(Wait::Lock(_)) => Some(Phase::Lock),
            _ => None,
        };
        let bytes_freed = self.bytes_freed();
        if let Some(phase) = interrupted {
            return Snapshot { phase, done: 0, total: None, bytes_freed, waiting };
        }
        let entering = lock(&self.entering);
        let (phase, total) = (self.phase(), self.total.load(Ordering::Relaxed));
        let done = self.done.load(Ordering::Relaxed);
        drop(entering);
        Snapshot { phase, done, total: (total > 0).then_some(total), bytes_freed, waiting }
    }

    /// The phase, whether it waits or not.
    pub(crate) fn phase(&self) -> Phase {
        let phase = usize::from(self.phase.load(Ordering::Relaxed));
        Phase::ALL.get(phase).copied().unwrap_or(Phase::Done)
    }

    /// Bytes freed so far.
    pub(crate) fn bytes_freed(&self) -> u64 {
        self.bytes_freed.load(Ordering::Relaxed)
    }

    /// Fails once the run was cancelled or its time is over. Called between any two steps that could take long.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::Cancelled(None))
        } else if self.deadline.get().is_some_and(|deadline| Instant::now() >= *deadline) {
            Err(Error::OutOfTime)
        } else {
            Ok(())
        }
    }

    /// The same for work that holds no lock, which also waits here as long as the run is asked to rest.
    pub(crate) fn check_or_rest(&self) -> Result<()> {
        self.rest_while_paused()?;
        self.check()
    }

    /// Notes that a lock was taken; dropping the result notes its release.
    pub(crate) fn hold(&self, lock: Lockable) -> Hold<'_> {
        self.holds.hold(lock)
    }

    /// Whether the run holds a lock.
    pub(crate) fn has_lock(&self) -> bool {
        self.holds.is_any()
    }

    /// To be called before anything that waits, for time, a disk or a lock: with a lock held nothing may, and where
    /// tests are run this panics.
    pub(crate) fn may_wait(&self) {
        self.holds.refuse();
    }

    /// Waits as long as the run is asked to rest.
    pub(crate) fn rest_while_paused(&self) -> Result<()> {
        if !self.is_paused() {
            return Ok(());
        }
        self.may_wait();
        self.resting.fetch_add(1, Ordering::Relaxed);
        let mut result = Ok(());
        while self.is_paused() && result.is_ok() {
            std::thread::sleep(TICK);
            result = self.check();
        }
        self.resting.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Begins a phase of `total` steps; zero: nobody knows how many.
    pub(crate) fn enter(&self, phase: Phase, total: u64) {
        self.enter_at(phase, 0, total);
    }

    /// The same with `done` steps behind it.
    pub(crate) fn enter_at(&self, phase: Phase, done: u64, total: u64) {
        let _entering = lock(&self.entering);
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, steps: u64) {
        self.done.fetch_add(steps, Ordering::Relaxed);
    }

    /// The same, unless the run is in another phase: reading what changed is no step of a sweep.
    pub(crate) fn advance_in(&self, phase: Phase, steps: u64) {
        if self.phase.load(Ordering::Relaxed) == phase as u8 {
            self.advance(steps);
        }
    }

    pub(crate) fn freed(&self, bytes: u64) {
        let add = |sum: u64| Some(sum.saturating_add(bytes));
        let _ = self.bytes_freed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    pub(crate) fn freed_on_disk(&self, bytes: u64) {
        self.disk_bytes_freed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits for something for `time`, or until the run is cancelled.
    pub(crate) fn wait(&self, wait: Wait, time: Duration) -> Result<()> {
        if time.is_zero() {
            return self.check();
        }
        *lock(&self.waiting) = Some(wait);
        let result = self.sleep(time);
        *lock(&self.waiting) = None;
        result
    }

    /// Sleeps for `time`, or until the run is cancelled.
    pub(crate) fn sleep(&self, time: Duration) -> Result<()> {
        self.may_wait();
        let end = Instant::now() + time;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(TICK));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
