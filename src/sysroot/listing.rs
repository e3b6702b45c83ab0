//! The deployments of a sysroot as plain data.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::host::{Host, Staged};
use crate::error::{Error, Result};
use crate::repo::object::Checksum;

/// One deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Independent properties, as libostree has them.
pub struct DeploymentStatus {
    /// Position in boot order.
    pub index: i32,
    /// The stateroot it belongs to.
    pub stateroot: String,
    /// The deployed commit.
    pub checksum: String,
    /// Distinguishes deployments of one commit.
    pub serial: i32,
    /// The running one.
    pub booted: bool,
    /// Becomes a deployment at shutdown.
    pub staged: bool,
    /// Kept until it is unpinned.
    pub pinned: bool,
    /// The one that boots next.
    pub pending: bool,
    /// The one to go back to.
    pub rollback: bool,
    /// Staged, but a shutdown does not make it a deployment until it is unlocked.
    pub finalization_locked: bool,
    /// The one that a soft reboot leads to.
    pub soft_reboot_prepared: bool,
    /// The running one since a soft reboot that `ostree admin boot-complete` has not completed: libostree still calls the
    /// one before it booted.
    pub soft_reboot_incomplete: bool,
    /// What its commit's metadata says is the version.
    pub version: Option<String>,
    /// The container image that it is updated from, as its origin says.
    pub image: Option<String>,
}

impl DeploymentStatus {
    /// Its checkout's name in its stateroot, `CHECKSUM.SERIAL`.
    pub fn checkout(&self) -> String {
        format!("{}.{}", self.checksum, self.serial)
    }

    /// Its checkout, relative to the sysroot.
    pub(super) fn path(&self) -> PathBuf {
        Path::new("ostree/deploy").join(&self.stateroot).join("deploy").join(self.checkout())
    }

    /// Whether its checkout is that one.
    pub(super) fn is_at(&self, stateroot: &str, checkout: &str) -> bool {
        self.stateroot == stateroot && self.checkout() == checkout
    }

    fn named(&self) -> Result<Named> {
        let name = format!("deployment {} {}", self.stateroot, self.checkout());
        match Checksum::from_hex(self.checksum.as_bytes()) {
            Some(checksum) => Ok((name, checksum)),
            None => Err(Error::corrupt(name, "it names no commit")),
        }
    }
}

/// A deployment's name for messages, and its commit.
pub(super) type Named = (String, Checksum);

/// What libostree knows of a sysroot.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing {
    /// All deployments in boot order, the staged one included.
    pub deployments: Vec<DeploymentStatus>,
    pub boot_version: i32,
    pub sub_boot_version: i32,
    /// The deployments' kernels, by `bootcsum`.
    pub kernels: HashSet<String>,
    /// The deployments' initramfs overlays, by file name.
    pub overlays: HashSet<String>,
}

impl Listing {
    /// All deployments with a name for messages.
    pub fn named(&self) -> Result<Vec<Named>> {
        self.deployments.iter().map(DeploymentStatus::named).collect()
    }

    /// Whether a deployment has this checkout.
    pub fn has(&self, stateroot: &str, checkout: &str) -> bool {
        self.deployments.iter().any(|deployment| deployment.is_at(stateroot, checkout))
    }

    /// The deployments that are left and those that are gone after the staged one was finalized; None if none is staged.
    ///
    /// Mirrors `ostree_sysroot_simple_write_deployment` with the flags that finalization gives it: of the staged
    /// deployment's stateroot go all that are not pinned, not booted, and not what `/etc` was merged from.
    pub fn after_finalization(&self, host: &Host) -> Result<Option<(Vec<Named>, Vec<Named>)>> {
        let Some(staged) = self.deployments.iter().find(|deployment| deployment.staged) else {
            return Ok(None);
        };
        let merged = host.staged.as_ref().and_then(|Staged { merged, .. }| merged.as_ref());
        let (kept, gone): (Vec<_>, Vec<_>) = self.deployments.iter().partition(|deployment| {
            deployment.staged
                || deployment.pinned
                || deployment.stateroot != staged.stateroot
                || deployment.booted
                || merged.is_some_and(|(stateroot, name)| deployment.is_at(stateroot, name))
        });
        let name_all = |deployments: Vec<&DeploymentStatus>| {
            deployments.into_iter().map(DeploymentStatus::named).collect::<Result<_>>()
        };
        Ok(Some((name_all(kept)?, name_all(gone)?)))
    }

    /// Whether a cleanup deletes or overwrites a ref, given by its path in the repository.
    ///
    /// Mirrors `generate_deployment_refs`: refs `ostree/B/S/I` keep the deployments' commits, `B` and `S` being 0 or
    /// 1. Those of the current boot version are overwritten up to the number of deployments, the others are deleted.
    pub fn rewrites_ref(&self, path: &Path) -> bool {
        let Some((version, subversion, index)) = parse_deployment_ref(path) else { return false };
        let current = (self.boot_version.to_string(), self.sub_boot_version.to_string());
        if (version, subversion) != (current.0.as_str(), current.1.as_str()) {
            return !index.is_empty();
        }
        let count = self.deployments.len();
        matches!(index[..], [only] if only.parse::<usize>().is_ok_and(|index| index < count))
    }
}

/// Whether a ref, given by its path in the repository, is one that libostree keeps a deployment's commit by.
pub(super) fn is_deployment_ref(path: &Path) -> bool {
    let index = parse_deployment_ref(path).map(|(_, _, index)| index);
    index.is_some_and(|index| matches!(index[..], [only] if only.parse::<usize>().is_ok()))
}

fn parse_deployment_ref(path: &Path) -> Option<(&str, &str, Vec<&str>)> {
    let name = path.strip_prefix("refs/heads/ostree").ok()?;
    let mut parts = name.iter().map(|part| part.to_str().unwrap_or_default());
    let (version, subversion) = (parts.next()?, parts.next()?);
    let is_version = |part| matches!(part, "0" | "1");
    (is_version(version) && is_version(subversion)).then(|| (version, subversion, parts.collect()))
}
