//! What libostree does for us on a sysroot, with our errors and our way to cancel.

use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{linkat, readlink, AtFlags, CWD};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::thread::{unshare_unsafe, UnshareFlags};

use super::host::Host;
use super::library::{self, Cancellable, Deployment, Failure, Repo};
use super::listing::{DeploymentStatus, Listing};
use super::undeletable::without_deleting;
use crate::control::Control;
use crate::error::{Error, Result};

/// The sysroot's lock, below its path.
pub(super) const LOCK_FILE: &str = "ostree/lock";

/// How often a running call of libostree's is checked for cancellation.
const TICK: Duration = Duration::from_millis(20);

/// A sysroot that is changed. Belongs to the thread that opened it. It is never loaded: [`list`] does that.
pub(super) struct Sysroot(library::Sysroot);

impl Sysroot {
    /// Opens the sysroot at `path`. On a booted system this moves the calling thread, and those it starts, into a mount
    /// namespace of their own, as `ostree_sysroot_initialize_with_mount_namespace` does. That function fails where it
    /// cannot see the namespace of process 1, for which a unit would need `CAP_SYS_PTRACE`.
    pub fn open(path: &Path) -> Result<Self> {
        let before = library::Sysroot::new(path)?;
        before.initialize()?;
        // Opened in the namespace that it is to be used in.
        let sysroot = library::Sysroot::new(path)?;
        if before.is_booted() && geteuid().is_root() {
            enter_mount_namespace().map_err(|error| Error::io(path, error))?;
            sysroot.set_mount_namespace_in_use();
        }
        sysroot.initialize()?;
        Ok(Self(sysroot))
    }

    /// Takes the sysroot's lock if nobody else has it.
    ///
    /// libostree removes the lock file on release, and creates it anew to lock. Where a full disk has no room for
    /// that, a hard link to another file is as good, and takes none.
    pub fn try_lock(&self, path: &Path) -> Result<bool> {
        let lock = path.join(LOCK_FILE);
        let result = match self.0.try_lock() {
            Err(error) if error.errno() == Some(Errno::NOSPC) => {
                match linkat(CWD, path.join("ostree/repo/config"), CWD, &lock, AtFlags::empty()) {
                    Ok(()) | Err(Errno::EXIST) => self.0.try_lock(),
                    Err(_) => Err(error),
                }
            }
            other => other,
        };
        result.map_err(|cause| match cause.errno() {
            Some(errno) => Error::io(lock, errno),
            None => cause.into(),
        })
    }

    pub fn unlock(&self) {
        self.0.unlock();
    }
}

/// Moves the calling thread into a mount namespace of its own, unless it is seen to be in one.
fn enter_mount_namespace() -> rustix::io::Result<()> {
    let namespace = |of: &str| readlink(format!("/proc/{of}/ns/mnt"), Vec::new()).ok();
    match (namespace("1"), namespace("thread-self")) {
        (Some(hosts), Some(own)) if hosts != own => Ok(()),
        // SAFETY: File descriptors stay shared with the other threads.
        #[allow(unsafe_code)]
        _ => unsafe { unshare_unsafe(UnshareFlags::NEWNS) },
    }
}

/// Writes the refs that keep the deployments' commits, and deletes those of other boot versions: what
/// `generate_deployment_refs` does. Without its transaction, which would also remove what is stale in `tmp`, mounts and all;
/// and in another order: each commit has its new ref before it loses an old one, or a prune by refs alone could come
/// between. Only a disk that is too full for that is treated as libostree does it.
///
/// # Locking
/// To be called with the sysroot's lock held. The repository's is not taken.
pub(super) fn write_refs(path: &Path, listing: &Listing, control: &Control) -> Result<()> {
    cancellable(control, |cancellable| {
        let repo = Repo::open(&path.join("ostree/repo"), cancellable)??;
        match set_refs(&repo, listing) {
            Err(Error::Libostree { errno: libc::ENOSPC, .. }) => {
                delete_other_refs(&repo, listing)?;
                set_refs(&repo, listing)
            }
            Ok(()) => delete_other_refs(&repo, listing),
            Err(error) => Err(error),
        }
    })
}

