//! The sysroot around a system's repository.
//!
//! A cleanup here is `ostree_sysroot_cleanup`: [`checkouts`] that belong to no deployment go, libostree's own
//! `prepare_cleanup` removes what else belongs to none (boot files, deployment refs), and then
//! [`prune`](crate::prune) takes the place of its prune, with refs at depth 0 and all deployments as roots.

mod checkouts;
mod host;
mod libostree;
mod own_repo;
mod status;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::libostree::Sysroot;
pub use self::own_repo::prune;
pub use self::status::{status, DeploymentStatus, SysrootStatus};
use crate::control::{Control, Phase};
use crate::error::{Error, Result};
use crate::mark::retention::{Keep, Retention};
use crate::mark::roots::Start;
use crate::mark::RootSource;
use crate::prune::{lock_both, prune_within, PruneOptions, Surroundings};
use crate::repo::config::LockTimeout;
use crate::repo::lock::{poll, Attempt, LockKind};
use crate::repo::refs::Ref;
use crate::repo::Repo;
use crate::report::{Failure, PruneReport};
use crate::workers::{contain_panic, Crew, Impact};

/// How often the end of a sync is looked for.
const SYNC_TICK: Duration = Duration::from_millis(5);

/// How a cleanup is run.
#[derive(Debug, Clone, Copy)]
pub struct CleanupOptions {
    /// Only find out what pruning would delete.
    pub dry_run: bool,
    /// Number of threads; None: as suits the impact.
    pub jobs: Option<NonZeroUsize>,
    /// What the run may cost the rest of the machine.
    pub impact: Impact,
    /// How long to wait for a lock each time; None: as the repository's settings say.
    pub lock_timeout: Option<LockTimeout>,
}

/// Cleans up the sysroot at `path`, as `ostree admin cleanup` does.
///
/// On a booted system the work is done in a mount namespace of its own, where a read-only `/sysroot` can be made
/// writable, as `ostree admin` does it. So it runs in a thread of its own, and the caller's mounts stay as they are.
///
/// # Locking
/// The sysroot's lock for each slice of the removal of checkouts and of the prune, and for `prepare_cleanup`. A dry run takes only the repository's
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
        other => other,
    }
}

fn cleanup_in_this_thread(path: &Path, options: &CleanupOptions, control: &Control) -> Result<PruneReport> {
    let CleanupOptions { dry_run, lock_timeout, .. } = *options;
    let path = host::sysroot(path)?;
    let repo_path = path.join("ostree/repo");
    // Before anything is removed: is it a repository that we know how to prune?
    let timeout = lock_timeout.unwrap_or(Repo::open(&repo_path)?.config().lock_timeout);
    let sysroot = if dry_run { Sysroot::open(path)? } else { Sysroot::open_for_writing(path)? };
    let mut owner = Owner { path, sysroot, dry_run, own: false };
    if !dry_run {
        // libostree makes a read-only sysroot writable, by a new mount, when it takes its lock. What was opened
        // before stays read-only.
        poll(timeout, control, || Ok(owner.try_lock()?.map_or(Attempt::Acquired(()), Attempt::Busy)))?;
        owner.unlock();
    }
    let repo = Repo::open(&repo_path)?;
    owner.own = host::owns(&repo)?;
    let mut before = PruneReport::default();
    let result = clean_deployments(&mut owner, &repo, options, control, &mut before)
        .and_then(|()| clean_repo(&mut owner, &repo, options, control));
    match result {
        Ok(report) => Ok(joined(before, report)),
        Err(Error::Cancelled(report)) => Err(Error::Cancelled(Some(Box::new(joined(
            before,
            report.map_or_else(Default::default, |r| *r),
        ))))),
        Err(error) => Err(error),
    }
}

/// The report of a cleanup: what was done before its prune, and the prune.
fn joined(before: PruneReport, mut prune: PruneReport) -> PruneReport {
    for failure in &mut prune.failures {
        failure.path = Path::new("ostree/repo").join(&failure.path);
    }
    let pruned = std::mem::take(&mut prune.failures);
    PruneReport {
        deployments_removed: before.deployments_removed,
        failures: before.failures.into_iter().chain(pruned).collect(),
        ..prune
    }
}

/// Removes what belongs to no deployment, noting in `report` what became of it, whether this ends well or not.
fn clean_deployments(
    owner: &mut Owner,
    repo: &Repo,
    options: &CleanupOptions,
    control: &Control,
    report: &mut PruneReport,
) -> Result<()> {
    if options.dry_run {
        report.deployments_removed = checkouts::would_be_removed(owner.path)?.into_iter().collect();
        return Ok(());
    }
    control.enter(Phase::Deployments, 0);
    let lock = repo.lock(options.lock_timeout)?;
    let crew = Crew::new(options.jobs, options.impact);
    let mut done = checkouts::Done::default();
    let result = checkouts::remove_unused(owner, crew, lock.timeout(), control, &mut done);
    let all_removable = done.may_be_tried_again();
    report.deployments_removed.extend(std::mem::take(&mut done.removed));
    report.failures.extend(done.into_failures());
    result?;
    if !all_removable {
        return Ok(());
    }
    // libostree will take the repository's lock itself, in a wait that can't be cancelled. So wait here until it
    // can be had.
    drop(lock_both(owner, &lock, LockKind::Shared, control)?);
    let result = owner.sysroot.load().map(|()| owner.sysroot.prepare_cleanup(control));
    owner.unlock();
    match result? {
        // What it has not come to is kept, boot files as well as refs, and can be pruned around.
        Err(Error::Sysroot(error)) => report.failures.push(Failure { path: "ostree".into(), error }),
        other => other?,
    }
    Ok(())
}

/// Prunes the repository, and makes all that was done durable.
fn clean_repo(
    owner: &mut Owner,
    repo: &Repo,
    options: &CleanupOptions,
    control: &Control,
) -> Result<PruneReport> {
    let CleanupOptions { dry_run, jobs, impact, lock_timeout } = *options;
    let options = PruneOptions {
        retention: &Retention::refs(Keep::ALONE),
        dry_run,
        jobs,
        impact,
        lock_timeout,
        max_freed: None,
        deltas_of: None,
        observer: None,
    };
    let report = prune_within(repo, owner, &options, control)?;
    match if dry_run { Ok(()) } else { make_durable(repo, control) } {
        Ok(()) => Ok(report),
        Err(Error::Cancelled(_)) => Err(Error::Cancelled(Some(Box::new(report)))),
        Err(error) => Err(error),
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
    /// Whether the system was booted from it.
    own: bool,
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

    fn in_use(&mut self) -> Result<Vec<Start>> {
        if self.own {
            own_repo::in_use()
        } else {
            Ok(Vec::new())
        }
    }

    /// `prepare_cleanup` writes the deployment refs anew; a dry run has to do without.
    fn outdates(&self, reference: &Ref) -> bool {
        self.dry_run && self.sysroot.rewrites_ref(&reference.path)
    }
}

impl Surroundings for Owner<'_> {
    fn try_lock(&mut self) -> Result<Option<PathBuf>> {
        Ok((!self.sysroot.try_lock()?).then(|| self.path.join(libostree::LOCK_FILE)))
    }

    fn unlock(&mut self) {
        self.sysroot.unlock();
    }

    /// Files that are marked in a checkout are marked in the repository: they are the same.
    fn unprotects(&self) -> bool {
        true
    }
}
