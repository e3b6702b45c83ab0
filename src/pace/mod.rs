//! How fast to go: back-off while other programs use the disk, batches with a sync of our own, a rate, pauses.
//!
//! Deleting a file costs little until somebody syncs: then all that the journal has gathered must be written, and who
//! syncs waits for it. So we sync ourselves before it is much, and take as the measure of *much* how long that takes.
//! With a lock held nothing of this is done: a slice ends when a sync or a sleep is due.
//! What the journal has settled still has to be written to its place; left to the kernel, that comes in bursts. So now
//! and then, when no lock is held, we have it written, and then listen whether others wait for the disk while we don't
//! use it.

mod others;
mod write_back;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::others::Meter;
pub(crate) use self::write_back::sync_file_system;
use self::write_back::would_write_little_else;
use crate::control::{Control, Wait};
use crate::effort::{BackOff, Batch, Effort};
use crate::error::Result;
use crate::fault::{self, Step};
use crate::repo::listing::CHUNK;

/// How long locks are left free between slices: as long as they were held since the last time, and so long at most,
/// which is time to wake up and take one, for a process that sleeps in the kernel until then.
/// Only `/proc/locks` shows whether one does, and reading it stops all locking of files for some ms.
/// A process that tries once a second is noticed otherwise; see [`Waiters`](crate::repo::waiters::Waiters).
const GAP: Duration = Duration::from_millis(3);

/// How often, and for how long, we stop and listen whether others wait for the disk.
const LISTEN_EVERY: Duration = Duration::from_secs(1);
const LISTEN: Duration = Duration::from_millis(100);

/// What our other threads are at is over by then.
const HUSH: Duration = Duration::from_millis(20);

/// Others are done only once they were not heard for so many times.
const QUIET: u32 = 3;

/// Rest that is due is taken once it is so long, which is after a few files.
const BREATH: Duration = Duration::from_millis(1);

/// No sleep is longer than this, or a disk that stalls would end the work.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// What is paid for in advance is no more than a sleep of this length, or a disk on which others always leave much to write would
/// be cleaned for days.
const LONGEST_ADVANCE: Duration = Duration::from_secs(1);

/// While others wait for the disk no more deletions are written back at once.
const MOST_UNWRITTEN: usize = 32;

/// While others wait for the disk so many bytes of names are read at once: a block of a directory's.
const BLOCK: usize = 4 << 10;

/// The pace of one run, shared by its threads.
pub(crate) struct Pace<'a> {
    control: &'a Control,
    effort: Effort,
    /// For those who rest.
    meter: Option<Meter>,
    /// Files to delete before the next sync of our own.
    batch: AtomicUsize,
    /// Files deleted since the last one.
    unsynced: AtomicUsize,
    /// Files that may be deleted in this slice.
    allowance: AtomicI64,
    /// Whether the slice should end, for what is better done without a lock.
    sated: AtomicBool,
    /// How often others are still not to be heard before they are done.
    busy: AtomicU32,
    /// Whether all that is done from now on is done in slices.
    in_slices: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// The shortest sync of ours.
    quickest: Duration,
    /// Whether the last sync was a slow one.
    slow: bool,
    /// The slice's begin.
    began: Instant,
    listened: Option<Instant>,
    /// The end of the last rest.
    rested: Instant,
    /// Rest that is still to be taken.
    owed: Duration,
    /// For how long locks were held before the last gap.
    held: Duration,
    /// Where the last file of a complete batch was deleted: it is to be synced.
    unsynced_in: Option<OwnedFd>,
    /// How long the last sync took, if what it settled was not seen to since.
    settled: Option<Duration>,
    /// Files whose deletion is settled, but may not be written to its place.
    unwritten: usize,
}

