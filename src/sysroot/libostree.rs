//! libostree's sysroot object, with our errors and our way to cancel.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ostree::gio;
use ostree::gio::prelude::*;
use rustix::fs::{linkat, AtFlags, CWD};
use rustix::io::Errno;

use super::host::Host;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::repo::object::Checksum;

/// The sysroot's lock, below its path.
pub(super) const LOCK_FILE: &str = "ostree/lock";

/// How often a running call of libostree's is checked for cancellation.
const TICK: Duration = Duration::from_millis(20);

/// A sysroot. Belongs to the thread that opened it.
pub(super) struct Sysroot(ostree::Sysroot);

impl Sysroot {
    /// Loads the sysroot at `path` to look at it.
    pub fn open(path: &Path) -> Result<Self> {
        let sysroot = ostree::Sysroot::new(Some(&gio::File::for_path(path)));
        sysroot.initialize().map_err(error)?;
        load(&sysroot)?;
        Ok(Self(sysroot))
    }

    /// Opens the sysroot at `path` to change it, and does not yet load it: what it holds is certain only under its
    /// lock. On a booted system this moves the calling thread, and those it starts, into a mount namespace of their
    /// own.
    pub fn open_for_writing(path: &Path) -> Result<Self> {
        let sysroot = ostree::Sysroot::new(Some(&gio::File::for_path(path)));
        sysroot.initialize_with_mount_namespace(gio::Cancellable::NONE).map_err(error)?;
        Ok(Self(sysroot))
    }

    pub fn inner(&self) -> &ostree::Sysroot {
        &self.0
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

    /// All deployments, the staged one included, with a name for messages.
    pub fn deployments(&self) -> Result<Vec<(String, Checksum)>> {
        self.0.deployments().iter().map(named).collect()
    }

    /// The deployments that are left and those that are gone after the staged one was finalized; None if none is staged.
    ///
    /// Mirrors `ostree_sysroot_simple_write_deployment` with the flags that finalization gives it: of the staged
    /// deployment's stateroot go all that are not pinned, not booted, and not what `/etc` was merged from.
    pub fn after_finalization(&self) -> Result<Option<(Vec<Named>, Vec<Named>)>> {
        let deployments = self.0.deployments();
        let Some(staged) = deployments.iter().find(|deployment| deployment.is_staged()) else {
            return Ok(None);
        };
        let booted = self.0.booted_deployment();
        let merged = Host::read()?.staged.and_then(|staged| staged.merged);
        let (kept, gone): (Vec<_>, Vec<_>) = deployments.iter().partition(|deployment| {
            deployment.is_staged()
                || deployment.is_pinned()
                || deployment.osname() != staged.osname()
                || booted.as_ref().is_some_and(|booted| booted.equal(deployment))
                || merged.as_ref() == Some(&checkout(deployment))
        });
        let name_all = |deployments: Vec<_>| deployments.into_iter().map(named).collect::<Result<_>>();
        Ok(Some((name_all(kept)?, name_all(gone)?)))
    }

    /// All deployments' checkouts, the staged one's included, as stateroot and `CHECKSUM.SERIAL`.
    pub fn checkouts(&self) -> Vec<(String, String)> {
        self.0.deployments().iter().map(checkout).collect()
    }

    /// Whether `prepare_cleanup` deletes or overwrites a ref, given by its path in the repository.
    ///
    /// Mirrors `generate_deployment_refs`: refs `ostree/B/S/I` keep the deployments' commits, `B` and `S` being 0 or
    /// 1. Those of the current boot version are overwritten up to the number of deployments, the others are deleted.
    pub fn rewrites_ref(&self, path: &Path) -> bool {
        let Some((version, subversion, index)) = parse_deployment_ref(path) else { return false };
        let current = (self.0.bootversion().to_string(), self.0.subbootversion().to_string());
        if (version, subversion) != (current.0.as_str(), current.1.as_str()) {
            return !index.is_empty();
        }
        let count = self.0.deployments().len();
        matches!(index[..], [only] if only.parse::<usize>().is_ok_and(|index| index < count))
    }

    /// Loads the deployments.
    pub fn load(&self) -> Result<()> {
        load(&self.0)
    }

    /// Removes what belongs to no deployment; does not prune. To be called once it is loaded.
    ///
    /// # Locking
    /// To be called with the sysroot's lock held, and the repository's not: it opens a transaction of its own.
    pub fn prepare_cleanup(&self, control: &Control) -> Result<()> {
        cancellable(control, |cancellable| self.0.prepare_cleanup(Some(cancellable)))
    }
}

/// Loads the deployments of an initialized sysroot.
fn load(sysroot: &ostree::Sysroot) -> Result<()> {
    if sysroot.is_booted() {
        // libostree takes what it can't read for no staged deployment.
        Host::read()?;
    }
    sysroot.load(gio::Cancellable::NONE).map_err(error)
}

/// A deployment's name for messages, and its commit.
pub(super) type Named = (String, Checksum);

fn named(deployment: &ostree::Deployment) -> Result<Named> {
    let (os, commit, serial) = (deployment.osname(), deployment.csum(), deployment.deployserial());
    let name = format!("deployment {os} {commit}.{serial}");
    match Checksum::from_hex(commit.as_bytes()) {
        Some(checksum) => Ok((name, checksum)),
        None => Err(Error::corrupt(name, "it names no commit")),
    }
}

/// A deployment's stateroot, and its checkout's name there.
fn checkout(deployment: &ostree::Deployment) -> (String, String) {
    (deployment.osname().into(), format!("{}.{}", deployment.csum(), deployment.deployserial()))
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
