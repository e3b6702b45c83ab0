//! The sysroot around a system's repository.
//!
//! A cleanup here is `ostree_sysroot_cleanup`: libostree's own `prepare_cleanup` removes what belongs to no
//! deployment (checkouts, boot files, deployment refs), and then [`prune`](crate::prune) takes the place of its
//! prune, with refs at depth 0 and all deployments as roots.

mod future;
mod libostree;
mod status;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

pub use self::future::plan;
use self::libostree::Sysroot;
pub use self::status::{status, DeploymentStatus, SysrootStatus};
use crate::control::{Control, Phase};
use crate::error::{Error, Result};
use crate::mark::retention::{Keep, Retention};
use crate::mark::roots::Start;
use crate::mark::RootSource;
use crate::prune::{lock_both, prune_within, PlanUse, PruneOptions, Surroundings};
use crate::repo::config::LockTimeout;
use crate::repo::lock::{poll, Attempt, LockKind};
use crate::repo::refs::Ref;
use crate::repo::Repo;
use crate::report::{Failure, PruneReport};
use crate::workers::{contain_panic, Impact};

/// How often the end of a sync is looked for.
const SYNC_TICK: Duration = Duration::from_millis(5);

/// How a cleanup is run.
#[derive(Clone, Copy)]
pub struct CleanupOptions<'a> {
    /// Only find out what pruning would delete.
    pub dry_run: bool,
    /// Number of threads; None: as suits the impact.
    pub jobs: Option<NonZeroUsize>,
    /// What the run may cost the rest of the machine.
    pub impact: Impact,
    /// How long to wait for a lock each time; None: as the repository's settings say.
    pub lock_timeout: Option<LockTimeout>,
    /// How long others are kept waiting at most, give or take the time to look at what changed.
    pub lock_slice: Duration,
    /// Stop after this many bytes were freed.
    pub max_freed: Option<u64>,
    /// Delete by this plan. One that must cover all and does not is not used.
    pub plan: Option<PlanUse<'a>>,
}

/// Cleans up the sysroot at `path`, as `ostree admin cleanup` does.
///
/// On a booted system the work is done in a mount namespace of its own, where a read-only `/sysroot` can be made
/// writable, as `ostree admin` does it. So it runs in a thread of its own, and the caller's mounts stay as they are.
///
/// # Locking
/// The sysroot's lock for `prepare_cleanup`, and for each slice of the prune. A dry run takes only the repository's
/// shared lock.
///
/// # Cancellation
/// [`Error::Cancelled`] with a report of what was done.
pub fn cleanup(path: &Path, options: &CleanupOptions, control: &Control) -> Result<PruneReport> {
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            options.impact.apply_to_this_thread();
            contain_panic(|| cleanup_in_this_thread(path, options, control))
        });
        thread.join().unwrap_or_else(|_| Err(Error::Internal("the cleanup's thread panicked".into())))
    });
    match result {
        Err(Error::Cancelled(None)) => Err(Error::Cancelled(Some(Box::default()))),
        Err(Error::OutOfTime) => {
            Ok(PruneReport { unfinished: Some(Error::OutOfTime.to_string()), ..PruneReport::default() })
        }
        other => other,
    }
}

