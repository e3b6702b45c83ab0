//! The sweep through the object directories.
//!
//! Two passes keep parents before children: dirtrees, dirmetas and payload links in the first, files in the second.
//! Between slices directories are listed, each by one thread; what is held in memory is the garbage of the directories
//! at hand, never a table of all objects. Its candidates are put in [`Order`], and in a slice each chunk of them is
//! decided on and cleared by one thread. A slice ends at its deadline wherever it is: what is left of a chunk waits
//! for the next slice, and is decided on again then.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::caches;
use super::context::{Context, Gone};
use super::order::{is_plenty, Chunk, Gathered, Order};
use super::removal::{remove, Removal};
use super::verdict::{verdict, Verdict};
use crate::error::Result;
use crate::mark::live_set::LiveSet;
use crate::repo::directory::Directory;
use crate::repo::listing::in_chunks;
use crate::repo::object::{directory_name, Checksum, ObjectName, ObjectType};
use crate::repo::Repo;
use crate::report::{Cause, Failure, PruneReport};
use crate::workers::Crew;

/// One pass over all object directories.
pub(crate) struct Pass {
    lists: fn(ObjectType) -> bool,
    prunes: fn(ObjectType) -> bool,
    /// Whether this pass counts the objects it lists.
    counts: bool,
    order: Order,
    state: Mutex<State>,
}

struct State {
    /// Directories not yet opened, the last one first.
    unopened: Vec<u8>,
    /// What of the others is not yet put in order.
    gathered: Gathered,
    /// What is, but for what threads are at; the next one last.
    chunks: Vec<Chunk>,
    /// Where threads work alone.
    taken: Vec<u64>,
    /// Directories in which a kind of object was garbage that this pass leaves alone.
    for_later: BTreeSet<u8>,
    /// Commits that are not live, and of which flatpak keeps something.
    cached: Vec<Checksum>,
    /// Directories changed since the last slice.
    touched: BTreeSet<u8>,
    report: PruneReport,
}

/// What threads are at.
#[derive(Clone, Copy)]
enum Task {
    /// To list directories, until there are candidates enough for a while.
    Gather,
    /// To delete candidates, until then.
    Delete(Instant),
    /// To find out what would be deleted.
    Tell,
}

/// What a thread is to do next.
enum Next {
    List(u8),
    Clear(Chunk),
    /// Nothing, but for what others are at.
    Nothing,
}

impl State {
    fn next(&mut self, order: Order, task: Task) -> Next {
        let is_enough = self.unopened.is_empty() || order.is_enough(&self.gathered);
        if !self.gathered.is_empty() && is_enough {
            // Those that are there already come first.
            let gathered = order.chunks(std::mem::take(&mut self.gathered));
            self.chunks.splice(..0, gathered);
        }
        let may_clear = !matches!(task, Task::Gather);
        let is_free = |chunk: &Chunk| chunk.region.is_none_or(|region| !self.taken.contains(&region));
        if let Some(next) = self.chunks.iter().rposition(|chunk| may_clear && is_free(chunk)) {
            let chunk = self.chunks.remove(next);
            self.taken.extend(chunk.region);
            return Next::Clear(chunk);
        }
        let may_list = match task {
            Task::Gather => !is_plenty(&self.chunks),
            Task::Tell => self.chunks.is_empty(),
            Task::Delete(_) => false,
        };
        match self.unopened.pop_if(|_| may_list) {
            Some(number) => Next::List(number),
            None => Next::Nothing,
        }
    }

    /// Takes back what a thread was at.
    fn give_back(&mut self, chunk: Chunk) {
        self.taken.retain(|region| Some(*region) != chunk.region);
        if !chunk.candidates.is_empty() {
            self.chunks.push(chunk);
        }
    }
}

impl Pass {
    /// The pass over dirtrees, dirmetas and payload links of `repo`. It also counts all objects.
    pub fn over_trees(repo: &Repo) -> Self {
        let prunes = |kind| !matches!(kind, ObjectType::Commit) && !is_content(kind);
        Self::new(Order::of(repo.objects()), prunes, true, all_directories())
    }

    /// The pass over files, in directories where there are some to delete.
    pub fn over_files(repo: &Repo, directories: &BTreeSet<u8>) -> Self {
        let unopened = directories.iter().rev().copied().collect();
        Self::new(Order::of(repo.objects()), is_content, false, unopened)
    }

