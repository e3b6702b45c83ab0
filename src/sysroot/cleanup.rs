//! The order in which a sysroot is cleaned up: leftovers, deployment refs, the repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::leftovers::{self, Forecast};
use super::libostree::{self, Sysroot};
use super::{host, in_repo, Owner};
use crate::container::layers;
use crate::control::{Control, Phase};
use crate::effort::Effort;
use crate::error::{Error, Result};
use crate::mark::retention::Retention;
use crate::pace::sync_file_system;
use crate::plan;
use crate::prune::{ended, lock_both, prune_within, stale_tmp, PlanUse, PruneOptions, Surroundings};
use crate::pruned::Observer;
use crate::repo::config::LockTimeout;
use crate::repo::lock::{poll, Attempt, LockKind};
use crate::repo::Repo;
use crate::report::{Failure, PruneReport};
use crate::sweep::Limits;
use crate::workers::contain_panic;

/// How a cleanup is run.
#[derive(Clone, Copy)]
pub struct CleanupOptions<'a> {
    /// Only find out what would be deleted.
    pub dry_run: bool,
    /// How to go about it.
    pub effort: Effort,
    /// When to stop the prune of the repository.
    pub limits: Limits,
    /// Told everything that is pruned from the repository, or would be.
    pub observer: Option<Observer<'a>>,
    /// Drop the refs of container layers that no image and no deployment needs, before the repository is pruned.
    pub container_layers: bool,
    /// Delete by this plan. One that must cover all and does not is not used.
    pub plan: Option<PlanUse<'a>>,
    /// The plans that the sysroot keeps. They are removed before a crawl deletes anything: where it is cut off, objects
    /// are left whose commit is gone, and a plan that knows nothing of them would seem to cover all.
    pub own_plans: &'a [PathBuf],
}

/// Cleans up the sysroot at `path`, as `ostree admin cleanup` does.
///
/// On a booted system the work is done in a mount namespace of its own, where a read-only `/sysroot` can be made
/// writable, as `ostree admin` does it. So it runs in a thread of its own, and the caller's mounts stay as they are.
///
/// # Locking
/// The sysroot's lock for each slice of the removal of leftovers and of the prune, and while refs are written. A dry run
/// takes only the repository's shared lock.
///
/// # Cancellation
/// [`Error::Cancelled`] with a report of what was done. If the control's time is over, a report that says so.
pub fn cleanup(path: &Path, options: &CleanupOptions, control: &Control) -> Result<PruneReport> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            options.effort.apply_priority();
            contain_panic(|| ended(in_this_thread(path, options, control), control))
        });
        let thread = thread.map_err(|error| Error::Internal(format!("no thread to work in: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(Error::Internal("the cleanup's thread panicked".into())))
    })
}

fn in_this_thread(path: &Path, options: &CleanupOptions, control: &Control) -> Result<PruneReport> {
    let mut before = PruneReport::default();
    match clean_sysroot(path, options, control, &mut before) {
        Ok(report) => Ok(joined(before, report)),
        Err(Error::OutOfTime) => Ok(out_of_time(joined(before, PruneReport::default()))),
        Err(error) => {
            let (error, report) = error.split();
            let nothing =
                || PruneReport { disk_bytes_freed: control.disk_bytes_freed(), ..PruneReport::default() };
            Err(error.after(joined(before, report.unwrap_or_else(nothing))))
        }
    }
}

/// The report of a cleanup: what was done before its prune, and the prune.
fn joined(before: PruneReport, mut prune: PruneReport) -> PruneReport {
    let pruned = std::mem::take(&mut prune.failures).into_iter().map(in_repo);
    PruneReport {
        deployments_removed: before.deployments_removed,
        container_layers_removed: before.container_layers_removed,
        tmp_pruned: before.tmp_pruned,
        tmp_bytes_freed: before.tmp_bytes_freed,
        unfinished: prune.unfinished.take().or(before.unfinished),
        failures: before.failures.into_iter().chain(pruned).collect(),
        warnings: before.warnings.into_iter().chain(std::mem::take(&mut prune.warnings)).collect(),
        ..prune
    }
}

fn out_of_time(report: PruneReport) -> PruneReport {
    PruneReport { unfinished: Some(Error::OutOfTime.to_string()), ..report }
}

