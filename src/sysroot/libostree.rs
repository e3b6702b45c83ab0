//! What libostree does for us on a sysroot, with our errors and our way to cancel.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ostree::gio::prelude::*;
use ostree::{gio, Deployment};
use rustix::fs::{linkat, AtFlags, CWD};
use rustix::io::Errno;

use super::host::Host;
use super::listing::{DeploymentStatus, Listing};
use crate::control::Control;
use crate::error::{Error, Result};

/// The sysroot's lock, below its path.
pub(super) const LOCK_FILE: &str = "ostree/lock";

/// How often a running call of libostree's is checked for cancellation.
const TICK: Duration = Duration::from_millis(20);

/// A sysroot that is changed. Belongs to the thread that opened it. It is never loaded: [`list`] does that.
pub(super) struct Sysroot(ostree::Sysroot);

impl Sysroot {
    /// Opens the sysroot at `path`. On a booted system this moves the calling thread, and those it starts, into a mount
    /// namespace of their own.
    pub fn open(path: &Path) -> Result<Self> {
        let sysroot = ostree::Sysroot::new(Some(&gio::File::for_path(path)));
        sysroot.initialize_with_mount_namespace(gio::Cancellable::NONE).map_err(error)?;
        Ok(Self(sysroot))
    }

    /// Takes the sysroot's lock if nobody else has it.
    ///
    /// libostree removes the lock file on release, and creates it anew to lock. Where a full disk has no room for
    /// that, a hard link to another file is as good, and takes none.
    pub fn try_lock(&self, path: &Path) -> Result<bool> {
        let is_full = |error: &ostree::glib::Error| error.matches(gio::IOErrorEnum::NoSpace);
        let lock = path.join(LOCK_FILE);
        let result = match self.0.try_lock() {
            Err(error) if is_full(&error) => {
                match linkat(CWD, path.join("ostree/repo/config"), CWD, &lock, AtFlags::empty()) {
                    Ok(()) | Err(Errno::EXIST) => self.0.try_lock(),
                    Err(_) => Err(error),
                }
            }
            other => other,
        };
        result.map_err(|cause| if is_full(&cause) { Error::io(lock, Errno::NOSPC) } else { error(cause) })
    }

    pub fn unlock(&self) {
        self.0.unlock();
    }
}

/// Writes the refs that keep the deployments' commits, and deletes those of other boot versions: what
/// `generate_deployment_refs` does. Its transaction also removes what is stale in `tmp`.
///
/// # Locking
/// To be called with the sysroot's lock held, and the repository's not: the transaction takes that itself.
pub(super) fn write_refs(path: &Path, listing: &Listing, control: &Control) -> Result<()> {
    let current = (listing.boot_version, listing.sub_boot_version);
    cancellable(control, |cancellable| {
        let repo = ostree::Repo::new_for_path(path.join("ostree/repo"));
        repo.open(Some(cancellable))?;
        for other in [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().filter(|version| *version != current) {
            let prefix = format!("ostree/{}/{}", other.0, other.1);
            let flags = ostree::RepoListRefsExtFlags::NONE;
            for name in repo.list_refs_ext(Some(&prefix), flags, Some(cancellable))?.keys() {
                repo.set_ref_immediate(None, name, None, Some(cancellable))?;
            }
        }
        let transaction = repo.auto_transaction(Some(cancellable))?;
        for (index, deployment) in listing.deployments.iter().enumerate() {
            let name = format!("ostree/{}/{}/{index}", current.0, current.1);
            // A full disk may have no room for what is there already.
            let is_there = repo.resolve_rev(&name, true).ok().flatten();
            if is_there.as_deref() != Some(&deployment.checksum) {
                repo.transaction_set_ref(None, &name, Some(&deployment.checksum));
            }
        }
        transaction.commit(Some(cancellable)).map(drop)
    })
}

/// What libostree knows of the sysroot at `path`. It may unlink files of the running system; see
/// [`without_deleting`](super::undeletable::without_deleting).
pub(super) fn list(path: &Path) -> Result<Listing> {
    let sysroot = ostree::Sysroot::new(Some(&gio::File::for_path(path)));
    sysroot.initialize().map_err(error)?;
    if sysroot.is_booted() {
        // libostree takes what it can't read for no staged deployment.
        Host::read()?;
    }
    sysroot.load(gio::Cancellable::NONE).map_err(error)?;
    let booted = sysroot.booted_deployment();
    let (pending, rollback) =
        if booted.is_some() { sysroot.query_deployments_for(None) } else { (None, None) };
    let is =
        |one: &Deployment, other: &Option<Deployment>| other.as_ref().is_some_and(|other| one.equal(other));
    let found = sysroot.deployments();
    let overlays =
        found.iter().filter_map(Deployment::bootconfig).flat_map(|config| config.overlay_initrds());
    let base_name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(Listing {
        boot_version: sysroot.bootversion(),
        sub_boot_version: sysroot.subbootversion(),
        kernels: found.iter().map(|deployment| deployment.bootcsum().into()).collect(),
        overlays: overlays.map(|path| base_name(&path)).collect(),
        deployments: found
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
                version: None,
                image: deployment
                    .origin()
                    .and_then(|origin| origin.string("origin", "container-image-reference").ok())
                    .map(Into::into),
            })
            .collect(),
    })
}

/// Runs a call of libostree's that `control` can cancel.
fn cancellable<T>(
    control: &Control,
    call: impl FnOnce(&gio::Cancellable) -> std::result::Result<T, ostree::glib::Error>,
) -> Result<T> {
    control.check()?;
    let cancellable = gio::Cancellable::new();
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
    result.map_err(|failure| control.check().err().unwrap_or_else(|| error(failure)))
}

#[allow(clippy::needless_pass_by_value)] // The shape that `map_err` wants.
fn error(error: ostree::glib::Error) -> Error {
    if error.matches(gio::IOErrorEnum::Cancelled) {
        Error::Cancelled(None)
    } else if error.matches(gio::IOErrorEnum::WouldBlock) {
        Error::Busy(error.message().to_owned())
    } else if error.matches(gio::IOErrorEnum::NoSpace) {
        Error::NoSpace(error.message().to_owned())
    } else {
        Error::Sysroot(error.message().to_owned())
    }
}
