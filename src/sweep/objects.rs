//! The sweep through the object directories.
//!
//! Two passes keep parents before children: dirtrees, dirmetas and payload links in the first, files in the second.
//! Each directory is listed, decided on and cleared by one thread; what is held in memory is the garbage of the
//! directories at hand, never a table of all objects. A slice ends at its deadline wherever it is: the directory's
//! remaining candidates wait for the next slice, and are decided on again then.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::verdict::{verdict, Verdict};
use super::{remove, Removal, Seen};
use crate::control::Control;
use crate::error::Result;
use crate::mark::census::DIRECTORIES;
use crate::mark::live_set::LiveSet;
use crate::plan::Plan;
use crate::pruned::{Item, Reason};
use crate::repo::listing::each_entry;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::Repo;
use crate::report::{Failure, PruneReport};
use crate::workers::Crew;

/// What goes.
pub(crate) enum Gone<'a> {
    Object(ObjectName, &'a Seen),
    Leftover(Item, Reason),
}

/// Receives everything that is pruned.
pub(crate) type Notice<'a> = &'a (dyn Fn(Gone) + Sync);

/// What stays the same during a sweep.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub repo: &'a Repo,
    pub control: &'a Control,
    pub crew: Crew<'a>,
    pub dry_run: bool,
    /// Stop after this many bytes were freed.
    pub max_freed: Option<u64>,
    /// Static deltas that lead to this commit go in any case.
    pub deltas_of: Option<Checksum>,
    pub observer: Option<Notice<'a>>,
    /// Where candidates come from, if not from listing directories.
    pub plan: Option<&'a Plan>,
    /// Whether a file that is marked as immutable goes all the same.
    pub unprotects: bool,
}

impl Context<'_> {
    /// Whether as much was freed as was asked for.
    pub fn is_exhausted(&self) -> bool {
        self.max_freed.is_some_and(|limit| self.control.snapshot().bytes_freed >= limit)
    }
}

/// One pass over all object directories.
pub(crate) struct Pass {
    lists: fn(ObjectType) -> bool,
    prunes: fn(ObjectType) -> bool,
    /// Whether this pass counts the objects it lists.
    counts: bool,
    state: Mutex<State>,
}

struct State {
    /// Directories not yet opened, the last one first.
    unopened: Vec<u8>,
    /// Directories that a slice's end interrupted.
    begun: Vec<Directory>,
    /// Directories in which a kind of object was garbage that this pass leaves alone.
    for_later: BTreeSet<u8>,
    /// Directories changed since the last slice.
    touched: BTreeSet<u8>,
    report: PruneReport,
}

/// A directory while it is swept.
struct Directory {
    number: u8,
    descriptor: OwnedFd,
    /// The next one last.
    candidates: Vec<ObjectName>,
}

impl Pass {
    /// The pass over dirtrees, dirmetas and payload links. It also counts all objects.
    pub fn over_trees() -> Self {
        let all = (0..DIRECTORIES).filter_map(|number| u8::try_from(number).ok()).rev().collect();
        Self::new(|kind| !matches!(kind, ObjectType::Commit) && !is_content(kind), true, all)
    }

    /// The pass over files, in directories where there are some to delete.
    pub fn over_files(directories: &BTreeSet<u8>) -> Self {
        Self::new(is_content, false, directories.iter().rev().copied().collect())
    }

    /// The one pass of a dry run over commits only.
    pub fn over_commits() -> Self {
        Self { lists: |kind| kind == ObjectType::Commit, ..Self::over_all() }
    }

    /// The one pass of a dry run.
    pub fn over_all() -> Self {
        Self { prunes: |_| true, ..Self::over_trees() }
    }

    fn new(prunes: fn(ObjectType) -> bool, counts: bool, unopened: Vec<u8>) -> Self {
        let state = State {
            unopened,
            begun: Vec::new(),
            for_later: BTreeSet::new(),
            touched: BTreeSet::new(),
            report: PruneReport::default(),
        };
        Self { lists: |_| true, prunes, counts, state: Mutex::new(state) }
    }

    /// Number of directories still to be gone through.
    pub fn remaining(&self) -> usize {
        let state = self.lock();
        state.unopened.len() + state.begun.len()
    }

    /// Works until `deadline`, or the end of the pass; returns the directories that were changed.
    pub fn run(&self, context: Context, live: &LiveSet, deadline: Option<Instant>) -> Result<Vec<u8>> {
        // Without a deadline nothing is deleted.
        let crew = if deadline.is_some() { context.crew.pace.sweepers() } else { context.crew };
        let results = crew
            .at_most(self.remaining())
            .run(|| Sweeper { pass: self, context, live, deadline, report: PruneReport::default() }.run());
        results.into_iter().collect::<Result<Vec<()>>>()?;
        Ok(std::mem::take(&mut self.lock().touched).into_iter().collect())
    }

