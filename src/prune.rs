//! Pruning a repository: the one place that knows the order of phases and locks.
//!
//! 1. Without a lock: find out what is live, and before each slice read what appeared since and list candidates.
//! 2. In short slices under the exclusive lock: look at what changed since and mark that too; stop if anything live
//!    is missing; then delete until the slice is over. Commits go first, then, after a durability barrier that each
//!    run has which deletes any, dirtrees and dirmetas, then files; static deltas, cached summaries and other leftovers last. A sysroot's lock is taken before the
//!    repository's and released after it.
//!
//! If others deleted what was followed meanwhile, all begins anew. With a lock held nothing sleeps or waits.
//!
//! A dry run does the first step, has it confirmed under the shared lock, decides with the same function as a real
//! one, and deletes nothing.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::control::{Control, Phase};
use crate::effort::Effort;
use crate::error::{Error, Result};
use crate::mark::census::{Census, DIRECTORIES};
use crate::mark::confirm::{confirm_shared, missing, GLANCE};
use crate::mark::cut::cut_histories;
use crate::mark::retention::Retention;
use crate::mark::{Alone, Behind, Confirmation, Mark, RootSource};
use crate::pace::Pace;
use crate::plan::Plan;
use crate::pruned::{Item, Observer, Pruned};
use crate::repo::config::LockTimeout;
use crate::repo::lock::{poll, Attempt, Held, Lock, LockKind};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::refs::{self, list};
use crate::repo::variant;
use crate::repo::waiters::Waiters;
use crate::repo::Repo;
use crate::report::{PruneReport, PrunedCommit};
use crate::sweep::context::{Context, Gone, Notice};
use crate::sweep::links::Links;
use crate::sweep::objects::Pass;
pub use crate::sweep::Limits;
use crate::sweep::{caches, commits, leftovers, uncollected};
use crate::workers::{contain_panic, Crew};

/// How often in a row the lock is given back for that. Then all is read under it, or others who write without a pause
/// could keep us from deleting.
const GIVEN_BACK: u32 = 8;

/// A plan to delete by.
#[derive(Clone, Copy)]
pub struct PlanUse<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Refuse it, before anything is deleted, if it no longer covers all that is to go.
    pub must_cover: bool,
}

/// What to prune, and how.
#[derive(Clone, Copy)]
pub struct PruneOptions<'a> {
    /// What to keep.
    pub retention: &'a Retention,
    /// Only find out what would be deleted.
    pub dry_run: bool,
    /// How to go about it.
    pub effort: Effort,
    /// When to stop. A dry run, which has no order to stop in, only reports that a real one would.
    pub limits: Limits,
    /// Remove all static deltas that lead to this commit, even if it stays.
    pub deltas_of: Option<Checksum>,
    /// Told everything that is pruned, or would be.
    pub observer: Option<Observer<'a>>,
    /// Also remove what interrupted transactions left in `tmp`, last of all.
    pub stale_tmp: bool,
    /// Also remove what libostree never deletes: copies that no checkout uses, detached metadata without its commit.
    pub leftovers: bool,
    /// Delete by a plan instead of crawling. What to keep is as it was when the plan was made.
    pub plan: Option<PlanUse<'a>>,
}

/// The sysroot around a repository, if there is one.
pub(crate) trait Surroundings: RootSource {
    /// Tries to take the sysroot's lock: the path of the lock file if somebody else holds it.
    fn try_lock(&mut self) -> Result<Option<PathBuf>>;
    /// Releases it.
    fn unlock(&mut self);
    /// Whether garbage goes even if it is marked as immutable.
    fn unprotects(&self) -> bool;
    /// What a dry run has found to go before.
    fn links(&self) -> Arc<Links> {
        Arc::default()
    }
}

impl Surroundings for Alone {
    fn try_lock(&mut self) -> Result<Option<PathBuf>> {
        Ok(None)
    }
    fn unlock(&mut self) {}
    fn unprotects(&self) -> bool {
        false
    }
}

/// Prunes `repo`, as `ostree prune` does.
///
/// # Locking
/// None while crawling, then the exclusive lock in slices. A dry run takes the shared lock for a moment.
///
/// # Cancellation
/// [`Error::Cancelled`] with a report of what was done. Any other error after something was deleted is an
/// [`Error::Stopped`], with one, too.
pub fn prune(repo: &Repo, options: &PruneOptions, control: &Control) -> Result<PruneReport> {
    ended(prune_within(repo, &mut Alone, options, control), control)
}

