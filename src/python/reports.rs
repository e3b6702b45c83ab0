//! Reports as Python dictionaries; `_core.pyi` has their types.

use std::collections::BTreeMap;

use pyo3::prelude::*;

use crate::repo::lock::LockState;
use crate::repo::object::ObjectType;
use crate::report::PruneReport;
use crate::sysroot::{DeploymentStatus, SysrootStatus};

#[derive(IntoPyObject)]
pub(super) struct PruneDict {
    dry_run: bool,
    objects_total: u64,
    objects_pruned: u64,
    bytes_freed: u64,
    by_type: BTreeMap<&'static str, TallyDict>,
    deltas_pruned: u64,
    deployments_removed: Vec<String>,
    failures: Vec<FailureDict>,
    exclusive_lock_longest_s: f64,
    exclusive_lock_total_s: f64,
    duration_s: f64,
}

#[derive(IntoPyObject)]
struct TallyDict {
    total: u64,
    pruned: u64,
    bytes_freed: u64,
}

#[derive(IntoPyObject)]
struct FailureDict {
    path: String,
    error: String,
}

impl From<PruneReport> for PruneDict {
    fn from(report: PruneReport) -> Self {
        let tally = |kind| {
            let tally = report.by_type.get(&kind).copied().unwrap_or_default();
            TallyDict { total: tally.total, pruned: tally.pruned, bytes_freed: tally.bytes_freed }
        };
        Self {
            dry_run: report.dry_run,
            objects_total: report.objects_total(),
            objects_pruned: report.objects_pruned(),
            bytes_freed: report.bytes_freed(),
            by_type: ObjectType::ALL.into_iter().map(|kind| (kind.as_str(), tally(kind))).collect(),
            deltas_pruned: report.deltas_pruned,
            deployments_removed: report.deployments_removed,
            exclusive_lock_longest_s: report.exclusive_lock_longest.as_secs_f64(),
            exclusive_lock_total_s: report.exclusive_lock_total.as_secs_f64(),
            duration_s: report.duration.as_secs_f64(),
            failures: report
                .failures
                .into_iter()
                .map(|failure| FailureDict { path: failure.path.display().to_string(), error: failure.error })
                .collect(),
        }
    }
}

#[derive(IntoPyObject)]
pub(super) struct StatusDict {
    deployments: Vec<DeploymentDict>,
    repo: String,
    repo_lock: &'static str,
    sysroot_locked: bool,
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
            },
            sysroot_locked: status.sysroot_locked,
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
        } = deployment;
        Self { index, stateroot, checksum, serial, booted, staged, pinned, pending, rollback }
    }
}
