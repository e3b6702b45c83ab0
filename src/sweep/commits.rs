//! Deleting commits, the first step of every sweep.
//!
//! Order matters to who comes after a crash. A commit's detached metadata goes first, then the commit; after a
//! durability [`barrier`] its children may go, and its mark as partial.
//! libostree removes that mark first, so that a commit of which half was pulled looks whole for a while; here a
//! commit never claims to have more than it has.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::context::{Context, Gone};
use super::removal::{remove, Removal};
use super::staging::Staging;
use super::verdict::{verdict, Verdict};
use super::{caches, tombstone};
use crate::error::{Error, Result};
use crate::mark::live_set::LiveSet;
use crate::pruned::{Item, Reason};
use crate::repo::object::{Checksum, ObjectName, ObjectType, DETACHED, TOMBSTONE};
use crate::repo::seen::Seen;
use crate::repo::{partial_mark, Repo};
use crate::report::{Cause, Failure, PruneReport};

/// Commits on their way out.
#[derive(Debug)]
pub(crate) struct Sweep {
    candidates: Vec<Checksum>,
    removed: Vec<Checksum>,
    /// Commits that could not be deleted, or are not those that were planned to go: they are here to stay, and so is all that they reach.
    pub stuck: Vec<Checksum>,
    pub report: PruneReport,
}

impl Sweep {
    /// A sweep that considers `candidates`.
    pub fn new(candidates: Vec<Checksum>) -> Self {
        Self { candidates, removed: Vec::new(), stuck: Vec::new(), report: PruneReport::default() }
    }

    /// Whether there is more to do.
    pub fn is_done(&self) -> bool {
        self.candidates.is_empty()
    }

    /// The commits deleted so far, which a [`barrier`] has to make durable.
    pub fn removed(&self) -> &[Checksum] {
        &self.removed
    }

    /// Deletes commits that are not live until `deadline`; returns the object directories it changed.
    pub fn run(&mut self, context: Context, live: &LiveSet, deadline: Instant) -> Result<Vec<u8>> {
        let mut touched = BTreeSet::new();
        while Instant::now() < deadline && !context.crew.pace.wants_rest() {
            if context.is_exhausted() {
                self.candidates.clear();
            }
            let Some(commit) = self.candidates.pop() else { break };
            context.control.check()?;
            if self.delete(context, live, commit) {
                context.crew.pace.deleted(context.repo.objects());
                touched.insert(commit.directory());
            }
        }
        Ok(touched.into_iter().collect())
    }

    fn delete(&mut self, context: Context, live: &LiveSet, commit: Checksum) -> bool {
        let repo = context.repo;
        let object = ObjectName::new(commit, ObjectType::Commit);
        let path = object.loose_path(repo.config().mode);
        let name = object.file_name(repo.config().mode);
        match verdict(repo, live, object) {
            Ok(Verdict::Keep) => return false,
            Ok(Verdict::Prune) => {}
            Err(error) => {
                self.stick(commit, &path, error);
                return false;
            }
        }
        let directory = match repo.open_object_directory(commit.directory()) {
            Ok(Some(directory)) => directory,
            Ok(None) => return false,
            Err(error) => {
                self.stick(commit, &path, error);
                return false;
            }
        };
        if let Some(plan) = context.plan {
            // Before its detached metadata goes: is it the commit that was planned to go?
            match Seen::at(&directory, &name) {
                Ok(Some(seen)) if Some(seen.identity()) == plan.identity(object) => {}
                Ok(None) => return false,
                Ok(Some(_)) => {
                    self.stuck.push(commit);
                    return false;
                }
                Err(error) => {
                    self.stick(commit, &path, error);
                    return false;
                }
            }
        }
        // A full disk has no room for a tombstone until something is deleted.
        let wants_tombstone = repo.config().tombstones;
        let buried = wants_tombstone && tombstone::write(&directory, &commit).is_ok();
        caches::remove_with(&directory, commit, context, &mut self.report);
        let outcome = remove(&directory, &commit.file_name(DETACHED), context, None)
            .and_then(|_| remove(&directory, &name, context, None));
        match outcome {
            Ok(Removal::Done(seen)) => {
                let size = seen.size();
                let tally = self.report.tally(ObjectType::Commit);
                tally.total += 1;
                tally.add_pruned(size);
                context.control.freed(size);
                if let Some(observer) = context.observer {
                    observer(Gone::Object(object, &seen));
                }
                self.removed.push(commit);
                if wants_tombstone && !buried {
                    if let Err(error) = tombstone::write(&directory, &commit) {
                        let path = Path::new("objects").join(&path).with_extension(TOMBSTONE);
                        self.report.failures.push(Failure { path, error: error.into() });
                    }
                }
                true
            }
            Ok(Removal::Vanished | Removal::Replaced) => false,
            Err(error) => {
                if buried {
                    // It has not gone after all.
                    let _ = remove(&directory, &commit.file_name(TOMBSTONE), context, None);
                }
                self.stick(commit, &path, error);
                false
            }
        }
    }