/// Ends the progress of a run; one that was stopped stays in the phase that it was in.
pub(crate) fn ended(result: Result<PruneReport>, control: &Control) -> Result<PruneReport> {
    if matches!(&result, Ok(report) if report.unfinished.is_none()) {
        control.enter(Phase::Done, 0);
    }
    result
}

/// Gets a repository ready for a prune that deletes `commit`: from now on deleted commits leave tombstones. For a dry run
/// nothing is changed.
///
/// Fails, before anything is changed, if the commit is not there or a ref leads to it.
pub fn announce_deletion(
    repo: Repo,
    retention: &Retention,
    dry_run: bool,
    control: &Control,
) -> Result<Repo> {
    let Some(commit) = retention.deleted else { return Ok(repo) };
    retention.check_deleted(&list(&repo, control)?)?;
    let object = ObjectName::new(commit, ObjectType::Commit);
    if !repo.has(object)? {
        return Err(Error::unknown(commit, format!("Deleting object {object}: No such file or directory")));
    }
    if dry_run {
        return Ok(repo);
    }
    repo.with_tombstones()
}

/// As [`prune`], for a repository inside of a sysroot; its progress does not end with it.
pub(crate) fn prune_within(
    repo: &Repo,
    surroundings: &mut dyn Surroundings,
    options: &PruneOptions,
    control: &Control,
) -> Result<PruneReport> {
    let start = Instant::now();
    let PruneOptions { retention, dry_run, effort, limits, deltas_of, observer, plan, stale_tmp, leftovers } =
        *options;
    if let Some(PlanUse { plan, .. }) = plan {
        plan.check_repo(repo)?;
    }
    if let Some(report) = needless(repo, options, control) {
        return Ok(report);
    }
    // Before it is deleted, and what is behind it can no longer be found.
    let cut =
        retention.deleted.map_or_else(|| Ok(Vec::new()), |commit| cut_histories(repo, commit, control))?;
    let timeout = effort.lock_timeout;
    let lock = if dry_run { repo.lock_for_reading(timeout) } else { repo.lock(timeout)? };
    let pace = Pace::new(&effort, repo.objects(), control);
    let crew = Crew::of(&pace);
    let (unprotects, links) = (surroundings.unprotects(), surroundings.links());
    let behind = OnceLock::new();
    let notify = |gone: Gone| {
        let Some(observer) = observer else { return };
        observer(match gone {
            Gone::Object(object, _) => {
                let reason = behind.get_or_init(Behind::default).reason(object);
                Pruned { item: Item::Object(object), reason }
            }
            Gone::Leftover(item, reason) => Pruned { item, reason },
        });
    };
    let context = Context {
        repo,
        control,
        crew,
        dry_run,
        limits,
        deltas_of,
        observer: observer.is_some().then_some(&notify as Notice),
        plan: plan.map(|plan| plan.plan),
        unprotects,
        links: &links,
    };
    let mut report = PruneReport { dry_run, by_plan: plan.is_some(), ..PruneReport::default() };
    let mut outdated_since = None;
    // What an earlier look of a dry run counted.
    let mut counted_twice = 0;
    let freed_before = control.disk_bytes_freed();
    let result = loop {
        if dry_run {
            counted_twice = control.disk_bytes_freed() - freed_before;
        }
        let mut run = Run {
            context,
            commit_only: plan.map_or(retention, |plan| plan.plan.retention()).commit_only,
            must_cover: plan.is_some_and(|plan| plan.must_cover),
            leftovers,
            surroundings: &mut *surroundings,
            lock: &lock,
            slice: effort.slice(),
            mark: match plan {
                Some(PlanUse { plan, .. }) => Mark::resume(repo, plan, crew, control)?,
                None => Mark::new(repo, retention, crew, control),
            },
            given_back: 0,
            behind: &behind,
            durable: false,
            cached: Vec::new(),
            summaries: leftovers::Summaries::default(),
            report: PruneReport { dry_run, by_plan: plan.is_some(), ..PruneReport::default() },
        };
        let result = contain_panic(|| {
            leftovers::refuse_symlinks(context)?;
            if dry_run {
                run.tell()
            } else {
                run.sweep()
            }
        });
        report = if dry_run { run.report } else { report.followed_by(run.report) };
        note_findings(&run.mark, &mut report);
        match result {
            Ok(Outcome::Done) => break Ok(()),
            Ok(Outcome::Outdated) => {}
            Err(error) => break Err(error),
        }
        let waited = outdated_since.get_or_insert_with(Instant::now).elapsed();
        if matches!(lock.timeout(), LockTimeout::After(limit) if waited > limit) {
            let path = lock.path().to_owned();
            break Err(Error::LockTimeout { path, waited_s: waited.as_secs_f64() });
        }
    };
    let result = match result {
        Ok(()) if stale_tmp => stale_tmp::remove_stale(repo, surroundings, options, control, &mut report),
        other => other,
    };
    if dry_run {
        let foretold = limits.foretell(repo, report.bytes_freed()).map(Into::into);
        report.unfinished = report.unfinished.or(foretold);
    }
    report.warnings.extend(cut);
    report.locks = control.lock_times();
    report.disk_bytes_freed = control.disk_bytes_freed() - counted_twice;
    report.duration = start.elapsed();
    finished(result, report)
}

