//! Which locks a run holds, and for how long it held them.
//!
//! Nothing may rest, sleep, listen, stay paused, sync or wait for another lock with a lock in hand: everybody who
//! wants that lock would wait as well. All that waits calls [`Holds::refuse`] first, through the run's
//! [`Control`](crate::control::Control).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A lock that a run may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lockable {
    /// The repository, shared with others who hold it so.
    RepoShared,
    /// The repository, alone.
    RepoExclusive,
    /// The sysroot.
    Sysroot,
}

/// For how long one kind of lock was held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HoldTimes {
    /// Without a break.
    pub longest: Duration,
    /// In all.
    pub total: Duration,
}

impl HoldTimes {
    fn add(&mut self, time: Duration) {
        self.longest = self.longest.max(time);
        self.total += time;
    }
}

/// For how long a run held each kind of lock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LockTimes {
    /// The repository's shared lock.
    pub shared: HoldTimes,
    /// The repository's exclusive lock.
    pub exclusive: HoldTimes,
    /// The sysroot's lock.
    pub sysroot: HoldTimes,
}

/// The locks of one run.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    held: AtomicUsize,
    times: Mutex<LockTimes>,
}

impl Holds {
    /// Notes that a lock was taken; dropping the result notes its release.
    pub fn hold(&self, lock: Lockable) -> Hold<'_> {
        self.held.fetch_add(1, Ordering::Relaxed);
        Hold { holds: self, lock, since: Instant::now() }
    }

    /// Whether any lock is held.
    pub fn is_any(&self) -> bool {
        self.held.load(Ordering::Relaxed) > 0
    }

    /// Panics, where tests are run, if something is about to wait while a lock is held.
    pub fn refuse(&self) {
        if cfg!(any(debug_assertions, feature = "fault-points")) {
            assert!(!self.is_any(), "a wait with a lock held");
        }
    }

    /// For how long locks were held so far.
    pub fn times(&self) -> LockTimes {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock while it is held.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    holds: &'a Holds,
    lock: Lockable,
    since: Instant,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.holds.held.fetch_sub(1, Ordering::Relaxed);
        let mut times = self.holds.times.lock().unwrap_or_else(PoisonError::into_inner);
        let times = match self.lock {
            Lockable::RepoShared => &mut times.shared,
            Lockable::RepoExclusive => &mut times.exclusive,
            Lockable::Sysroot => &mut times.sysroot,
        };
        times.add(self.since.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a wait with a lock held")]
    fn a_wait_with_a_lock_held_is_refused() {
        let holds = Holds::default();
        holds.refuse();
        let _hold = holds.hold(Lockable::Sysroot);
        holds.refuse();
    }

    #[test]
    fn each_kind_of_hold_has_its_longest_and_its_total() {
        let holds = Holds::default();
        for _ in 0..2 {
            let shared = holds.hold(Lockable::RepoShared);
            std::thread::sleep(Duration::from_millis(2));
            drop(shared);
        }
        let LockTimes { shared, exclusive, sysroot } = holds.times();
        assert!(shared.longest >= Duration::from_millis(2) && shared.total >= 2 * Duration::from_millis(2));
        assert!(shared.longest < shared.total);
        assert_eq!((exclusive, sysroot), (HoldTimes::default(), HoldTimes::default()));
        assert!(!holds.is_any());
    }
}