/// Notes in `before` what becomes of checkouts, whether this ends well or not; returns the report of the prune.
fn clean_sysroot(
    path: &Path,
    options: &CleanupOptions,
    control: &Control,
    before: &mut PruneReport,
) -> Result<PruneReport> {
    let CleanupOptions { dry_run, effort, .. } = *options;
    let path = host::sysroot(path)?;
    let repo_path = path.join("ostree/repo");
    // Before anything is removed: is it a repository that we know how to prune?
    let repo = Repo::open(&repo_path)?;
    let timeout = effort.lock_timeout.unwrap_or_else(|| repo.lock_timeout());
    if let Some(PlanUse { plan, must_cover: false }) = options.plan {
        plan.check_repo(&repo)?;
    }
    if !dry_run {
        if let Some(reason) = options.limits.reached(&repo, control) {
            return Ok(PruneReport { unfinished: Some(reason.into()), ..PruneReport::default() });
        }
    }
    let sysroot = if dry_run { None } else { Some(Sysroot::open(path)?) };
    let mut owner = Owner::open(path, sysroot, control)?;
    if !dry_run {
        // libostree makes a read-only sysroot writable, by a new mount, when it takes its lock. What was opened
        // before stays read-only.
        poll(timeout, control, || Ok(owner.try_lock()?.map_or(Attempt::Acquired(()), Attempt::Busy)))?;
        owner.unlock();
    }
    let repo = Repo::open(&repo_path)?;
    owner.own = host::owns(&repo)?;
    if dry_run {
        let Forecast { checkouts, failures, strays, .. } = Forecast::of(&owner)?;
        let (extent, links) = leftovers::measure(&owner, control)?;
        before.deployments_removed = checkouts;
        before.failures = failures;
        before.warnings = strays.iter().map(|path| leftovers::warn_of_stray(path)).collect();
        if options.container_layers {
            let layers = owner.unneeded_layers(&repo, control)?;
            before.container_layers_removed = layers.iter().filter_map(layers::digest).collect();
            owner.dropped = layers.into_iter().map(|layer| layer.path).collect();
        }
        owner.links = Arc::new(links);
        control.freed_on_disk(extent.disk);
        clean_tmp(&mut owner, &repo, options, control, before)?;
        return prune(&mut owner, &repo, options, control);
    }
    remove_leftovers(&mut owner, &repo, options, control, before)?;
    // In libostree the transaction that writes the deployment refs does it, and tells nobody.
    clean_tmp(&mut owner, &repo, options, control, before)?;
    let report = write_refs_and_prune(&mut owner, &repo, options, control, before)?;
    if report.unfinished.is_some() {
        return Ok(report);
    }
    match make_durable(&repo, control) {
        Ok(()) => Ok(report),
        Err(Error::OutOfTime) => Ok(out_of_time(report)),
        Err(error) => Err(error.after(report)),
    }
}

/// Drops the refs of container layers that nothing needs. What could not be dropped is noted.
///
/// # Locking
/// Both locks, exclusively, while refs are looked at and deleted; none while that is made durable.
fn drop_layers(
    owner: &mut Owner,
    repo: &Repo,
    options: &CleanupOptions,
    control: &Control,
    report: &mut PruneReport,
) -> Result<()> {
    let lock = repo.lock(options.effort.lock_timeout)?;
    let exclusive = lock_both(owner, &lock, LockKind::Exclusive, control)?;
    let unneeded = owner.unneeded_layers(repo, control);
    let dropped = unneeded.map(|unneeded| layers::remove(repo, &unneeded));
    drop(exclusive);
    owner.unlock();
    let (removed, failures) = dropped?;
    if !removed.is_empty() {
        layers::sync(repo)?;
    }
    report.container_layers_removed.extend(removed);
    report.failures.extend(failures.into_iter().map(in_repo));
    Ok(())
}

/// Removes what belongs to no deployment.
fn remove_leftovers(
    owner: &mut Owner,
    repo: &Repo,
    options: &CleanupOptions,
    control: &Control,
    report: &mut PruneReport,
) -> Result<()> {
    control.enter(Phase::Deployments, 0);
    let timeout = options.effort.lock_timeout.unwrap_or_else(|| repo.lock_timeout());
    let mut done = leftovers::Done::default();
    let result = leftovers::remove_all(owner, timeout, &options.effort, control, &mut done);
    report.deployments_removed.extend(std::mem::take(&mut done.removed));
    report.warnings.extend(done.strays.iter().map(|path| leftovers::warn_of_stray(path)));
    report.failures.extend(done.into_failures());
    result
}