/// Sets the refs of the deployments, by the boot version of `listing`.
fn set_refs(repo: &Repo, listing: &Listing) -> Result<()> {
    for (index, deployment) in listing.deployments.iter().enumerate() {
        let name = c_text(&format!("ostree/{}/{}/{index}", listing.boot_version, listing.sub_boot_version))?;
        // A full disk may have no room for what is there already.
        if repo.commit_of(&name).as_deref() != Some(&deployment.checksum) {
            repo.set_ref(&name, Some(&c_text(&deployment.checksum)?))?;
        }
    }
    Ok(())
}

/// Deletes the refs of deployments by other boot versions than that of `listing`.
fn delete_other_refs(repo: &Repo, listing: &Listing) -> Result<()> {
    let current = (listing.boot_version, listing.sub_boot_version);
    for other in [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().filter(|version| *version != current) {
        let prefix = c_text(&format!("ostree/{}/{}", other.0, other.1))?;
        for name in repo.refs_below(&prefix)? {
            repo.set_ref(&name, None)?;
        }
    }
    Ok(())
}

/// What libostree knows of the sysroot at `path`. Takes no lock, and changes nothing: libostree, which may unlink files of
/// the running system then, is called in a thread that can delete nothing.
pub(super) fn list(path: &Path) -> Result<Listing> {
    without_deleting(|| load(path))
}

fn load(path: &Path) -> Result<Listing> {
    let sysroot = library::Sysroot::new(path)?;
    sysroot.initialize()?;
    if sysroot.is_booted() {
        // libostree takes what it can't read for no staged deployment.
        Host::read()?;
    }
    sysroot.load()?;
    let booted = sysroot.booted();
    let (pending, rollback) = if booted.is_some() { sysroot.pending_and_rollback() } else { (None, None) };
    let is =
        |one: &Deployment, other: &Option<Deployment>| other.as_ref().is_some_and(|other| one.equals(other));
    let found = sysroot.deployments();
    let (boot_version, sub_boot_version) = sysroot.boot_versions();
    let base_name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(Listing {
        boot_version,
        sub_boot_version,
        kernels: found.iter().map(Deployment::kernel).collect(),
        overlays: found.iter().flat_map(Deployment::overlays).map(|path| base_name(&path)).collect(),
        deployments: found
            .iter()
            .map(|deployment| DeploymentStatus {
                index: deployment.index(),
                stateroot: deployment.stateroot(),
                checksum: deployment.checksum(),
                serial: deployment.serial(),
                booted: is(deployment, &booted),
                staged: deployment.is_staged(),
                pinned: deployment.is_pinned(),
                pending: is(deployment, &pending),
                rollback: is(deployment, &rollback),
                image: deployment.origin(c"origin", c"container-image-reference"),
                ..DeploymentStatus::default()
            })
            .collect(),
    })
}

/// Runs a call of libostree's that `control` can cancel.
fn cancellable<T>(control: &Control, call: impl FnOnce(&Cancellable) -> Result<T>) -> Result<T> {
    control.check()?;
    let cancellable = Cancellable::new()?;
    let done = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if control.check().is_err() {
                    cancellable.cancel();
                    break;
                }
                std::thread::park_timeout(TICK);
            }
        });
        let result = call(&cancellable);
        done.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        result
    });
    // Out of time is another thing than cancelled.
    result.map_err(|failure| control.check().err().unwrap_or(failure))
}

/// A text for C. What libostree gave has no NUL in it.
fn c_text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|error| Error::Internal(error.to_string()))
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        if failure.is_cancelled() {
            Error::Cancelled(None)
        } else if failure.is_would_block() {
            Error::Busy(failure.message)
        } else if let Some(errno) = failure.errno() {
            Error::Libostree { errno: errno.raw_os_error(), message: failure.message }
        } else {
            Error::Sysroot(failure.message)
        }
    }
}
