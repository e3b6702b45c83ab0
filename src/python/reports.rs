//! Reports as Python dictionaries; `_core.pyi` has their types.

use std::collections::BTreeMap;

use pyo3::prelude::*;

use crate::plan::{Header, Total};
use crate::repo::lock::LockState;
use crate::repo::object::{Checksum, ObjectType};
use crate::report::{Failure, PruneReport, PrunedCommit, TmpTotal};
use crate::sysroot::{DeploymentStatus, SysrootStatus};
use crate::view::{Explanation, Holder, Place, PolicyCheck, RuledRef, Space, Usage, Way};

#[derive(IntoPyObject)]
pub(super) struct PruneDict {
    dry_run: bool,
    objects_total: u64,
    objects_pruned: u64,
    bytes_freed: u64,
    by_type: BTreeMap<&'static str, TallyDict>,
    deltas_pruned: u64,
    delta_indexes_pruned: u64,
    leftovers_pruned: u64,
    tmp_pruned: u64,
    tmp_bytes_freed: u64,
    disk_bytes_freed: u64,
    deployments_removed: Vec<String>,
    container_layers_removed: Vec<String>,
    by_plan: bool,
    plan_refused: Option<String>,
    unfinished: Option<String>,
    warnings: Vec<String>,
    dangling_refs: Vec<(String, String)>,
    pruned_commits: Vec<PrunedCommitDict>,
    failures: Vec<FailureDict>,
    exclusive_lock_longest_s: f64,
    exclusive_lock_total_s: f64,
    shared_lock_longest_s: f64,
    shared_lock_total_s: f64,
    sysroot_lock_longest_s: f64,
    sysroot_lock_total_s: f64,
    duration_s: f64,
}

#[derive(IntoPyObject)]
struct TallyDict {
    total: u64,
    pruned: u64,
    bytes_freed: u64,
}

#[derive(IntoPyObject)]
struct PrunedCommitDict {
    commit: String,
    name: Option<String>,
    version: Option<String>,
    timestamp: Option<u64>,
}

#[derive(IntoPyObject)]
struct FailureDict {
    path: String,
    error: String,
    errno: Option<i32>,
}

fn names_and_commits(refs: Vec<(String, Checksum)>) -> Vec<(String, String)> {
    refs.into_iter().map(|(name, commit)| (name, commit.into())).collect()
}

impl From<PrunedCommit> for PrunedCommitDict {
    fn from(pruned: PrunedCommit) -> Self {
        let PrunedCommit { commit, name, version, timestamp } = pruned;
        Self { commit: commit.into(), name, version, timestamp }
    }
}

impl From<Failure> for FailureDict {
    fn from(failure: Failure) -> Self {
        Self {
            path: failure.path.display().to_string(),
            error: failure.error.to_string(),
            errno: failure.error.errno(),
        }
    }
}