    fn stick(&mut self, commit: Checksum, path: &str, error: impl Into<Cause>) {
        self.stuck.push(commit);
        self.report.failures.push(Failure { path: PathBuf::from("objects").join(path), error: error.into() });
    }

    /// Removes the partial marks of commits that are gone: those deleted in this run, and among `marked` those that
    /// an earlier run was interrupted at, which count as leftovers. To be called with the exclusive lock held, but for a
    /// dry run, which has deleted none.
    pub fn remove_partial_marks(&mut self, context: Context, marked: &HashSet<Checksum>) -> Result<()> {
        let repo = context.repo;
        let staging = match Staging::open(repo) {
            Err(Error::Io { source, .. }) if !context.dry_run => {
                let path = PathBuf::from("tmp");
                self.report.failures.push(Failure { path, error: source.into() });
                return Ok(());
            }
            other => other?,
        };
        let Some(state) = repo.part("state")? else { return Ok(()) };
        let removed: HashSet<_> = self.removed.iter().collect();
        for commit in orphaned_marks(repo, &staging, marked)? {
            let path = Path::new("state").join(partial_mark(&commit));
            match remove(&state, &*partial_mark(&commit), context, None) {
                Ok(Removal::Done(_)) if !removed.contains(&commit) => {
                    self.report.leftovers_pruned += 1;
                    if let Some(observer) = context.observer {
                        observer(Gone::Leftover(Item::Mark(path), Reason::Ownerless(commit)));
                    }
                }
                Ok(_) => {}
                Err(error) => self.report.failures.push(Failure { path, error: error.into() }),
            }
        }
        Ok(())
    }
}

/// Which of the commits `marked` as partial are neither there nor in a pull's staging directory, so that no pull is
/// about to complete them.
pub(super) fn orphaned_marks(
    repo: &Repo,
    staging: &Staging,
    marked: &HashSet<Checksum>,
) -> Result<Vec<Checksum>> {
    let mut orphaned = Vec::new();
    for commit in marked {
        let object = ObjectName::new(*commit, ObjectType::Commit);
        if !staging.has(object) && !repo.has(object)? {
            orphaned.push(*commit);
        }
    }
    orphaned.sort_unstable();
    Ok(orphaned)
}

/// Makes the deletion of commits durable, that of an earlier run, too: one that was killed may have left directories
/// of which the disk knows nothing yet. What was not changed takes no time. Needs no lock.
pub(crate) fn barrier(context: Context) -> Result<()> {
    context.control.may_wait();
    for number in 0..=u8::MAX {
        context.control.check()?;
        if let Some(directory) = context.repo.open_object_directory(number)? {
            directory.sync().map_err(|error| Error::io(context.repo.object_directory_path(number), error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
