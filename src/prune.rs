//! Pruning a repository: the one place that knows the order of phases and locks.
//!
//! 1. Under the shared lock: find out what is live.
//! 2. Release it. A lock is never upgraded: two that try would wait for each other for ever.
//! 3. In short slices under the exclusive lock: look at what changed since and mark that too; stop if anything live
//!    is missing; then delete until the slice is over. Commits go first, then, after a durability barrier, dirtrees
//!    and dirmetas, then files; static deltas and cached summaries last. A sysroot's lock is taken before the
//!    repository's and released after it.
//!
//! A dry run does the first step, decides with the same function as a real one, and deletes nothing.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::control::{Control, Phase};
use crate::error::{Error, Result};
use crate::mark::census::DIRECTORIES;
use crate::mark::retention::Retention;
use crate::mark::roots::Start;
use crate::mark::{Mark, RootSource};
use crate::repo::config::LockTimeout;
use crate::repo::lock::{poll, Attempt, Held, Lock, LockKind};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::refs::{list, Ref};
use crate::repo::waiters::Waiters;
use crate::repo::Repo;
use crate::report::PruneReport;
use crate::sweep::objects::{Context, Observer, Pass};
use crate::sweep::{commits, leftovers};
use crate::workers::{contain_panic, Crew, Impact};

/// How long others are kept waiting at most, give or take the time to look at what changed.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// How long the lock is left free between slices at least: time for a process that sleeps in the kernel to wake up
/// and take it. Who tries once a second is noticed; see [`Waiters`].
pub(crate) const GAP: Duration = Duration::from_millis(10);

/// How often, and after what time, a dry run looks again for objects that a writer may be moving into place.
const RETRIES: u32 = 5;
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What to prune, and how.
#[derive(Clone, Copy)]
pub struct PruneOptions<'a> {
    /// What to keep.
    pub retention: &'a Retention,
    /// Only find out what would be deleted.
    pub dry_run: bool,
    /// Number of threads; None: as suits the impact.
    pub jobs: Option<NonZeroUsize>,
    /// What the run may cost the rest of the machine.
    pub impact: Impact,
    /// How long to wait for the lock each time; None: as the repository's settings say.
    pub lock_timeout: Option<LockTimeout>,
    /// Stop after this many bytes were freed, at an object's end. Not for a dry run, which has no order to stop in.
    pub max_freed: Option<u64>,
    /// Remove all static deltas that lead to this commit, even if it stays.
    pub deltas_of: Option<Checksum>,
    /// Told the name of every object that is pruned, or would be.
    pub observer: Option<Observer<'a>>,
}

/// The sysroot around a repository, if there is one.
pub(crate) trait Surroundings: RootSource {
    /// Tries to take the sysroot's lock: the path of the lock file if somebody else holds it.
    fn try_lock(&mut self) -> Result<Option<PathBuf>>;
    /// Releases it.
    fn unlock(&mut self);
    /// Whether garbage goes even if it is marked as immutable.
    fn unprotects(&self) -> bool;
}

/// A repository that stands alone.
struct Alone;