/// The report of a run whose limits are reached before it begins; None if it has to begin.
fn needless(repo: &Repo, options: &PruneOptions, control: &Control) -> Option<PruneReport> {
    let reason = if options.dry_run { None } else { options.limits.reached(repo, control) };
    reason.map(|reason| PruneReport {
        by_plan: options.plan.is_some(),
        unfinished: Some(reason.into()),
        locks: control.lock_times(),
        disk_bytes_freed: control.disk_bytes_freed(),
        ..PruneReport::default()
    })
}

/// What the caller gets of a run's end and its report.
fn finished(result: Result<()>, mut report: PruneReport) -> Result<PruneReport> {
    match result {
        Ok(()) => Ok(report),
        Err(Error::OutOfTime) => {
            report.unfinished = Some(Error::OutOfTime.to_string());
            Ok(report)
        }
        Err(error) => Err(error.after(report)),
    }
}

/// Notes what is odd about the repository, and what is left on purpose.
fn note_findings(mark: &Mark, report: &mut PruneReport) {
    report.warnings = mark.warnings().to_vec();
    report.unfinished = report.unfinished.take().or(mark.held_back().map(ToOwned::to_owned));
    report.dangling_refs.clear();
    for reference in mark.dangling() {
        let (name, commit, ways_out) = (reference.spec(), reference.target, refs::ways_out(&reference.path));
        report.warnings.push(format!("{name}: its commit {commit} is missing; {ways_out}"));
        report.dangling_refs.push((name, commit));
    }
}

/// Takes the sysroot's lock and the repository's. The caller releases them in the opposite order.
///
/// Never waits for one with the other in hand: its holder may be waiting for ours, and processes that want only ours
/// should not wait for that holder.
pub(crate) fn lock_both<'a>(
    surroundings: &mut dyn Surroundings,
    lock: &'a Lock,
    kind: LockKind,
    control: &'a Control,
) -> Result<Held<'a>> {
    poll(lock.timeout(), control, || {
        if let Some(busy) = surroundings.try_lock()? {
            return Ok(Attempt::Busy(busy));
        }
        let attempt = lock.try_acquire(kind, control);
        if !matches!(attempt, Ok(Attempt::Acquired(_))) {
            surroundings.unlock();
        }
        attempt
    })
}

#[allow(clippy::struct_excessive_bools)] // What the caller asked for, each by itself.
struct Run<'a> {
    context: Context<'a>,
    commit_only: bool,
    must_cover: bool,
    /// Whether what libostree never deletes goes, too.
    leftovers: bool,
    surroundings: &'a mut dyn Surroundings,
    lock: &'a Lock,
    slice: Duration,
    mark: Mark<'a>,
    /// How often in a row the lock was given back with nothing done.
    given_back: u32,
    /// For callers that pass an observer.
    behind: &'a OnceLock<Behind>,
    /// Whether it had its barrier.
    durable: bool,
    /// Commits that were not live, and of which flatpak keeps something.
    cached: Vec<Checksum>,
    /// Cached summaries to remove.
    summaries: leftovers::Summaries,
    report: PruneReport,
}

/// How a run ended.
enum Outcome {
    Done,
    /// Others deleted what was followed: it has to begin anew.
    Outdated,
}