    /// What the pass did so far, and the directories left to a later pass.
    pub fn finish(self) -> (PruneReport, BTreeSet<u8>) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        (state.report, state.for_later)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_content(kind: ObjectType) -> bool {
    matches!(kind, ObjectType::File | ObjectType::FileXattrs | ObjectType::FileXattrsLink)
}

/// One thread's part in a slice.
struct Sweeper<'a> {
    pass: &'a Pass,
    context: Context<'a>,
    live: &'a LiveSet,
    deadline: Option<Instant>,
    report: PruneReport,
}

impl Sweeper<'_> {
    fn run(mut self) -> Result<()> {
        let result = self.sweep();
        self.pass.lock().report.merge(self.report);
        result
    }

    fn sweep(&mut self) -> Result<()> {
        while !self.is_over() {
            let next = {
                let mut state = self.pass.lock();
                match state.begun.pop() {
                    Some(begun) => Some(begun),
                    None => match state.unopened.pop() {
                        Some(number) => {
                            drop(state);
                            match self.open(number) {
                                Ok(opened) => opened,
                                // A dry run's figures are true, or there are none.
                                Err(error) if self.context.dry_run => return Err(error),
                                Err(error) => {
                                    // One bad directory does not stop the rest; its objects stay.
                                    self.fail(self.context.repo.object_directory_path(number), &error);
                                    None
                                }
                            }
                        }
                        None => return Ok(()),
                    },
                }
            };
            self.context.control.check()?;
            match next {
                Some(directory) => self.clear(directory)?,
                None => self.context.control.advance(1),
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        // Without a deadline nothing is deleted.
        self.context.is_exhausted()
            || self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline || self.context.crew.pace.wants_rest())
    }

    /// Lists a directory, or takes what was planned: counts all and picks the candidates.
    fn open(&mut self, number: u8) -> Result<Option<Directory>> {
        let Context { repo, plan, .. } = self.context;
        let Some(descriptor) = repo.open_object_directory(number)? else { return Ok(None) };
        let (mut candidates, mut for_later, mut totals) = (Vec::new(), false, PruneReport::default());
        let shard = self.live.shard(number);
        let mut consider = |object: ObjectName| {
            if !(self.pass.lists)(object.kind) {
                return;
            }
            totals.tally(object.kind).total += 1;
            if !shard.contains(object) {
                if (self.pass.prunes)(object.kind) {
                    candidates.push(object);
                } else {
                    for_later |= is_content(object.kind);
                }
            }
        };
        if let Some(plan) = plan {
            plan.candidates(number).for_each(consider);
        } else {
            each_entry(&descriptor, &repo.object_directory_path(number), |entry| {
                ObjectName::from_entry(number, entry.name, repo.config().mode)
                    .into_iter()
                    .for_each(&mut consider);
                Ok(())
            })?;
        }
        candidates.reverse();
        if self.pass.counts {
            self.report.merge(totals);
        }
        if for_later {
            self.pass.lock().for_later.insert(number);
        }
        Ok(Some(Directory { number, descriptor, candidates }))
    }

    /// Prunes a directory's candidates until they, or the slice's time, are used up.
    fn clear(&mut self, mut directory: Directory) -> Result<()> {
        let mut changed = false;
        let result = loop {
            if let Err(cancelled) = self.context.control.check() {
                break Err(cancelled);
            }
            if self.deadline.is_none() {
                self.context.crew.pace.read()?;
            }
            // Unlinks may take long: the clock is looked at before each.
            let Some(object) = directory.candidates.pop_if(|_| !self.is_over()) else {
                break Ok(());
            };
            if self.prune(&directory.descriptor, object) {
                changed = true;
                self.context.crew.pace.deleted(&directory.descriptor);
            }
        };
        let mut state = self.pass.lock();
        if changed {
            state.touched.insert(directory.number);
        }
        if directory.candidates.is_empty() {
            self.context.control.advance(1);
        } else {
            state.begun.push(directory);
        }
        result
    }

    /// Prunes one object, unless it became live since it was listed; true if it was deleted.
    fn prune(&mut self, descriptor: &OwnedFd, object: ObjectName) -> bool {
        let Context { repo, control, dry_run, observer, plan, .. } = self.context;
        let expected = plan.and_then(|plan| plan.identity(object));
        let path = object.loose_path(repo.config().mode);
        let outcome = match verdict(repo, self.live, object) {
            // The path begins with the directory's name and a slash.
            Ok(Verdict::Prune) => remove(descriptor, &path[3..], self.context, expected),
            Ok(Verdict::Keep) => return false,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(Removal::Done(seen)) => {
                let size = seen.size();
                let tally = self.report.tally(object.kind);
                tally.pruned += 1;
                tally.bytes_freed += size;
                control.freed(size);
                if let Some(observer) = observer {
                    observer(Gone::Object(object, &seen));
                }
                !dry_run
            }
            Ok(Removal::Vanished | Removal::Replaced) => false,
            Err(error) => {
                self.fail(PathBuf::from("objects").join(path), &error);
                false
            }
        }
    }

    fn fail(&mut self, path: PathBuf, error: &dyn std::fmt::Display) {
        self.report.failures.push(Failure { path, error: error.to_string() });
    }
}
