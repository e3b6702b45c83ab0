//! Removing what interrupted transactions left in `tmp`, in slices of its own.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::{lock_both, PruneOptions, Surroundings};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::pruned::{Item, Pruned, Reason};
use crate::repo::lock::LockKind;
use crate::repo::waiters::Waiters;
use crate::repo::Repo;
use crate::report::PruneReport;
use crate::sweep::checkout::{Context, Outcome, Stuck};
use crate::sweep::tmp::{self, TMP};
use crate::workers::Crew;

/// Removes what is stale in `tmp`, or in a dry run only finds out how much that is. Notes in `report` what becomes of
/// it.
///
/// # Locking
/// The sysroot's lock and the exclusive one, in slices, if there is anything to remove. None for a dry run.
pub(crate) fn remove_stale(
    repo: &Repo,
    surroundings: &mut dyn Surroundings,
    options: &PruneOptions,
    control: &Control,
    report: &mut PruneReport,
) -> Result<()> {
    if options.dry_run {
        let tmp::Forecast { names, extent } = tmp::forecast(repo, control)?;
        for name in &names {
            note(name, options, report);
        }
        report.tmp_bytes_freed = extent.bytes;
        control.freed_on_disk(extent.disk);
        report.failures.extend(extent.failures);
        return Ok(());
    }
    let mut names = tmp::list(repo, &mut report.failures)?;
    if names.is_empty() {
        return Ok(());
    }
    // The next one last.
    names.reverse();
    let mut removal =
        Removal { repo, options, control, names, stuck: Stuck::default(), bytes: AtomicU64::new(0) };
    let result = removal.run(surroundings, report);
    report.tmp_bytes_freed = removal.bytes.into_inner();
    report.failures.extend(removal.stuck.into_failures());
    result
}

/// Notes an item to delete.
fn note(name: &OsStr, options: &PruneOptions, report: &mut PruneReport) {
    report.tmp_pruned += 1;
    if let Some(observer) = options.observer {
        observer(Pruned { item: Item::Tmp(Path::new(TMP).join(name)), reason: Reason::Stale });
    }
}

struct Removal<'a> {
    repo: &'a Repo,
    options: &'a PruneOptions<'a>,
    control: &'a Control,
    /// The items to delete, the next one last.
    names: Vec<OsString>,
    stuck: Stuck,
    bytes: AtomicU64,
}

impl Removal<'_> {
    fn run(&mut self, surroundings: &mut dyn Surroundings, report: &mut PruneReport) -> Result<()> {
        let Self { repo, control, options, .. } = *self;
        let lock = repo.lock(options.effort.lock_timeout)?;
        let mut waiters = Waiters::watch(lock.path());
        let pace = Pace::new(&options.effort, repo.objects(), control);
        while !self.names.is_empty() {
            pace.rest(repo.objects())?;
            waiters.give_way(control)?;
            let exclusive = lock_both(surroundings, &lock, LockKind::Exclusive, control)?;
            let result = self.slice(&pace, lock.excludes_writers(), report);
            drop(exclusive);
            surroundings.unlock();
            result?;
        }
        Ok(())
    }

    fn slice(&mut self, pace: &Pace, is_alone: bool, report: &mut PruneReport) -> Result<()> {
        let Self { repo, control, options, .. } = *self;
        let deadline = Instant::now() + options.effort.slice();
        while let Some(name) = self.names.pop() {
            control.check()?;
            if let Some(reason) = options.limits.reached(repo, control) {
                report.unfinished = Some(reason.into());
                self.names.clear();
                break;
            }
            let (stuck, bytes) = (&self.stuck, Some(&self.bytes));
            let before = self.bytes.load(Ordering::Relaxed);
            let context = Context { control, crew: Crew::of(pace).sweepers(), deadline, stuck, bytes };
            let outcome = tmp::remove(repo, &name, is_alone, context);
            control.freed(self.bytes.load(Ordering::Relaxed) - before);
            match outcome {
                Ok(Some(Outcome::Unfinished)) => self.names.push(name),
                Ok(Some(Outcome::Gone)) => note(&name, options, report),
                Ok(Some(Outcome::Stuck) | None) => {}
                Err(Error::Io { source, .. }) => self.stuck.add(Path::new(TMP).join(name), source),
                Err(error) => return Err(error),
            }
            if pace.ends_slice(deadline) {
                break;
            }
        }
        Ok(())
    }
}