impl<'a> Pace<'a> {
    /// A pace for what is done on the file system of `directory`.
    pub fn new(effort: &Effort, directory: impl AsFd, control: &'a Control) -> Self {
        Self {
            control,
            effort: *effort,
            meter: effort.pacing.back_off.map(|_| Meter::of(directory)),
            batch: AtomicUsize::new(effort.pacing.batch.map_or(usize::MAX, |batch| batch.least)),
            unsynced: AtomicUsize::new(0),
            allowance: AtomicI64::new(chunk(effort)),
            sated: AtomicBool::new(false),
            busy: AtomicU32::new(0),
            in_slices: AtomicBool::new(false),
            state: Mutex::new(State {
                quickest: Duration::MAX,
                slow: false,
                began: Instant::now(),
                listened: None,
                rested: Instant::now(),
                owed: Duration::ZERO,
                held: Duration::ZERO,
                unsynced_in: None,
                settled: None,
                unwritten: 0,
            }),
        }
    }

    /// What the run may cost others.
    pub fn effort(&self) -> &Effort {
        &self.effort
    }

    /// How many threads to delete with at most, for now.
    pub fn sweepers(&self) -> usize {
        // What came before is not the disk's time.
        self.lock().rested = Instant::now();
        if self.others_wait() {
            1
        } else {
            usize::MAX
        }
    }

    /// How many bytes of a directory's names to read at once.
    pub fn chunk(&self) -> usize {
        if self.others_wait() {
            BLOCK
        } else {
            CHUNK
        }
    }

    /// Whether the slice should end although its time is not over.
    pub fn wants_rest(&self) -> bool {
        self.allowance.load(Ordering::Relaxed) <= 0
            || self.sated.load(Ordering::Relaxed)
            || self.control.is_paused()
    }

    /// Whether a slice is over: its time is, or there is something to be done without a lock.
    pub fn ends_slice(&self, deadline: Instant) -> bool {
        Instant::now() >= deadline || self.wants_rest()
    }

    /// To be called after each deletion, with a directory of the file system.
    pub fn deleted(&self, directory: impl AsFd) {
        if self.effort.unlinks_per_s.is_some() {
            self.allowance.fetch_sub(1, Ordering::Relaxed);
        }
        if self.effort.pacing.batch.is_some() {
            self.unsynced.fetch_add(1, Ordering::Relaxed);
            if self.has_gathered_batch() {
                self.sated.store(true, Ordering::Relaxed);
                // Without a descriptor left for it, another directory is synced.
                let mut state = self.lock();
                state.unsynced_in = state.unsynced_in.take().or_else(|| rustix::io::dup(directory).ok());
            }
        }
        if let Some(back_off) = self.back_off_now() {
            let mut state = self.lock();
            let worked = state.rested.elapsed();
            state.owe(back_off, worked);
            state.rested = Instant::now();
            self.sated.fetch_or(state.owed >= LONGEST_REST, Ordering::Relaxed);
        }
    }

    /// To be called before each file, or chunk of a directory, is read. May sleep, but with a lock held it does not.
    pub fn read(&self) -> Result<()> {
        if self.control.has_lock() {
            return Ok(());
        }
        self.control.rest_while_paused()?;
        if self.effort.pacing.back_off.is_none() {
            return Ok(());
        }
        // While one thread listens, the others wait for the state.
        let mut state = self.lock();
        if state.should_listen() {
            self.listen(&mut state)?;
        }
        if let Some(back_off) = self.back_off_now() {
            self.control.wait(Wait::Disk, state.rest_due(back_off))?;
            state.rested = Instant::now();
        }
        Ok(())
    }

    /// Makes a complete batch of deletions durable. That it failed does not matter: where order depends on it, there is
    /// a barrier.
    fn sync_batch(&self, directory: impl AsFd) {
        let Some(batch) = self.effort.pacing.batch.filter(|_| self.has_gathered_batch()) else { return };
        let size = self.unsynced.swap(0, Ordering::Relaxed);
        let changed = self.lock().unsynced_in.take();
        self.control.may_wait();
        fault::before(Step::Sync);
        let start = Instant::now();
        let _ = rustix::fs::fsync(changed.as_ref().map_or(directory.as_fd(), AsFd::as_fd));
        self.synced(batch, size, start.elapsed());
    }