impl RootSource for Alone {
    fn roots(&mut self) -> Result<Vec<Start>> {
        Ok(Vec::new())
    }
    fn in_use(&mut self) -> Result<Vec<Start>> {
        Ok(Vec::new())
    }
    fn outdates(&self, _: &Ref) -> bool {
        false
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
/// The shared lock while crawling, then the exclusive lock in slices. A dry run takes no exclusive lock.
///
/// # Cancellation
/// [`Error::Cancelled`] with a report of what was done.
pub fn prune(repo: &Repo, options: &PruneOptions, control: &Control) -> Result<PruneReport> {
    prune_within(repo, &mut Alone, options, control)
}

/// Gets a repository ready for a prune that deletes `commit`: from now on deleted commits leave tombstones.
///
/// Fails, before anything is changed, if the commit is not there or a ref leads to it.
pub fn announce_deletion(repo: Repo, retention: &Retention, control: &Control) -> Result<Repo> {
    let Some(commit) = retention.deleted else { return Ok(repo) };
    retention.check_deleted(&list(&repo, control)?)?;
    let object = ObjectName::new(commit, ObjectType::Commit);
    if !repo.has(object)? {
        return Err(Error::Refused(format!("Deleting object {object}: No such file or directory")));
    }
    repo.with_tombstones()
}

/// As [`prune`], for a repository inside of a sysroot.
pub(crate) fn prune_within(
    repo: &Repo,
    surroundings: &mut dyn Surroundings,
    options: &PruneOptions,
    control: &Control,
) -> Result<PruneReport> {
    let start = Instant::now();
    let PruneOptions { retention, dry_run, jobs, impact, lock_timeout, max_freed, deltas_of, observer } =
        *options;
    let lock = if dry_run { repo.lock_for_reading(lock_timeout) } else { repo.lock(lock_timeout)? };
    let crew = Crew::new(jobs, impact);
    let unprotects = surroundings.unprotects();
    let mut run = Run {
        context: Context { repo, control, crew, dry_run, max_freed, deltas_of, observer, unprotects },
        commit_only: retention.commit_only,
        surroundings,
        lock: &lock,
        mark: Mark::new(repo, retention, crew, control),
        report: PruneReport { dry_run, ..PruneReport::default() },
    };
    let result = contain_panic(|| if dry_run { run.tell() } else { run.sweep() });
    let mut report = run.report;
    let held = lock.hold_times();
    report.exclusive_lock_longest = held.longest;
    report.exclusive_lock_total = held.total;
    report.duration = start.elapsed();
    control.enter(Phase::Done, 0);
    match result {
        Ok(()) => Ok(report),
        Err(Error::Cancelled(_)) => Err(Error::Cancelled(Some(Box::new(report)))),
        Err(error) => Err(error),
    }
}

/// Takes the sysroot's lock and the repository's. The caller releases them in the opposite order.
///
/// Never waits for the one with the other in hand: whoever has it may be waiting for ours, and others who want only
/// ours should not wait for him.
pub(crate) fn lock_both<'a>(
    surroundings: &mut dyn Surroundings,
    lock: &'a Lock,
    kind: LockKind,
    control: &Control,
) -> Result<Held<'a>> {
    poll(lock.timeout(), control, || {
        if let Some(busy) = surroundings.try_lock()? {
            return Ok(Attempt::Busy(busy));
        }
        let attempt = lock.try_acquire(kind);
        if !matches!(attempt, Ok(Attempt::Acquired(_))) {
            surroundings.unlock();
        }
        attempt
    })
}

struct Run<'a> {
    context: Context<'a>,
    commit_only: bool,
    surroundings: &'a mut dyn Surroundings,
    lock: &'a Lock,
    mark: Mark<'a>,
    report: PruneReport,
}

/// What a real run is at.
enum Stage {
    Commits(Option<commits::Sweep>),
    /// Between commits and what they reach.
    Barrier(commits::Sweep),
    Marks(commits::Sweep),
    Trees(Pass),
    Files(Pass),
    Leftovers,
    Done,
}

