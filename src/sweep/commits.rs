//! Deleting commits, the first step of every sweep.
//!
//! The order matters after a crash. A commit's detached metadata goes first, then the commit; after a
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
    /// Commits that are gone and marked as partial, once they are gathered.
    marks: Option<Vec<Checksum>>,
    pub report: PruneReport,
}

impl Sweep {
    /// A sweep that considers `candidates`.
    pub fn new(candidates: Vec<Checksum>) -> Self {
        let (removed, stuck, report) = (Vec::new(), Vec::new(), PruneReport::default());
        Self { candidates, removed, stuck, marks: None, report }
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
        while !context.crew.pace.ends_slice(deadline) {
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

    /// Whether the partial marks to remove are known.
    pub fn has_gathered_marks(&self) -> bool {
        self.marks.is_some()
    }

    /// Whether they are removed.
    pub fn is_done_with_marks(&self) -> bool {
        self.marks.as_ref().is_some_and(Vec::is_empty)
    }

    /// Finds out which of the commits `marked` as partial are gone: those deleted in this run, and those that an earlier
    /// run was interrupted at. Needs no lock.
    pub fn gather_marks(&mut self, repo: &Repo, marked: &HashSet<Checksum>) -> Result<()> {
        let mut gone = Vec::new();
        for commit in marked {
            if !repo.has(ObjectName::new(*commit, ObjectType::Commit))? {
                gone.push(*commit);
            }
        }
        // The next one last.
        gone.sort_unstable_by(|one, other| other.cmp(one));
        self.marks = Some(gone);
        Ok(())
    }

    /// Removes the partial marks of commits that are gone until `deadline`, one at least; those that this run did not
    /// delete count as leftovers. To be called with the exclusive lock held, but for a dry run, which has deleted none.
    pub fn remove_partial_marks(&mut self, context: Context, deadline: Option<Instant>) -> Result<()> {
        if self.is_done_with_marks() {
            return Ok(());
        }
        let repo = context.repo;
        let staging = match Staging::open(repo) {
            Err(Error::Io { source, .. }) if !context.dry_run => {
                let path = PathBuf::from("tmp");
                self.report.failures.push(Failure { path, error: source.into() });
                self.marks = Some(Vec::new());
                return Ok(());
            }
            other => other?,
        };
        let Some(state) = repo.part("state")? else {
            self.marks = Some(Vec::new());
            return Ok(());
        };
        let removed: HashSet<_> = self.removed.iter().collect();
        while let Some(commit) = self.marks.as_mut().and_then(Vec::pop) {
            if is_orphaned(repo, &staging, commit)? {
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
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
        }
        Ok(())
    }
}

/// Which of the commits `marked` as partial are orphaned.
pub(super) fn orphaned_marks(
    repo: &Repo,
    staging: &Staging,
    marked: &HashSet<Checksum>,
) -> Result<Vec<Checksum>> {
    let mut orphaned = Vec::new();
    for commit in marked {
        if is_orphaned(repo, staging, *commit)? {
            orphaned.push(*commit);
        }
    }
    Ok(orphaned)
}

/// Whether a commit is neither there nor in a pull's staging directory, so that no pull is about to complete it.
fn is_orphaned(repo: &Repo, staging: &Staging, commit: Checksum) -> Result<bool> {
    let object = ObjectName::new(commit, ObjectType::Commit);
    Ok(!staging.has(object) && !repo.has(object)?)
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