    /// Takes note of a sync of our own, and finds the next batch's size from how long it took.
    fn synced(&self, batch: Batch, deletions: usize, took: Duration) {
        let mut state = self.lock();
        state.unwritten += deletions;
        state.settled = Some(took);
        state.quickest = state.quickest.min(took);
        // On a slow disk even the smallest batch takes longer than is wanted.
        state.slow = took > batch.sync.max(2 * state.quickest);
        let size = self.batch.load(Ordering::Relaxed);
        let next = if state.slow { size / 2 } else { size + size / 4 };
        let next = next.clamp(batch.least, batch.most);
        let most = self.back_off_now().map_or(usize::MAX, |back_off| back_off.batch);
        self.batch.store(next.min(most), Ordering::Relaxed);
        if let Some(back_off) = self.back_off_now() {
            state.owe(back_off, took);
        }
    }

    /// Syncs and backs off before a slice. To be called without a lock, with a directory of the file system.
    pub fn rest(&self, directory: impl AsFd) -> Result<()> {
        self.control.rest_while_paused()?;
        self.sync_batch(&directory);
        let (listens, has_settled) = {
            let state = self.lock();
            (self.effort.pacing.back_off.is_some() && state.should_listen(), state.settled.is_some())
        };
        let is_due = listens || self.others_wait() && has_settled;
        if self.effort.pacing.writes_back && self.in_slices.load(Ordering::Relaxed) && is_due {
            self.write_back(directory)?;
        }
        let mut state = self.lock();
        if listens {
            self.listen(&mut state)?;
        } else {
            let owed = std::mem::take(&mut state.owed);
            let times = self.control.lock_times();
            let gap = state.gap_due(times.exclusive.total.max(times.sysroot.total));
            if owed > gap {
                self.control.wait(Wait::Disk, owed.min(LONGEST_REST))?;
            } else {
                self.control.sleep(gap)?;
            }
        }
        if let Some(rate) = self.effort.unlinks_per_s {
            let whole = chunk(&self.effort);
            let used = whole - self.allowance.swap(whole, Ordering::Relaxed);
            let due = Duration::from_secs(used.unsigned_abs()) / rate.get();
            self.control.wait(Wait::Rate, due.saturating_sub(state.began.elapsed()))?;
        }
        self.in_slices.store(true, Ordering::Relaxed);
        self.sated.store(false, Ordering::Relaxed);
        state.began = Instant::now();
        state.rested = state.began;
        Ok(())
    }

    /// Has all written to its place that was deleted since the last time. That it failed does not matter, either. What
    /// while others wait is better left to the kernel is paid for in advance.
    fn write_back(&self, directory: impl AsFd) -> Result<()> {
        let (unwritten, settled) = {
            let mut state = self.lock();
            (state.unwritten.min(MOST_UNWRITTEN), state.settled.take().unwrap_or_default())
        };
        let back_off = self.back_off_now();
        if let Some(back_off) = back_off.filter(|_| !would_write_little_else(unwritten, &directory)) {
            self.lock().owe(back_off, (settled * back_off.burst).min(LONGEST_ADVANCE / back_off.times));
            return Ok(());
        }
        fault::before(Step::Sync);
        if let Ok(took) = sync_file_system(directory, self.control)? {
            let mut state = self.lock();
            state.unwritten = 0;
            if let Some(back_off) = back_off {
                state.owe(back_off, took);
            }
        }
        Ok(())
    }

    /// Does nothing for a while, and finds out whether others wait for the disk then.
    fn listen(&self, state: &mut State) -> Result<()> {
        self.control.sleep(HUSH)?;
        let meter = self.meter.as_ref();
        let before = meter.and_then(Meter::read);
        self.control.sleep(LISTEN)?;
        let heard = meter.zip(before.as_ref()).and_then(|(meter, before)| meter.hears_others_since(before));
        let busy = if heard.unwrap_or(state.slow) {
            let most = self.effort.pacing.back_off.map_or(usize::MAX, |back_off| back_off.batch);
            self.batch.fetch_min(most, Ordering::Relaxed);
            QUIET
        } else {
            self.busy.load(Ordering::Relaxed).saturating_sub(1)
        };
        self.busy.store(busy, Ordering::Relaxed);
        state.listened = Some(Instant::now());
        state.rested = Instant::now();
        Ok(())
    }

