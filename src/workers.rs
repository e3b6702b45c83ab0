//! Threads that do the work: how many, at what priority, and what becomes of their panics.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

use crate::error::{Error, Result};
use crate::pace::Pace;

/// Enough for what has no recursion; many threads must fit where memory is limited.
const STACK: usize = 512 << 10;

/// A group of threads to be.
#[derive(Clone, Copy)]
pub(crate) struct Crew<'a> {
    /// Number of threads, at least one.
    pub jobs: usize,
    /// The pace they keep.
    pub pace: &'a Pace<'a>,
}

impl<'a> Crew<'a> {
    /// The threads to work with at this pace.
    pub fn of(pace: &'a Pace<'a>) -> Self {
        Self { jobs: pace.effort().jobs(), pace }
    }

    /// Those to delete with, for now.
    pub fn sweepers(self) -> Self {
        self.at_most(self.pace.sweepers())
    }

    /// The same with at most so many threads.
    pub(crate) fn at_most(self, jobs: usize) -> Self {
        Self { jobs: self.jobs.min(jobs), ..self }
    }

    /// The threads to read from a disk with.
    pub(crate) fn for_cold(self) -> Self {
        Self { jobs: self.pace.effort().cold_jobs(self.jobs), ..self }
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
                self.pace.effort().apply_priority();
                contain_panic(&work)
            };
            let helpers: Vec<_> = (1..self.jobs)
                .map_while(|_| Builder::new().stack_size(STACK).spawn_scoped(scope, helper).ok())
                .collect();
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