    /// The one pass of a dry run over commits only.
    pub fn over_commits() -> Self {
        Self { lists: |kind| kind == ObjectType::Commit, ..Self::over_all() }
    }

    /// The one pass of a dry run.
    pub fn over_all() -> Self {
        Self::new(Order::Directories, |_| true, true, all_directories())
    }

    fn new(order: Order, prunes: fn(ObjectType) -> bool, counts: bool, unopened: Vec<u8>) -> Self {
        let state = State {
            unopened,
            gathered: Gathered::default(),
            chunks: Vec::new(),
            taken: Vec::new(),
            for_later: BTreeSet::new(),
            cached: Vec::new(),
            touched: BTreeSet::new(),
            report: PruneReport::default(),
        };
        Self { lists: |_| true, prunes, counts, order, state: Mutex::new(state) }
    }

    /// How much is left to do, in directories and chunks.
    pub fn remaining(&self) -> usize {
        let state = self.lock();
        state.unopened.len() + usize::from(!state.gathered.is_empty()) + state.chunks.len()
    }

    /// Whether there is something to decide on.
    pub fn has_gathered(&self) -> bool {
        !self.lock().chunks.is_empty()
    }

    /// Lists directories until there are candidates enough for a while. Needs no lock: each is decided on again when
    /// its turn comes.
    pub fn gather(&self, context: Context, live: &LiveSet) -> Result<()> {
        // Once for each slice: threads would be started to find that out.
        if is_plenty(&self.lock().chunks) {
            return Ok(());
        }
        self.work(context, live, context.crew, Task::Gather)
    }

    /// Finds out what would be deleted, for a dry run.
    pub fn tell(&self, context: Context, live: &LiveSet) -> Result<()> {
        self.work(context, live, context.crew, Task::Tell)
    }

    /// Deletes candidates that were gathered, until `deadline`; returns the directories that were changed.
    pub fn run(&self, context: Context, live: &LiveSet, deadline: Instant) -> Result<Vec<u8>> {
        self.work(context, live, context.crew.sweepers(), Task::Delete(deadline))?;
        Ok(std::mem::take(&mut self.lock().touched).into_iter().collect())
    }

    fn work(&self, context: Context, live: &LiveSet, crew: Crew, task: Task) -> Result<()> {
        let results = crew.at_most(self.remaining()).run(|| Sweeper::new(self, context, live, task).run());
        results.into_iter().collect()
    }

    /// The commits met that are not live, and of which flatpak keeps something.
    pub fn take_cached(&self) -> Vec<Checksum> {
        std::mem::take(&mut self.lock().cached)
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

fn all_directories() -> Vec<u8> {
    (0..=u8::MAX).rev().collect()
}

fn is_content(kind: ObjectType) -> bool {
    matches!(kind, ObjectType::File | ObjectType::FileXattrs | ObjectType::FileXattrsLink)
}

/// One thread's part in a slice.
struct Sweeper<'a> {
    pass: &'a Pass,
    context: Context<'a>,
    live: &'a LiveSet,
    task: Task,
    /// Directories in which it deleted.
    touched: BTreeSet<u8>,
    report: PruneReport,
}

impl<'a> Sweeper<'a> {
    fn new(pass: &'a Pass, context: Context<'a>, live: &'a LiveSet, task: Task) -> Self {
        Self { pass, context, live, task, touched: BTreeSet::new(), report: PruneReport::default() }
    }

    fn run(mut self) -> Result<()> {
        let result = self.sweep();
        let mut state = self.pass.lock();
        state.report.merge(self.report);
        state.touched.append(&mut self.touched);
        result
    }

