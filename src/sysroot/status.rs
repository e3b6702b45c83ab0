//! A look at a sysroot, without changing or waiting for anything.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ostree::Deployment;
use rustix::fs::{openat, Mode, OFlags, CWD};
use rustix::io::Errno;

use super::libostree::{Sysroot, LOCK_FILE};
use super::Owner;
use crate::container::layers;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::repo::lock::{self, LockState};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::{variant, Repo};

/// One deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Independent properties, as libostree has them.
pub struct DeploymentStatus {
    /// Position in boot order.
    pub index: i32,
    /// The stateroot it belongs to.
    pub stateroot: String,
    /// The deployed commit.
    pub checksum: String,
    /// Tells deployments of one commit apart.
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
    /// What its commit's metadata says is the version.
    pub version: Option<String>,
    /// The container image that it is updated from, as its origin says.
    pub image: Option<String>,
}

/// A sysroot's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysrootStatus {
    /// All deployments in boot order.
    pub deployments: Vec<DeploymentStatus>,
    /// The repository.
    pub repo: PathBuf,
    /// Who holds the repository's lock.
    pub repo_lock: LockState,
    /// Whether somebody holds the sysroot's lock.
    pub sysroot_locked: bool,
    /// Refs of container images that can't be read, and why: the host's own tools stop at them.
    pub unreadable_images: Vec<(String, String)>,
}

/// Reads the state of the sysroot at `path`. Takes no lock.
pub fn status(path: &Path) -> Result<SysrootStatus> {
    let repo = Repo::open(&path.join("ostree/repo"))?;
    let mut owner = Owner::new(path, Sysroot::open(path)?, true);
    let unreadable_images = layers::find(&repo, &mut owner, &Control::new())?.unreadable;
    let sysroot = owner.sysroot.inner();
    let booted = sysroot.booted_deployment();
    let (pending, rollback) =
        if booted.is_some() { sysroot.query_deployments_for(None) } else { (None, None) };
    let is =
        |one: &Deployment, other: &Option<Deployment>| other.as_ref().is_some_and(|other| one.equal(other));
    let deployments = sysroot
        .deployments()
        .iter()
        .map(|deployment| DeploymentStatus {
            index: deployment.index(),
            stateroot: deployment.osname().into(),
            checksum: deployment.csum().into(),
            serial: deployment.deployserial(),
            booted: is(deployment, &booted),
            staged: deployment.is_staged(),
            pinned: deployment.is_pinned(),
            pending: is(deployment, &pending),
            rollback: is(deployment, &rollback),
            version: version(&repo, deployment),
            image: deployment
                .origin()
                .and_then(|origin| origin.string("origin", "container-image-reference").ok())
                .map(Into::into),
        })
        .collect();
    Ok(SysrootStatus {
        deployments,
        repo_lock: lock_state(&repo.path().join(".lock"))?,
        sysroot_locked: lock_state(&path.join(LOCK_FILE))? != LockState::Free,
        repo: repo.path().to_owned(),
        unreadable_images,
    })
}

/// The version that a deployment's commit names, if it can be read.
fn version(repo: &Repo, deployment: &Deployment) -> Option<String> {
    let commit = ObjectName::new(Checksum::from_hex(deployment.csum().as_bytes())?, ObjectType::Commit);
    let mut buffer = Vec::new();
    repo.read_metadata(commit, &mut buffer).ok().filter(|found| *found)?;
    variant::version(&buffer)
}

fn lock_state(path: &Path) -> Result<LockState> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => lock::state(file.as_fd()).map_err(|error| Error::io(path, error)),
        Err(Errno::NOENT) => Ok(LockState::Free),
        Err(error) => Err(Error::io(path, error)),
    }
}
