//! What a run may cost others: processor, disk, and time that they wait for locks.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::repo::config::LockTimeout;

/// How long a lock is held in one go unless something else is asked for.
pub const LOCK_SLICE: Duration = Duration::from_millis(100);

/// A slice that is as good as endless, and that a clock can still be put forward by.
const LONGEST_SLICE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How a run goes about its work.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// How it treats those who use the same disk.
    pub pacing: Pacing,
    /// Number of threads; None: as the pacing has it.
    pub jobs: Option<NonZeroUsize>,
    /// Delete at most so many files a second.
    pub unlinks_per_s: Option<NonZeroU32>,
    /// How long to wait for a lock each time; None: as the repository's settings say.
    pub lock_timeout: Option<LockTimeout>,
    /// How long others are kept waiting for a lock at most, give or take the time to look at what changed.
    pub lock_slice: Duration,
}

impl Effort {
    /// The effort that goes with an impact.
    pub fn new(impact: Impact) -> Self {
        let pacing = impact.pacing();
        Self { pacing, jobs: None, unlinks_per_s: None, lock_timeout: None, lock_slice: LOCK_SLICE }
    }

    /// Gives the calling thread, and no other, the priorities of the pacing.
    pub(crate) fn apply_priority(&self) {
        if let Some(priority) = self.pacing.priority {
            priority.apply_to_this_thread();
        }
    }

    /// Number of threads to work with.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.unwrap_or(self.pacing.jobs).get()
    }

    /// Number of threads to read from a disk with, if it is `jobs` from memory.
    pub(crate) fn cold_jobs(&self, jobs: usize) -> usize {
        if self.jobs.is_some() {
            return jobs;
        }
        jobs.max(self.pacing.cold_jobs.get())
    }

    /// How long a lock is held in one go.
    pub(crate) fn slice(&self) -> Duration {
        self.lock_slice.min(LONGEST_SLICE)
    }
}

/// What a run may cost the rest of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impact {
    /// Lowest priorities, one thread, small batches, back-off while other programs use the disk.
    Idle,
    /// Behind others: lowered priorities, a thread for each core, batches.
    Balanced,
    /// As fast as it goes, at the caller's own priorities.
    Full,
}

/// How a run treats those who use the same disk.
#[derive(Debug, Clone, Copy)]
pub struct Pacing {
    /// The priorities of its threads; None: the caller's.
    pub priority: Option<Priority>,
    /// Number of threads.
    pub jobs: NonZeroUsize,
    /// Number of threads that read what is not in memory.
    pub cold_jobs: NonZeroUsize,
    /// Make deletions durable in batches, so that others who sync don't wait for ours; None: leave it to the kernel.
    pub batch: Option<Batch>,
    /// Rest while others wait for the disk, and how.
    pub back_off: Option<BackOff>,
    /// Before listening for others, have all written to its place that is to be written: the kernel does it in bursts.
    pub writes_back: bool,
}

/// A thread's priorities.
#[derive(Debug, Clone, Copy)]
pub struct Priority {
    /// From 0 to 19, the lowest.
    pub nice: i32,
    /// I/O class and level, as `ioprio_set` has it.
    pub io: i32,
}

/// How many files to delete before a sync of our own.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// So many at least, or there were no progress.
    pub least: usize,
    /// So many at most.
    pub most: usize,
    /// How long a sync may take. A batch whose sync takes longer was too large.
    pub sync: Duration,
}

/// How to go on while others wait for the disk: one thread works, in steps that are too short for others to notice.
#[derive(Debug, Clone, Copy)]
pub struct BackOff {
    /// So many times as long as the work took.
    pub times: u32,
    /// No batch is larger: others wait for all that is written at once.
    pub batch: usize,
    /// What a sync settled of a batch, and leaves to the kernel to write in a burst, counts as so many times the sync: it
    /// wrote some blocks in a row, and what is left are twenty, here and there.
    pub burst: u32,
}

/// From linux/ioprio.h, for which libc has no names: a priority is (class << 13 | level).
const fn io_priority(class: i32, level: i32) -> i32 {
    class << 13 | level
}

const BEST_EFFORT: i32 = 2;
const IDLE: i32 = 3;