    fn sweep(&mut self) -> Result<()> {
        while !self.is_over() {
            self.context.control.check()?;
            // For the statement only, or the lock were held during the work.
            let next = self.pass.lock().next(self.pass.order, self.task);
            match next {
                Next::Clear(chunk) => self.clear(chunk)?,
                Next::List(number) => match self.list(number) {
                    // A dry run's figures are true, or there are none.
                    Err(error) if self.context.dry_run => return Err(error),
                    // One bad directory does not stop the rest; its objects stay.
                    Err(error) => {
                        self.fail(Path::new("objects").join(directory_name(number)), error);
                        self.context.control.advance(1);
                    }
                    Ok(()) => {}
                },
                Next::Nothing => return Ok(()),
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let is_time = match self.task {
            Task::Delete(deadline) => self.context.crew.pace.ends_slice(deadline),
            Task::Gather | Task::Tell => false,
        };
        is_time || self.context.is_exhausted()
    }

    /// Lists a directory, or takes what was planned: counts all and gathers the candidates.
    fn list(&mut self, number: u8) -> Result<()> {
        let Context { repo, plan, control, crew, .. } = self.context;
        let Some(directory) = repo.open_object_directory(number)? else {
            control.advance(1);
            return Ok(());
        };
        let (mut candidates, mut for_later, mut totals) = (Vec::new(), false, PruneReport::default());
        let mut cached = Vec::new();
        let shard = self.live.shard(number);
        let mut consider = |object: ObjectName, inode| {
            if !(self.pass.lists)(object.kind) {
                return;
            }
            totals.tally(object.kind).total += 1;
            if !shard.contains(object) {
                if (self.pass.prunes)(object.kind) {
                    candidates.push((inode, object));
                } else {
                    for_later |= is_content(object.kind);
                }
            }
        };
        if let Some(plan) = plan {
            // To ask for their inodes would be to read those from the disk.
            plan.candidates(number).for_each(|object| consider(object, 0));
        } else {
            let path = repo.object_directory_path(number);
            in_chunks(
                &directory,
                &path,
                crew.pace.chunk(),
                || crew.pace.read(),
                |entry| {
                    if let Some(object) = ObjectName::from_entry(number, entry.name, repo.config().mode) {
                        consider(object, entry.inode);
                    } else if let Some(commit) = caches::commit_of(number, entry.name) {
                        cached.push(commit);
                    }
                    Ok(ControlFlow::Continue(()))
                },
            )
            .map(drop)?;
        }
        if self.pass.counts {
            self.report.merge(totals);
        }
        cached.retain(|commit| !shard.contains(ObjectName::new(*commit, ObjectType::Commit)));
        let mut state = self.pass.lock();
        state.cached.append(&mut cached);
        if for_later {
            state.for_later.insert(number);
        }
        if candidates.is_empty() {
            control.advance(1);
        } else {
            state.gathered.add(number, directory, candidates);
        }
        Ok(())
    }

    /// Prunes a chunk's candidates until they, or the slice's time, are used up.
    fn clear(&mut self, mut chunk: Chunk) -> Result<()> {
        let Context { control, crew, .. } = self.context;
        let result = loop {
            if let Err(cancelled) = control.check().and_then(|()| crew.pace.read()) {
                break Err(cancelled);
            }
            // Unlinks may take long: the clock is looked at before each.
            let Some(object) = chunk.candidates.pop_if(|_| !self.is_over()) else {
                break Ok(());
            };
            let number = object.checksum.directory();
            // It was listed.
            let Some(directory) = chunk.directories.get(&number) else { continue };
            if self.prune(directory, object) {
                self.touched.insert(number);
                crew.pace.deleted(directory);
            }
        };
        if chunk.candidates.is_empty() {
            control.advance(chunk.weight);
        }
        self.pass.lock().give_back(chunk);
        result
    }

    /// Prunes one object, unless it became live since it was listed; true if it was deleted.
    fn prune(&mut self, directory: &Directory, object: ObjectName) -> bool {
        let Context { repo, control, dry_run, observer, plan, .. } = self.context;
        let expected = plan.and_then(|plan| plan.identity(object));
        let outcome = match verdict(repo, self.live, object) {
            Ok(Verdict::Prune) => {
                remove(directory, &object.file_name(repo.config().mode), self.context, expected)
            }
            Ok(Verdict::Keep) => return false,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(Removal::Done(seen)) => {
                let size = seen.size();
                let tally = self.report.tally(object.kind);
                tally.add_pruned(size);
                control.freed(size);
                if let Some(observer) = observer {
                    observer(Gone::Object(object, &seen));
                }
                if object.kind == ObjectType::Commit {
                    if dry_run {
                        self.report.pruned_commits.push(object.checksum.into());
                    }
                    caches::remove_with(directory, object.checksum, self.context, &mut self.report);
                }
                !dry_run
            }
            Ok(Removal::Vanished | Removal::Replaced) => false,
            Err(error) => {
                let path = object.loose_path(repo.config().mode);
                self.fail(PathBuf::from("objects").join(path), error);
                false
            }
        }
    }

    fn fail(&mut self, path: PathBuf, error: impl Into<Cause>) {
        self.report.failures.push(Failure { path, error: error.into() });
    }
}

#[cfg(test)]
mod tests;
