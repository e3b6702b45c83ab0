//! Threads that do the work: how many, at what priority, and what becomes of their panics.

use std::num::NonZeroUsize;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

use crate::error::{Error, Result};

/// What a run may cost the rest of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impact {
    /// Only what nobody else wants: I/O class idle, lowest CPU priority.
    Idle,
    /// Behind others: lowest best-effort I/O priority, CPU priority lowered.
    Balanced,
    /// As fast as it goes, at the caller's own priorities.
    Full,
}

/// A group of threads to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crew {
    /// Number of threads, at least one.
    pub jobs: usize,
    /// How they treat the rest of the machine.
    pub impact: Impact,
}

impl Crew {
    /// As many threads as were asked for, or as suit the impact.
    pub fn new(jobs: Option<NonZeroUsize>, impact: Impact) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let jobs = jobs.map_or_else(
            || match impact {
                Impact::Idle => 1,
                Impact::Balanced => cores,
                // A thread that waits for a cold disk, or for a journal, leaves its core to another.
                Impact::Full => (2 * cores).max(8),
            },
            NonZeroUsize::get,
        );
        Self { jobs, impact }
    }

    /// The same with at most so many threads.
    pub(crate) fn at_most(self, jobs: usize) -> Self {
        Self { jobs: self.jobs.min(jobs), ..self }
    }

    /// Calls `work` with each number below `count`, each once, on all threads. The first error ends it; numbers that
    /// were begun are finished.
    pub fn for_each(self, count: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let next = AtomicUsize::new(0);
        let results = self.run(|| {
            while let Some(number) = claim(&next, count) {
                if let Err(error) = work(number) {
                    next.store(count, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        });
        results.into_iter().collect()
    }

    /// Runs `work` once on every thread, the calling one among them, and returns all results.
    ///
    /// Where the system allows fewer threads, fewer do the work.
    pub fn run<T: Send>(self, work: impl Fn() -> Result<T> + Sync) -> Vec<Result<T>> {
        std::thread::scope(|scope| {
            let helper = || {
                self.impact.apply_to_this_thread();
                contain_panic(&work)
            };
            let helpers: Vec<_> =
                (1..self.jobs).map_while(|_| Builder::new().spawn_scoped(scope, helper).ok()).collect();
            let mut results = vec![contain_panic(&work)];
            results
                .extend(helpers.into_iter().map(|helper| helper.join().unwrap_or_else(|_| Err(panicked()))));
            results
        })
    }
}

fn claim(next: &AtomicUsize, count: usize) -> Option<usize> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    (number < count).then_some(number)
}

/// Turns a panic into an error: what comes from disk must not take the caller's process down.
pub(crate) fn contain_panic<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> Error {
    Error::Internal("a worker thread panicked".into())
}

impl Impact {
    /// Lowers the priorities of the calling thread, and of no other. That it may not, or that the kernel's I/O
    /// scheduler has no classes, is no reason to fail.
    pub(crate) fn apply_to_this_thread(self) {
        // From linux/ioprio.h, for which libc has no names: a priority is (class << 13 | level), `who` one thread.
        const CLASS_SHIFT: i32 = 13;
        const BEST_EFFORT: i32 = 2;
        const IDLE: i32 = 3;
        const WHO_PROCESS: i32 = 1;
        let (nice, ioprio) = match self {
            Impact::Idle => (19, IDLE << CLASS_SHIFT),
            Impact::Balanced => (10, BEST_EFFORT << CLASS_SHIFT | 7),
            Impact::Full => return,
        };
        // On Linux the priority of "process 0" is the calling thread's.
        let _ = rustix::process::setpriority_process(None, nice);
        #[allow(unsafe_code)]
        // SAFETY: ioprio_set takes three integers and no pointer.
        unsafe {
            libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, ioprio);
        }
    }
}