fn cleanup_in_this_thread(path: &Path, options: &CleanupOptions, control: &Control) -> Result<PruneReport> {
    let CleanupOptions { dry_run, jobs, impact, lock_timeout, lock_slice, max_freed, plan } = *options;
    let repo_path = path.join("ostree/repo");
    // Before anything is removed: is it a repository that we know how to prune?
    let timeout = lock_timeout.unwrap_or(Repo::open(&repo_path)?.config().lock_timeout);
    let sysroot = if dry_run { Sysroot::open(path)? } else { Sysroot::open_for_writing(path)? };
    let mut owner = Owner { path, sysroot, dry_run };
    if !dry_run {
        // libostree makes a read-only sysroot writable, by a new mount, when it takes its lock. What was opened
        // before stays read-only.
        poll(timeout, control, || Ok(owner.try_lock()?.map_or(Attempt::Acquired(()), Attempt::Busy)))?;
        owner.unlock();
    }
    let repo = Repo::open(&repo_path)?;
    // libostree writes refs, even if they are what they were. A full disk may have no room for that until something
    // is deleted, and refs that are out of date keep more rather than less.
    let prepared = dry_run || prepare(&mut owner, &repo, lock_timeout, control)?;
    let options = PruneOptions {
        retention: &Retention::refs(Keep::ALONE),
        dry_run,
        jobs,
        impact,
        lock_timeout,
        lock_slice,
        max_freed,
        deltas_of: None,
        observer: None,
        plan,
    };
    let prune = |owner: &mut Owner| match prune_within(&repo, owner, &options, control) {
        Err(Error::StalePlan(reason)) if plan.is_some_and(|plan| plan.must_cover) => {
            let options = PruneOptions { plan: None, ..options };
            let report = prune_within(&repo, owner, &options, control)?;
            Ok(PruneReport { plan_refused: Some(reason), ..report })
        }
        other => other,
    };
    let out_of_time = |report| Ok(PruneReport { unfinished: Some(Error::OutOfTime.to_string()), ..report });
    let mut report = prune(&mut owner)?;
    if !prepared && report.unfinished.is_none() {
        let rest = prepare(&mut owner, &repo, lock_timeout, control).and_then(|prepared| {
            if prepared {
                prune(&mut owner)
            } else {
                Ok(still_full())
            }
        });
        report = match rest {
            Ok(rest) => report.followed_by(rest),
            Err(Error::Cancelled(rest)) => {
                let rest = rest.map_or_else(PruneReport::default, |rest| *rest);
                return Err(Error::Cancelled(Some(Box::new(report.followed_by(rest)))));
            }
            Err(Error::OutOfTime) => return out_of_time(report),
            Err(error) => return Err(error),
        };
    }
    match if dry_run || report.unfinished.is_some() { Ok(()) } else { make_durable(&repo, control) } {
        Ok(()) => Ok(report),
        Err(Error::Cancelled(_)) => Err(Error::Cancelled(Some(Box::new(report)))),
        Err(Error::OutOfTime) => out_of_time(report),
        Err(error) => Err(error),
    }
}

/// Has libostree remove what belongs to no deployment; false if the disk is too full for it to finish.
fn prepare(
    owner: &mut Owner,
    repo: &Repo,
    lock_timeout: Option<LockTimeout>,
    control: &Control,
) -> Result<bool> {
    control.enter(Phase::Deployments, 0);
    let lock = repo.lock(lock_timeout)?;
    // libostree will take the repository's lock itself, in a wait that can't be cancelled. So wait here until it
    // can be had.
    drop(lock_both(owner, &lock, LockKind::Shared, control)?);
    let result = owner.sysroot.prepare_cleanup(control);
    owner.unlock();
    match result {
        Ok(()) => Ok(true),
        Err(Error::NoSpace(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is to be said if all that could be deleted made no room for libostree's refs.
fn still_full() -> PruneReport {
    let error = std::io::Error::from(Errno::NOSPC).to_string();
    PruneReport {
        failures: vec![Failure { path: PathBuf::from("refs/heads/ostree"), error }],
        ..PruneReport::default()
    }
}

/// Makes the cleanup outlast a power cut: whoever removes the stamp then must be sure that nothing comes back without
/// it. A journal keeps the order of unlinks in different directories, but btrfs does not, so the whole file system
/// is synced. That can't be interrupted; who cancels is not kept waiting for it.
fn make_durable(repo: &Repo, control: &Control) -> Result<()> {
    let io = |error: std::io::Error| Error::io(repo.path(), error);
    let directory = repo.directory().try_clone().map_err(io)?;
    let sync = std::thread::spawn(move || rustix::fs::syncfs(&directory));
    while !sync.is_finished() {
        control.sleep(SYNC_TICK)?;
    }
    match sync.join() {
        Ok(result) => result.map_err(|error| io(error.into())),
        Err(_) => Err(Error::Internal("the thread that syncs panicked".into())),
    }
}

/// The sysroot that a repository belongs to.
struct Owner<'a> {
    path: &'a Path,
    sysroot: Sysroot,
    dry_run: bool,
}

impl RootSource for Owner<'_> {
    fn roots(&mut self) -> Result<Vec<Start>> {
        // libostree reloads only if a timestamp changed; a new object always looks.
        Sysroot::open(self.path)?
            .deployments()?
            .into_iter()
            .map(|(deployment, commit)| {
                Ok(Start { commit, keep: Keep::ALONE, required_by: Some(deployment) })
            })
            .collect()
    }

    /// `prepare_cleanup` writes the deployment refs anew; a dry run has to do without.
    fn outdates(&self, reference: &Ref) -> bool {
        self.dry_run && self.sysroot.rewrites_ref(&reference.path)
    }
}

impl Surroundings for Owner<'_> {
    fn try_lock(&mut self) -> Result<Option<PathBuf>> {
        Ok((!self.sysroot.try_lock(self.path)?).then(|| self.path.join(libostree::LOCK_FILE)))
    }

    fn unlock(&mut self) {
        self.sysroot.unlock();
    }
}