    fn has_gathered_batch(&self) -> bool {
        self.unsynced.load(Ordering::Relaxed) >= self.batch.load(Ordering::Relaxed)
    }

    fn others_wait(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// How to rest, if others wait for the disk.
    fn back_off_now(&self) -> Option<BackOff> {
        self.effort.pacing.back_off.filter(|_| self.others_wait())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn should_listen(&self) -> bool {
        self.listened.is_none_or(|last| last.elapsed() > LISTEN_EVERY)
    }

    /// How long locks are to be left free now that they were held for so long in all.
    fn gap_due(&mut self, held: Duration) -> Duration {
        let before = std::mem::replace(&mut self.held, held);
        held.saturating_sub(before).min(GAP)
    }

    /// Takes note of work.
    fn owe(&mut self, back_off: BackOff, worked: Duration) {
        self.owed = (self.owed + worked * back_off.times).min(LONGEST_REST);
    }

    /// How long to rest now, after the work since the last rest.
    fn rest_due(&mut self, back_off: BackOff) -> Duration {
        self.owe(back_off, self.rested.elapsed());
        self.rested = Instant::now();
        if self.owed < BREATH {
            return Duration::ZERO;
        }
        std::mem::take(&mut self.owed)
    }
}

/// How many files may be deleted in one slice: what the rate allows in a tenth of a second.
fn chunk(effort: &Effort) -> i64 {
    effort.unlinks_per_s.map_or(i64::MAX, |rate| i64::from(rate.get()).div_euclid(10).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effort::Impact;

    fn root() -> std::os::fd::OwnedFd {
        rustix::fs::open("/", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap()
    }

    #[test]
    fn batches_grow_while_syncs_are_quick_and_shrink_when_they_are_not() {
        let control = Control::new();
        let effort = Effort::new(Impact::Idle);
        let batch = effort.pacing.batch.unwrap();
        let pace = Pace::new(&effort, root(), &control);
        let size = || pace.batch.load(Ordering::Relaxed);
        assert_eq!(size(), batch.least);
        for _ in 0..100 {
            pace.synced(batch, 1, batch.sync / 2);
        }
        assert_eq!(size(), batch.most);
        pace.synced(batch, 1, batch.sync * 2);
        assert_eq!(size(), batch.most / 2);
        for _ in 0..100 {
            pace.synced(batch, 1, batch.sync * 2);
        }
        assert_eq!(size(), batch.least);
    }

    #[test]
    fn on_a_slow_disk_the_measure_is_what_it_can_do() {
        let control = Control::new();
        let effort = Effort::new(Impact::Idle);
        let batch = effort.pacing.batch.unwrap();
        let pace = Pace::new(&effort, root(), &control);
        for _ in 0..100 {
            pace.synced(batch, 1, batch.sync * 5);
        }
        assert_eq!(pace.batch.load(Ordering::Relaxed), batch.most);
    }

    #[test]
    fn rest_is_many_times_the_work_and_what_is_owed_is_not_forgotten() {
        let control = Control::new();
        let effort = Effort::new(Impact::Idle);
        let back_off = effort.pacing.back_off.unwrap();
        let pace = Pace::new(&effort, root(), &control);
        let mut state = pace.lock();
        state.rested = Instant::now();
        assert_eq!(state.rest_due(back_off), Duration::ZERO);
        state.rested = Instant::now().checked_sub(Duration::from_millis(30)).unwrap();
        let rest = state.rest_due(back_off);
        assert!(rest >= Duration::from_millis(30) * back_off.times && rest <= LONGEST_REST, "{rest:?}");
    }

    #[test]
    fn locks_are_left_free_as_long_as_they_were_held_and_no_longer_than_the_gap() {
        let control = Control::new();
        let pace = Pace::new(&Effort::new(Impact::Full), root(), &control);
        let mut state = pace.lock();
        let ms = Duration::from_millis;
        assert_eq!(state.gap_due(Duration::ZERO), Duration::ZERO);
        assert_eq!(state.gap_due(ms(1)), ms(1));
        assert_eq!(state.gap_due(ms(1)), Duration::ZERO);
        assert_eq!(state.gap_due(ms(101)), GAP);
    }

    #[test]
    fn while_others_wait_portions_are_small_and_end_the_slice() {
        let control = Control::new();
        let effort = Effort::new(Impact::Idle);
        let (batch, back_off) = (effort.pacing.batch.unwrap(), effort.pacing.back_off.unwrap());
        let pace = Pace::new(&effort, root(), &control);
        for _ in 0..100 {
            pace.synced(batch, 1, Duration::ZERO);
        }
        assert_eq!((pace.batch.load(Ordering::Relaxed), pace.chunk()), (batch.most, CHUNK));
        pace.busy.store(QUIET, Ordering::Relaxed);
        pace.synced(batch, 1, Duration::ZERO);
        assert_eq!((pace.batch.load(Ordering::Relaxed), pace.chunk()), (back_off.batch, BLOCK));
        for _ in 0..back_off.batch {
            pace.deleted(root());
        }
        assert!(pace.wants_rest());
        pace.rest(root()).unwrap();
        assert_eq!(pace.unsynced.load(Ordering::Relaxed), 0);
        assert!(!pace.wants_rest());
    }

    #[test]
    fn with_a_lock_held_reading_does_not_rest_and_a_sync_is_refused() {
        let control = Control::new();
        let pace = Pace::new(&Effort::new(Impact::Idle), root(), &control);
        let hold = control.hold(crate::holds::Lockable::RepoExclusive);
        control.pause(true);
        pace.read().unwrap();
        control.pause(false);
        pace.unsynced.store(usize::MAX, Ordering::Relaxed);
        let rest = || pace.rest(root());
        assert!(crate::workers::contain_panic(rest).is_err());
        drop(hold);
        pace.rest(root()).unwrap();
    }

    /// Whether `rest` was seen to wait for it. How long it does is not certain, so it may take several.
    fn is_seen(control: &Control, wait: &Wait, rest: impl Fn()) -> bool {
        let is_seen = AtomicBool::new(false);
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_seen.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(60) {
                    is_seen.fetch_or(control.snapshot().waiting.as_ref() == Some(wait), Ordering::Relaxed);
                    std::thread::yield_now();
                }
            });
            while !is_seen.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(60) {
                rest();
            }
        });
        is_seen.into_inner() && control.snapshot().waiting.is_none()
    }