/// Removes what interrupted transactions left in the repository's `tmp`.
fn clean_tmp(
    owner: &mut Owner,
    repo: &Repo,
    options: &CleanupOptions,
    control: &Control,
    report: &mut PruneReport,
) -> Result<()> {
    let mut found = PruneReport::default();
    let retention = Retention::of_sysroot();
    let result =
        stale_tmp::remove_stale(repo, owner, &prune_options(options, &retention), control, &mut found);
    report.tmp_pruned = found.tmp_pruned;
    report.tmp_bytes_freed = found.tmp_bytes_freed;
    report.unfinished = found.unfinished;
    report.failures.extend(found.failures.into_iter().map(in_repo));
    result
}

/// Writes the deployment refs anew, and prunes the repository.
///
/// A full disk may have no room for refs until something is deleted, and refs that are out of date keep more rather than less. So then the repository is pruned before, too.
fn write_refs_and_prune(
    owner: &mut Owner,
    repo: &Repo,
    options: &CleanupOptions,
    control: &Control,
    before: &mut PruneReport,
) -> Result<PruneReport> {
    let written = write_refs(owner, repo, options.effort.lock_timeout, control, before)?;
    if options.container_layers {
        drop_layers(owner, repo, options, control, before)?;
    }
    let report = prune(owner, repo, options, control)?;
    if written || report.unfinished.is_some() {
        return Ok(report);
    }
    let rest = match write_refs(owner, repo, options.effort.lock_timeout, control, before) {
        Ok(true) => prune(owner, repo, options, control),
        Ok(false) => Ok(still_full()),
        Err(error) => Err(error),
    };
    match rest {
        Ok(rest) => Ok(report.followed_by(rest)),
        Err(Error::OutOfTime) => Ok(out_of_time(report)),
        Err(error) => Err(error.after(report)),
    }
}

/// Has libostree write the deployment refs anew; false if the disk is too full for it to finish.
fn write_refs(
    owner: &mut Owner,
    repo: &Repo,
    lock_timeout: Option<LockTimeout>,
    control: &Control,
    report: &mut PruneReport,
) -> Result<bool> {
    let timeout = lock_timeout.unwrap_or_else(|| repo.lock_timeout());
    poll(timeout, control, || Ok(owner.try_lock()?.map_or(Attempt::Acquired(()), Attempt::Busy)))?;
    let result = owner.look().map(|()| libostree::write_refs(owner.path, &owner.listing, control));
    owner.unlock();
    match result? {
        Ok(()) => Ok(true),
        Err(Error::Libostree { errno: libc::ENOSPC, .. }) => Ok(false),
        // Refs that are left keep more than is needed, and can be pruned around.
        Err(error @ (Error::Sysroot(_) | Error::Libostree { .. })) => {
            let error = error.to_string().into();
            report.failures.push(Failure { path: "ostree/repo/refs/heads/ostree".into(), error });
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// What is to be said if all that could be deleted made no room for libostree's refs.
fn still_full() -> PruneReport {
    PruneReport {
        failures: vec![Failure { path: PathBuf::from("refs/heads/ostree"), error: Errno::NOSPC.into() }],
        ..PruneReport::default()
    }
}

fn prune_options<'a>(options: &CleanupOptions<'a>, retention: &'a Retention) -> PruneOptions<'a> {
    let CleanupOptions { dry_run, effort, limits, observer, plan, .. } = *options;
    PruneOptions {
        retention,
        dry_run,
        effort,
        limits,
        deltas_of: None,
        observer,
        stale_tmp: false,
        leftovers: false,
        plan,
    }
}

/// Prunes the repository: by the plan, if there is one that will do.
fn prune(owner: &mut Owner, repo: &Repo, options: &CleanupOptions, control: &Control) -> Result<PruneReport> {
    let CleanupOptions { dry_run, plan, own_plans, .. } = *options;
    let retention = Retention::of_sysroot();
    let options = prune_options(options, &retention);
    let mut plan_refused = None;
    if let Some(plan) = plan {
        match prune_within(repo, owner, &options, control) {
            Err(Error::StalePlan(reason)) if plan.must_cover => plan_refused = Some(reason),
            other => return other,
        }
    }
    let stuck_plans = if dry_run { Vec::new() } else { plan::discard(own_plans) };
    let mut report = prune_within(repo, owner, &PruneOptions { plan: None, ..options }, control)?;
    report.warnings.extend(stuck_plans);
    Ok(PruneReport { plan_refused, ..report })
}

/// Makes the cleanup outlast a power cut: a caller that removes the stamp then must be sure that nothing comes back without
/// it. A journal keeps the order of unlinks in different directories, but btrfs does not, so the whole file systems
/// are synced.
fn make_durable(repo: &Repo, control: &Control) -> Result<()> {
    for root in repo.roots() {
        sync_file_system(root, control)?.map_err(|error| Error::io(repo.path(), error))?;
    }
    Ok(())
}