impl Impact {
    /// What it means.
    pub fn pacing(self) -> Pacing {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        match self {
            Impact::Idle => Pacing {
                priority: Some(Priority { nice: 19, io: io_priority(IDLE, 0) }),
                jobs: cores.min(TWO),
                cold_jobs: cores.min(TWO),
                batch: Some(Batch { least: 16, most: 1024, sync: Duration::from_millis(10) }),
                back_off: Some(BackOff { times: 75, batch: 8, burst: 8 }),
                writes_back: true,
            },
            Impact::Balanced => Pacing {
                priority: Some(Priority { nice: 10, io: io_priority(BEST_EFFORT, 7) }),
                jobs: cores,
                cold_jobs: cores,
                batch: Some(Batch { least: 64, most: 1024, sync: Duration::from_millis(20) }),
                back_off: None,
                writes_back: false,
            },
            Impact::Full => Pacing {
                priority: None,
                // More threads than cores fight for the journal's locks: xfs and btrfs are slower then.
                jobs: cores,
                cold_jobs: cores.saturating_mul(TWO).max(MANY),
                batch: None,
                back_off: None,
                writes_back: false,
            },
        }
    }
}

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
const MANY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);

impl Priority {
    /// Lowers the priorities of the calling thread, and of no other; what is lower already stays. That it may not, or
    /// that the kernel's I/O scheduler has no classes, is no reason to fail.
    pub(crate) fn apply_to_this_thread(self) {
        // On Linux the priority of "process 0" is the calling thread's.
        let Ok(nice) = rustix::process::getpriority_process(None) else { return };
        let io = own_io_priority(nice);
        if nice < self.nice {
            let _ = rustix::process::setpriority_process(None, self.nice);
        }
        // A larger number is a lower class or level.
        if io < self.io {
            #[allow(unsafe_code)]
            // SAFETY: ioprio_set takes three integers and no pointer.
            unsafe {
                libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, self.io);
            }
        }
    }
}

const WHO_PROCESS: i32 = 1;

/// The calling thread's I/O priority: where none is set, the kernel goes by `nice`.
fn own_io_priority(nice: i32) -> i32 {
    #[allow(unsafe_code)]
    // SAFETY: ioprio_get takes two integers and no pointer.
    let set = unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0) };
    match i32::try_from(set) {
        // The bits between class and level are hints for the device.
        Ok(set) if set >> 13 > 0 => io_priority(set >> 13, set & 7),
        _ => io_priority(BEST_EFFORT, (nice + 20) / 5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The priorities of a thread that had `before`, after a run of this impact began.
    fn lowered(before: Priority, impact: Impact) -> (i32, i32) {
        let thread = std::thread::spawn(move || {
            let Priority { nice, io } = before;
            rustix::process::setpriority_process(None, nice).unwrap();
            #[allow(unsafe_code)]
            // SAFETY: three integers.
            let done = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, io) };
            assert_eq!(done, 0);
            Effort::new(impact).apply_priority();
            let nice = rustix::process::getpriority_process(None).unwrap();
            (nice, own_io_priority(nice))
        });
        thread.join().unwrap()
    }

    #[test]
    fn priorities_are_lowered() {
        // The tests themselves may be run by `nice`, which only root can undo.
        let nice = rustix::process::getpriority_process(None).unwrap().max(5);
        let some = Priority { nice, io: io_priority(BEST_EFFORT, 2) };
        assert_eq!(lowered(some, Impact::Idle), (19, io_priority(IDLE, 0)));
        assert_eq!(lowered(some, Impact::Balanced), (nice.max(10), io_priority(BEST_EFFORT, 7)));
        assert_eq!(lowered(some, Impact::Full), (nice, some.io));
    }

    /// `nice -n19 ionice -c3` stays in force, and each of the two by itself.
    #[test]
    fn what_is_lower_already_stays() {
        for nice in [10, 15, 19] {
            for io in [io_priority(BEST_EFFORT, 7), io_priority(IDLE, 0)] {
                assert_eq!(lowered(Priority { nice, io }, Impact::Balanced), (nice, io));
            }
        }
        let mixed = Priority { nice: 19, io: io_priority(BEST_EFFORT, 0) };
        assert_eq!(lowered(mixed, Impact::Balanced), (19, io_priority(BEST_EFFORT, 7)));
    }
}