impl Run<'_> {
    /// A dry run.
    fn tell(&mut self) -> Result<()> {
        let control = self.context.control;
        let _shared = self.lock.acquire(LockKind::Shared, control)?;
        self.mark.look(self.surroundings)?;
        // Writers hold the shared lock too: give them time to finish what they are at.
        for _ in 0..RETRIES {
            if self.mark.find_missing()? {
                break;
            }
            control.sleep(RETRY_AFTER)?;
        }
        self.mark.confirm_missing()?;
        self.mark.refuse_in_use(self.surroundings)?;

        control.enter(Phase::Sweep, DIRECTORIES as u64);
        let pass = if self.commit_only { Pass::over_commits() } else { Pass::over_all() };
        let result = pass.run(self.context, self.mark.live(), None);
        self.report.merge(pass.finish().0);
        result?;
        leftovers::prune_deltas(self.context, self.mark.live(), &mut self.report)
    }

    /// A real run.
    fn sweep(&mut self) -> Result<()> {
        let control = self.context.control;
        {
            let _shared = self.lock.acquire(LockKind::Shared, control)?;
            self.mark.look_first(self.surroundings)?;
        }
        let mut waiters = Waiters::watch(self.lock.path());
        let mut stage = Stage::Commits(None);
        let result = loop {
            let mut outcome = if let Stage::Barrier(sweep) = &stage {
                let durable = sweep.barrier(self.context);
                durable.map(|()| self.advance(&mut stage))
            } else {
                self.slice(&mut stage)
            };
            if outcome.is_ok() && !matches!(stage, Stage::Done) {
                outcome = control.sleep(GAP).and_then(|()| waiters.give_way(control));
                if outcome.is_ok() {
                    continue;
                }
            }
            break outcome;
        };
        // What an interrupted stage has done counts, too.
        match stage {
            Stage::Commits(Some(sweep)) | Stage::Barrier(sweep) | Stage::Marks(sweep) => {
                self.report.merge(sweep.report);
            }
            Stage::Trees(pass) | Stage::Files(pass) => self.report.merge(pass.finish().0),
            Stage::Commits(None) | Stage::Leftovers | Stage::Done => {}
        }
        result
    }

    /// Takes the locks, looks at what changed, deletes for a while, and releases the locks.
    fn slice(&mut self, stage: &mut Stage) -> Result<()> {
        let exclusive = lock_both(self.surroundings, self.lock, LockKind::Exclusive, self.context.control)?;
        let result = self.work(stage);
        drop(exclusive);
        self.surroundings.unlock();
        result
    }

    fn work(&mut self, stage: &mut Stage) -> Result<()> {
        let begin = Instant::now();
        self.mark.look_again(self.surroundings)?;
        // Where looking takes long, as over a network, work as long again, or there were no progress.
        let deadline = Instant::now() + SLICE.max(begin.elapsed());
        let mut touched = Vec::new();
        while !matches!(stage, Stage::Barrier(_) | Stage::Done) && Instant::now() < deadline {
            self.step(stage, deadline, &mut touched)?;
        }
        if self.lock.excludes_writers() {
            self.mark.settle(&touched)?;
        }
        Ok(())
    }

    /// Works on one stage, until its end or the deadline.
    fn step(&mut self, stage: &mut Stage, deadline: Instant, touched: &mut Vec<u8>) -> Result<()> {
        let context = self.context;
        match stage {
            Stage::Commits(sweep) => {
                let sweep = sweep.get_or_insert_with(|| commits::Sweep::new(self.mark.garbage_commits()));
                touched.extend(sweep.run(context, self.mark.live(), deadline)?);
            }
            Stage::Marks(sweep) => {
                let marked: Vec<_> = self.mark.partial().iter().copied().collect();
                sweep.remove_partial_marks(context, &marked)?;
                self.mark.keep(&sweep.stuck)?;
            }
            Stage::Trees(pass) | Stage::Files(pass) => {
                touched.extend(pass.run(context, self.mark.live(), Some(deadline))?);
            }
            Stage::Leftovers => {
                leftovers::prune_deltas(context, self.mark.live(), &mut self.report)?;
                leftovers::prune_delta_indexes(context, self.mark.live(), &mut self.report)?;
                leftovers::prune_summaries(context, &mut self.report)?;
            }
            Stage::Barrier(_) | Stage::Done => {}
        }
        self.advance(stage);
        Ok(())
    }

    /// Goes on to the next stage if this one is complete.
    fn advance(&mut self, stage: &mut Stage) {
        let control = self.context.control;
        *stage = match std::mem::replace(stage, Stage::Done) {
            Stage::Commits(Some(sweep)) if sweep.is_done() => {
                if sweep.removed_any() {
                    Stage::Barrier(sweep)
                } else {
                    Stage::Marks(sweep)
                }
            }
            Stage::Barrier(sweep) => Stage::Marks(sweep),
            Stage::Marks(sweep) if self.commit_only => {
                self.report.merge(sweep.report);
                // What is left are the live ones; those deleted are counted already.
                let tally = self.report.tally(ObjectType::Commit);
                tally.total = self.mark.commits_seen() as u64;
                Stage::Leftovers
            }
            Stage::Marks(sweep) => {
                self.report.merge(sweep.report);
                control.enter(Phase::Sweep, DIRECTORIES as u64);
                Stage::Trees(Pass::over_trees())
            }
            Stage::Trees(pass) | Stage::Files(pass) if self.context.is_exhausted() => {
                self.report.merge(pass.finish().0);
                Stage::Leftovers
            }
            Stage::Trees(pass) if pass.remaining() == 0 => {
                let (report, directories) = pass.finish();
                self.report.merge(report);
                control.enter(Phase::Sweep, directories.len() as u64);
                Stage::Files(Pass::over_files(&directories))
            }
            Stage::Files(pass) if pass.remaining() == 0 => {
                self.report.merge(pass.finish().0);
                Stage::Leftovers
            }
            Stage::Leftovers => Stage::Done,
            unfinished => unfinished,
        };
    }
}