    #[test]
    fn a_rest_says_what_it_is_for() {
        let control = Control::new();
        let rate = std::num::NonZeroU32::new(20);
        let pace = Pace::new(&Effort { unlinks_per_s: rate, ..Effort::new(Impact::Full) }, root(), &control);
        assert!(is_seen(&control, &Wait::Rate, || {
            (0..2).for_each(|_| pace.deleted(root()));
            pace.rest(root()).unwrap();
        }));
        let pace = Pace::new(&Effort::new(Impact::Idle), root(), &control);
        assert!(is_seen(&control, &Wait::Disk, || {
            pace.busy.store(QUIET, Ordering::Relaxed);
            pace.lock().listened = Some(Instant::now());
            pace.lock().owed = Duration::from_millis(50);
            pace.rest(root()).unwrap();
        }));
    }

    #[test]
    fn a_slice_gets_a_tenth_of_what_a_second_may_have() {
        let control = Control::new();
        let rate = std::num::NonZeroU32::new(25);
        let effort = Effort { unlinks_per_s: rate, ..Effort::new(Impact::Full) };
        let pace = Pace::new(&effort, root(), &control);
        pace.deleted(root());
        assert!(!pace.wants_rest());
        pace.deleted(root());
        assert!(pace.wants_rest());
        let start = Instant::now();
        pace.rest(root()).unwrap();
        assert!(!pace.wants_rest());
        assert!(start.elapsed() >= Duration::from_millis(70));
    }
}
