//! Reads the state of a sysroot, without changing or waiting for anything.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{openat, Mode, OFlags, CWD};
use rustix::io::Errno;

use super::host::Staged;
use super::leftovers::Forecast;
use super::libostree::LOCK_FILE;
use super::listing::DeploymentStatus;
use super::{host, in_repo, Owner};
use crate::container::layers;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::repo::lock::{self, LockState};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::{variant, Repo};
use crate::report::{Failure, TmpTotal};
use crate::sweep::tmp::forecast;

/// A sysroot's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysrootStatus {
    /// All deployments in boot order.
    pub deployments: Vec<DeploymentStatus>,
    /// The repository.
    pub repo: PathBuf,
    /// Who holds the repository's lock.
    pub repo_lock: LockState,
    /// Who holds the sysroot's lock.
    pub sysroot_lock: LockState,
    /// Checkouts and boot files that a cleanup would remove, relative to the sysroot.
    pub leftovers: Vec<PathBuf>,
    /// What it could not remove, as far as that shows beforehand.
    pub obstacles: Vec<Failure>,
    /// What interrupted transactions left in the repository's `tmp`, and a cleanup removes.
    pub tmp: TmpTotal,
    /// Directories among the checkouts that are none, relative to the sysroot: they stay.
    pub strays: Vec<PathBuf>,
    /// Refs of container images that can't be read, and why: the host's own tools stop at them.
    pub unreadable_images: Vec<(String, String)>,
}

/// Reads the state of the sysroot at `path`. Takes no lock.
pub fn status(path: &Path) -> Result<SysrootStatus> {
    let repo = Repo::open(&path.join("ostree/repo"))?;
    let control = Control::new();
    let mut owner = Owner::new(host::sysroot(path)?, None, &control);
    let (leftovers, unreadable_images) = match owner.look() {
        Ok(()) => (Forecast::of(&owner)?, layers::find(&repo, &mut owner, &control)?.unreadable),
        // A cleanup refuses to remove anything.
        Err(Error::Refused(_)) => Default::default(),
        Err(error) => return Err(error),
    };
    let tmp = forecast(&repo, &control)?;
    let deployments = std::mem::take(&mut owner.listing.deployments).into_iter();
    Ok(SysrootStatus {
        deployments: deployments
            .map(|deployment| complete(deployment, &owner, &repo))
            .collect::<Result<_>>()?,
        leftovers: leftovers.removed,
        tmp: tmp.total(),
        obstacles: leftovers
            .failures
            .into_iter()
            .chain(tmp.extent.failures.into_iter().map(in_repo))
            .collect(),
        strays: leftovers.strays,
        unreadable_images,
        repo_lock: lock_state(&repo.path().join(".lock"))?,
        sysroot_lock: lock_state(&path.join(LOCK_FILE))?,
        repo: repo.path().to_owned(),
    })
}

/// Adds what libostree does not say.
fn complete(deployment: DeploymentStatus, owner: &Owner, repo: &Repo) -> Result<DeploymentStatus> {
    let host = &owner.host;
    let directory = host::identify(owner.path.join(deployment.path()))?;
    let soft_reboot = host.soft_reboot.filter(|soft_reboot| directory == Some(soft_reboot.target));
    let locked = |staged: &Staged| staged.locked && deployment.is_at(&staged.stateroot, &staged.name);
    Ok(DeploymentStatus {
        finalization_locked: deployment.staged && host.staged.as_ref().is_some_and(locked),
        soft_reboot_prepared: soft_reboot.is_some_and(|soft_reboot| !soft_reboot.done),
        soft_reboot_incomplete: soft_reboot.is_some_and(|soft_reboot| soft_reboot.done),
        version: version(repo, &deployment),
        ..deployment
    })
}

/// The version that a deployment's commit names, if it can be read.
fn version(repo: &Repo, deployment: &DeploymentStatus) -> Option<String> {
    let commit = ObjectName::new(Checksum::from_hex(deployment.checksum.as_bytes())?, ObjectType::Commit);
    let mut buffer = Vec::new();
    repo.read_metadata(commit, &mut buffer).ok().filter(|found| *found)?;
    variant::version(&buffer).ok().flatten()
}

fn lock_state(path: &Path) -> Result<LockState> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => lock::state(file.as_fd()).map_err(|error| Error::io(path, error)),
        Err(Errno::NOENT) => Ok(LockState::Free),
        Err(Errno::ACCESS) => Ok(LockState::Unknown),
        Err(error) => Err(Error::io(path, error)),
    }
}