/// What a real run is at.
enum Stage {
    Commits(Option<commits::Sweep>),
    /// After the barrier between commits and what they reach.
    Marks(commits::Sweep),
    Trees(Pass),
    Files(Pass),
    Deltas(Option<leftovers::Deltas>),
    Summaries,
    Uncollected(Option<uncollected::Sweep>),
    Done,
}

impl Run<'_> {
    /// A dry run.
    fn tell(&mut self) -> Result<Outcome> {
        let control = self.context.control;
        self.mark.look_once(self.surroundings)?;
        self.check_cover()?;
        if !confirm_shared(&mut self.mark, self.surroundings, self.lock, control)? {
            return Ok(Outcome::Outdated);
        }
        self.find_reasons()?;

        control.enter(Phase::Sweep, DIRECTORIES as u64);
        let pass = if self.commit_only { Pass::over_commits() } else { Pass::over_all() };
        let result = pass.tell(self.context, self.mark.live());
        if !self.commit_only {
            self.cached = pass.take_cached();
        }
        self.report.merge(pass.finish().0);
        result?;
        self.describe_commits()?;
        caches::remove_orphans(&mut self.cached, self.context, self.mark.live(), &mut self.report, None)?;
        let mut deltas = leftovers::Deltas::list(self.context, &mut self.report)?;
        deltas.run(self.context, self.mark.live(), &mut self.report, None)?;
        leftovers::Summaries::list(self.context, &mut self.report)?.run(
            self.context,
            &mut self.report,
            None,
        )?;
        let mut marks = commits::Sweep::new(Vec::new());
        marks.gather_marks(self.context.repo, self.mark.partial())?;
        marks.remove_partial_marks(self.context, None)?;
        self.report.merge(marks.report);
        if self.leftovers {
            let mut uncollected = uncollected::Sweep::list(self.context.repo, control)?;
            uncollected.run(self.context, &mut self.report, None)?;
        }
        Ok(Outcome::Done)
    }

    /// Adds what people want to know of the commits that go. What can't be read of one is left out.
    fn describe_commits(&mut self) -> Result<()> {
        let Context { repo, control, .. } = self.context;
        let commits = &mut self.report.pruned_commits;
        if commits.is_empty() {
            return Ok(());
        }
        let found;
        let behind = if let Some(behind) = self.behind.get() {
            behind
        } else {
            found = self.mark.behind()?;
            &found
        };
        let mut buffer = Vec::new();
        for PrunedCommit { commit, name, version, timestamp } in commits.iter_mut() {
            control.check()?;
            *name = behind.name(*commit).map(|name| refs::spec(Path::new(name)));
            let object = ObjectName::new(*commit, ObjectType::Commit);
            if repo.read_metadata(object, &mut buffer).unwrap_or_default() {
                *version = variant::version(&buffer).unwrap_or_default();
                *timestamp = variant::commit(&buffer).ok().map(|read| read.timestamp);
            }
        }
        commits.sort_unstable_by(|one, other| {
            let key = |each: &PrunedCommit| (Reverse(each.timestamp), each.commit);
            one.name.cmp(&other.name).then_with(|| key(one).cmp(&key(other)))
        });
        Ok(())
    }

    /// A real run.
    fn sweep(&mut self) -> Result<Outcome> {
        let mut waiters = Waiters::watch(self.lock.path());
        self.mark.look_first(self.surroundings)?;
        self.find_reasons()?;
        self.check_cover()?;
        // Each directory for its trees and for its files, of which it may have none to delete.
        let steps = if self.commit_only { 0 } else { 2 * DIRECTORIES as u64 };
        self.context.control.enter(Phase::Sweep, steps);
        let mut stage = Stage::Commits(None);
        let result = self.sweep_in_slices(&mut stage, &mut waiters);
        // What an interrupted stage has done counts, too.
        match stage {
            Stage::Commits(Some(sweep)) | Stage::Marks(sweep) => {
                self.report.merge(sweep.report);
            }
            Stage::Trees(pass) | Stage::Files(pass) => self.report.merge(pass.finish().0),
            Stage::Commits(None)
            | Stage::Deltas(_)
            | Stage::Summaries
            | Stage::Uncollected(_)
            | Stage::Done => {}
        }
        result
    }

    fn sweep_in_slices(&mut self, stage: &mut Stage, waiters: &mut Waiters) -> Result<Outcome> {
        while !matches!(stage, Stage::Done) {
            self.rest()?;
            self.mark.look_ahead(self.surroundings)?;
            self.prepare(stage)?;
            waiters.give_way(self.context.control)?;
            match self.slice(stage)? {
                Confirmation::Confirmed => self.given_back = 0,
                Confirmation::MoreToRead => self.given_back += 1,
                Confirmation::Outdated => return Ok(Outcome::Outdated),
                Confirmation::Missing(object) => return Err(missing(object)),
            }
        }
        Ok(Outcome::Done)
    }

    /// Does what the next slice needs and what takes no lock: the barrier, and listing what is to be decided on.
    fn prepare(&mut self, stage: &mut Stage) -> Result<()> {
        let context = self.context;
        loop {
            match stage {
                Stage::Commits(sweep @ None) => {
                    *sweep = Some(commits::Sweep::new(self.mark.garbage_commits()));
                }
                Stage::Marks(sweep) if !sweep.has_gathered_marks() => {
                    sweep.gather_marks(context.repo, self.mark.partial())?;
                    if !sweep.removed().is_empty() || !sweep.is_done_with_marks() {
                        self.pass_barrier()?;
                    }
                    self.mark.keep(&sweep.stuck);
                    // Nothing else is counted before what is live was confirmed once.
                    return Ok(());
                }
                Stage::Trees(pass) | Stage::Files(pass) => {
                    pass.gather(context, self.mark.live())?;
                    if pass.has_gathered() {
                        self.pass_barrier()?;
                    }
                }
                Stage::Deltas(deltas @ None) => {
                    *deltas = Some(leftovers::Deltas::list(context, &mut self.report)?);
                    self.summaries = leftovers::Summaries::list(context, &mut self.report)?;
                }
                Stage::Uncollected(uncollected @ None) => {
                    *uncollected = Some(uncollected::Sweep::list(context.repo, context.control)?);
                }
                _ => return Ok(()),
            }
            self.advance(stage);
            if !self.needs_preparation(stage) {
                return Ok(());
            }
        }
    }

    /// Whether there is something to be done without a lock before the next slice.
    fn needs_preparation(&self, stage: &Stage) -> bool {
        match stage {
            Stage::Commits(None) | Stage::Deltas(None) | Stage::Uncollected(None) => true,
            Stage::Marks(sweep) => !sweep.has_gathered_marks(),
            Stage::Trees(pass) | Stage::Files(pass) => !pass.has_gathered() && !self.context.is_exhausted(),
            _ => false,
        }
    }

    /// Has all deleted commits gone for good, before anything that they reached is deleted. They may be another run's:
    /// one that was killed, of which the disk knows nothing yet.
    fn pass_barrier(&mut self) -> Result<()> {
        if !self.durable {
            commits::barrier(self.context)?;
            self.durable = true;
        }
        Ok(())
    }

    fn rest(&self) -> Result<()> {
        self.context.crew.pace.rest(self.context.repo.objects())
    }

    fn find_reasons(&self) -> Result<()> {
        if self.context.observer.is_some() {
            // Empty until now.
            let _ = self.behind.set(self.mark.behind()?);
        }
        Ok(())
    }

    /// Takes note if a plan does not cover all that is to go, or refuses it then.
    fn check_cover(&mut self) -> Result<()> {
        match self.mark.uncovered() {
            Some(reason) if self.must_cover => Err(Error::StalePlan(reason.to_owned())),
            reason => {
                self.report.unfinished = reason.map(ToOwned::to_owned);
                Ok(())
            }
        }
    }

    /// Takes the locks, looks at what changed, deletes for a while if all is as it was marked, and releases the locks.
    fn slice(&mut self, stage: &mut Stage) -> Result<Confirmation> {
        let exclusive = lock_both(self.surroundings, self.lock, LockKind::Exclusive, self.context.control)?;
        let result = self.work(stage);
        drop(exclusive);
        self.surroundings.unlock();
        result
    }

    fn work(&mut self, stage: &mut Stage) -> Result<Confirmation> {
        let begin = Instant::now();
        let glance = (self.given_back < GIVEN_BACK).then(|| begin + GLANCE.max(self.slice / 2));
        match self.mark.confirm(self.surroundings, glance)? {
            Confirmation::Confirmed => {}
            other => return Ok(other),
        }
        // Where looking takes long, as over a network, work as long again, or there were no progress.
        let now = Instant::now();
        let deadline = (begin + self.slice.saturating_sub(Census::time_to_settle())).max(now + (now - begin));
        let mut touched = Vec::new();
        let is_over = || self.context.crew.pace.ends_slice(deadline);
        while !matches!(stage, Stage::Done) && !self.needs_preparation(stage) && !is_over() {
            self.step(stage, deadline, &mut touched)?;
        }
        if self.lock.excludes_writers() {
            self.mark.settle(&touched)?;
        }
        Ok(Confirmation::Confirmed)
    }

    /// Works on one stage, until its end or the deadline.
    fn step(&mut self, stage: &mut Stage, deadline: Instant, touched: &mut Vec<u8>) -> Result<()> {
        let context = self.context;
        match stage {
            Stage::Commits(Some(sweep)) => {
                let before = sweep.removed().len();
                let result = sweep.run(context, self.mark.live(), deadline);
                self.mark.forget(&sweep.removed()[before..]);
                touched.extend(result?);
            }
            Stage::Marks(sweep) => sweep.remove_partial_marks(context, Some(deadline))?,
            Stage::Trees(pass) | Stage::Files(pass) => {
                touched.extend(pass.run(context, self.mark.live(), deadline)?);
            }
            Stage::Deltas(deltas) => {
                let Some(deltas) = deltas else { return Ok(()) };
                let (live, later) = (self.mark.live(), Some(deadline));
                deltas.run(context, live, &mut self.report, later)?;
                caches::remove_orphans(&mut self.cached, context, live, &mut self.report, later)?;
            }
            Stage::Summaries => self.summaries.run(context, &mut self.report, Some(deadline))?,
            Stage::Uncollected(uncollected) => {
                let Some(uncollected) = uncollected else { return Ok(()) };
                uncollected.run(context, &mut self.report, Some(deadline))?;
            }
            Stage::Commits(None) | Stage::Done => {}
        }
        self.advance(stage);
        Ok(())
    }

    /// Goes on to the next stage if this one is complete.
    fn advance(&mut self, stage: &mut Stage) {
        let control = self.context.control;
        *stage = match std::mem::replace(stage, Stage::Done) {
            Stage::Commits(Some(sweep)) if sweep.is_done() => Stage::Marks(sweep),
            Stage::Marks(sweep) if !sweep.is_done_with_marks() => Stage::Marks(sweep),
            Stage::Marks(sweep) if self.commit_only || self.context.is_exhausted() => {
                if let Some(reason) = self.context.exhausted() {
                    // There may be garbage commits left, which need what they reach.
                    self.report.unfinished = Some(reason.into());
                }
                self.report.merge(sweep.report);
                // Those deleted are counted already.
                self.report.tally(ObjectType::Commit).total += self.mark.commits_left() as u64;
                Stage::Deltas(None)
            }
            Stage::Marks(sweep) => {
                self.report.merge(sweep.report);
                Stage::Trees(Pass::over_trees(self.context.repo))
            }
            Stage::Trees(pass) | Stage::Files(pass) if self.context.is_exhausted() => {
                self.report.merge(pass.finish().0);
                self.report.unfinished = self.context.exhausted().map(Into::into);
                Stage::Deltas(None)
            }
            Stage::Trees(pass) if pass.remaining() == 0 => {
                self.cached = pass.take_cached();
                let (report, directories) = pass.finish();
                self.report.merge(report);
                control.advance(DIRECTORIES.saturating_sub(directories.len()) as u64);
                Stage::Files(Pass::over_files(self.context.repo, &directories))
            }
            Stage::Files(pass) if pass.remaining() == 0 => {
                self.report.merge(pass.finish().0);
                Stage::Deltas(None)
            }
            Stage::Deltas(Some(deltas)) if deltas.is_done() && self.cached.is_empty() => Stage::Summaries,
            Stage::Summaries if self.summaries.is_done() => {
                if self.leftovers {
                    Stage::Uncollected(None)
                } else {
                    Stage::Done
                }
            }
            Stage::Uncollected(Some(uncollected)) if uncollected.is_done() => Stage::Done,
            unfinished => unfinished,
        };
    }
}

pub(crate) mod stale_tmp;

#[cfg(test)]
mod beside_others;
#[cfg(test)]
mod test_progress;
#[cfg(test)]
mod tests;