impl From<PruneReport> for PruneDict {
    fn from(report: PruneReport) -> Self {
        let tally = |kind| {
            let tally = report.by_type.get(&kind).copied().unwrap_or_default();
            TallyDict { total: tally.total, pruned: tally.pruned, bytes_freed: tally.bytes_freed }
        };
        let unfinished = report.left();
        Self {
            dry_run: report.dry_run,
            objects_total: report.objects_total(),
            objects_pruned: report.objects_pruned(),
            bytes_freed: report.bytes_freed(),
            by_type: ObjectType::ALL.into_iter().map(|kind| (kind.as_str(), tally(kind))).collect(),
            deltas_pruned: report.deltas_pruned,
            delta_indexes_pruned: report.delta_indexes_pruned,
            leftovers_pruned: report.leftovers_pruned,
            tmp_pruned: report.tmp_pruned,
            tmp_bytes_freed: report.tmp_bytes_freed,
            disk_bytes_freed: report.disk_bytes_freed,
            deployments_removed: report.deployments_removed,
            container_layers_removed: report.container_layers_removed,
            by_plan: report.by_plan,
            plan_refused: report.plan_refused,
            unfinished,
            warnings: report.warnings,
            dangling_refs: names_and_commits(report.dangling_refs),
            pruned_commits: report.pruned_commits.into_iter().map(Into::into).collect(),
            exclusive_lock_longest_s: report.locks.exclusive.longest.as_secs_f64(),
            exclusive_lock_total_s: report.locks.exclusive.total.as_secs_f64(),
            shared_lock_longest_s: report.locks.shared.longest.as_secs_f64(),
            shared_lock_total_s: report.locks.shared.total.as_secs_f64(),
            sysroot_lock_longest_s: report.locks.sysroot.longest.as_secs_f64(),
            sysroot_lock_total_s: report.locks.sysroot.total.as_secs_f64(),
            duration_s: report.duration.as_secs_f64(),
            failures: report.failures.into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(IntoPyObject)]
pub(super) struct PlanDict {
    made_at: u64,
    sysroot: Option<String>,
    repo: String,
    roots: Vec<(String, String)>,
    dropped: Vec<DroppedDict>,
    by_type: BTreeMap<&'static str, TotalDict>,
    tmp: TmpDict,
}

#[derive(IntoPyObject)]
struct TotalDict {
    objects: u64,
    bytes: u64,
}

#[derive(IntoPyObject)]
struct DroppedDict {
    commit: String,
    names: Vec<String>,
    alone: TotalDict,
    shared: TotalDict,
}

impl From<Total> for TotalDict {
    fn from(total: Total) -> Self {
        Self { objects: total.objects, bytes: total.bytes }
    }
}

impl From<&Header> for PlanDict {
    fn from(header: &Header) -> Self {
        let total = |kind: ObjectType| header.totals.get(kind.as_str()).copied().unwrap_or_default().into();
        Self {
            made_at: header.made_at,
            sysroot: header.sysroot.as_ref().map(|path| path.display().to_string()),
            repo: header.repo.display().to_string(),
            roots: header.roots.iter().map(|root| (root.name.clone(), root.commit.to_string())).collect(),
            dropped: header
                .dropped
                .iter()
                .map(|dropped| DroppedDict {
                    commit: dropped.commit.to_string(),
                    names: dropped.names.clone(),
                    alone: dropped.alone.into(),
                    shared: dropped.shared.into(),
                })
                .collect(),
            by_type: ObjectType::ALL.into_iter().map(|kind| (kind.as_str(), total(kind))).collect(),
            tmp: header.tmp.into(),
        }
    }
}

#[derive(IntoPyObject)]
pub(super) struct StatusDict {
    deployments: Vec<DeploymentDict>,
    repo: String,
    repo_lock: &'static str,
    sysroot_locked: Option<bool>,
    unreadable_images: Vec<(String, String)>,
    leftovers: Vec<String>,
    obstacles: Vec<FailureDict>,
    strays: Vec<String>,
    tmp: TmpDict,
}

#[derive(IntoPyObject)]
struct TmpDict {
    entries: u64,
    bytes: u64,
}

impl From<TmpTotal> for TmpDict {
    fn from(TmpTotal { entries, bytes }: TmpTotal) -> Self {
        Self { entries, bytes }
    }
}

#[derive(IntoPyObject)]
#[allow(clippy::struct_excessive_bools)]
struct DeploymentDict {
    index: i32,
    stateroot: String,
    checksum: String,
    serial: i32,
    booted: bool,
    staged: bool,
    pinned: bool,
    pending: bool,
    rollback: bool,
    finalization_locked: bool,
    soft_reboot_prepared: bool,
    soft_reboot_incomplete: bool,
    version: Option<String>,
    image: Option<String>,
}

impl From<SysrootStatus> for StatusDict {
    fn from(status: SysrootStatus) -> Self {
        Self {
            deployments: status.deployments.into_iter().map(Into::into).collect(),
            repo: status.repo.display().to_string(),
            repo_lock: match status.repo_lock {
                LockState::Free => "free",
                LockState::Shared => "shared",
                LockState::Exclusive => "exclusive",
                LockState::Unknown => "unknown",
            },
            sysroot_locked: match status.sysroot_lock {
                LockState::Free => Some(false),
                LockState::Shared | LockState::Exclusive => Some(true),
                LockState::Unknown => None,
            },
            unreadable_images: status.unreadable_images,
            tmp: status.tmp.into(),
            leftovers: status.leftovers.iter().map(|path| path.display().to_string()).collect(),
            obstacles: status.obstacles.into_iter().map(Into::into).collect(),
            strays: status.strays.iter().map(|path| path.display().to_string()).collect(),
        }
    }
}

impl From<DeploymentStatus> for DeploymentDict {
    fn from(deployment: DeploymentStatus) -> Self {
        let DeploymentStatus {
            index,
            stateroot,
            checksum,
            serial,
            booted,
            staged,
            pinned,
            pending,
            rollback,
            finalization_locked,
            soft_reboot_prepared,
            soft_reboot_incomplete,
            version,
            image,
        } = deployment;
        Self {
            index,
            stateroot,
            checksum,
            serial,
            booted,
            staged,
            pinned,
            pending,
            rollback,
            finalization_locked,
            soft_reboot_prepared,
            soft_reboot_incomplete,
            version,
            image,
        }
    }
}

#[derive(IntoPyObject)]
pub(super) struct UsageDict {
    holders: Vec<HolderDict>,
    total: StoredObjectsDict,
    garbage: StoredObjectsDict,
    unreferenced_commits: u64,
    deltas: Option<StoredFilesDict>,
    tmp: Option<StoredFilesDict>,
    leftover_files: Option<StoredFilesDict>,
    dangling_refs: Vec<(String, String)>,
}

#[derive(IntoPyObject)]
struct StoredObjectsDict {
    objects: u64,
    bytes: u64,
    disk_bytes: u64,
}

#[derive(IntoPyObject)]
struct StoredFilesDict {
    files: u64,
    bytes: u64,
    disk_bytes: u64,
}

impl From<Space> for StoredObjectsDict {
    fn from(Space { count, bytes, disk_bytes }: Space) -> Self {
        Self { objects: count, bytes, disk_bytes }
    }
}

impl From<Space> for StoredFilesDict {
    fn from(Space { count, bytes, disk_bytes }: Space) -> Self {
        Self { files: count, bytes, disk_bytes }
    }
}

#[derive(IntoPyObject)]
struct HolderDict {
    kind: &'static str,
    name: String,
    commit: Option<String>,
    refs: Vec<String>,
    exclusive: StoredObjectsDict,
    shared: StoredObjectsDict,
}

impl From<Usage> for UsageDict {
    fn from(usage: Usage) -> Self {
        let Usage {
            holders,
            total,
            garbage,
            unreferenced_commits,
            deltas,
            tmp,
            leftover_files,
            dangling_refs,
        } = usage;
        Self {
            holders: holders.into_iter().map(Into::into).collect(),
            total: total.into(),
            garbage: garbage.into(),
            unreferenced_commits,
            deltas: deltas.map(Into::into),
            tmp: tmp.map(Into::into),
            leftover_files: leftover_files.map(Into::into),
            dangling_refs: names_and_commits(dangling_refs),
        }
    }
}

impl From<Holder> for HolderDict {
    fn from(holder: Holder) -> Self {
        let Holder { kind, name, commit, refs, exclusive, shared } = holder;
        Self {
            kind: kind.as_str(),
            name,
            commit: commit.map(Into::into),
            refs,
            exclusive: exclusive.into(),
            shared: shared.into(),
        }
    }
}

#[derive(IntoPyObject)]
pub(super) struct WhyDict {
    object: String,
    place: &'static str,
    parent: Option<String>,
    bytes: Option<u64>,
    kept_by: Vec<WayDict>,
    dropped_with: Vec<String>,
    beyond_depth_of: Vec<String>,
    missing: Vec<String>,
}

#[derive(IntoPyObject)]
struct WayDict {
    kind: &'static str,
    name: String,
    commit: String,
    generation: u64,
    path: Option<String>,
}

impl From<Explanation> for WhyDict {
    fn from(explanation: Explanation) -> Self {
        let Explanation { object, place, kept_by, dropped_with, beyond_depth_of, missing } = explanation;
        let (place, parent, bytes) = match place {
            Place::Here(bytes) => ("here", None, Some(bytes)),
            Place::Parent(path) => ("parent", Some(path.display().to_string()), None),
            Place::Nowhere => ("nowhere", None, None),
        };
        Self {
            object: object.to_string(),
            place,
            parent,
            bytes,
            kept_by: kept_by.into_iter().map(Into::into).collect(),
            dropped_with: dropped_with.into_iter().map(Into::into).collect(),
            beyond_depth_of,
            missing: missing.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<Way> for WayDict {
    fn from(way: Way) -> Self {
        let Way { kind, name, commit, generation, path } = way;
        Self {
            kind: kind.as_str(),
            name,
            commit: commit.into(),
            generation,
            path: path.map(|path| path.display().to_string()),
        }
    }
}

#[derive(IntoPyObject)]
pub(super) struct PolicyCheckDict {
    refs: Vec<RuledRefDict>,
    pruned: u64,
    unreferenced: u64,
}

#[derive(IntoPyObject)]
struct RuledRefDict {
    name: String,
    rule: Option<String>,
    depth: i64,
    since: Option<u64>,
    kept: u64,
    kept_for: BTreeMap<String, u64>,
    pruned: u64,
}

impl From<PolicyCheck> for PolicyCheckDict {
    fn from(check: PolicyCheck) -> Self {
        let PolicyCheck { refs, pruned, unreferenced } = check;
        Self { refs: refs.into_iter().map(Into::into).collect(), pruned, unreferenced }
    }
}

impl From<RuledRef> for RuledRefDict {
    fn from(RuledRef { name, rule, keep, kept, kept_for, pruned }: RuledRef) -> Self {
        Self {
            name,
            rule,
            depth: keep.depth.map_or(-1, i64::from),
            since: keep.since,
            kept,
            kept_for,
            pruned,
        }
    }
}
