//! libostree's sysroot object, with our errors and our way to cancel.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ostree::gio;
use ostree::gio::prelude::*;

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
        sysroot.load(gio::Cancellable::NONE).map_err(error)?;
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
    pub fn try_lock(&self) -> Result<bool> {
        self.0.try_lock().map_err(error)
    }

    pub fn unlock(&self) {
        self.0.unlock();
    }

    /// All deployments, the staged one included, with a name for messages.
    pub fn deployments(&self) -> Result<Vec<(String, Checksum)>> {
        let named = self.0.deployments().into_iter().map(|deployment| {
            let (os, commit, serial) = (deployment.osname(), deployment.csum(), deployment.deployserial());
            let name = format!("deployment {os} {commit}.{serial}");
            match Checksum::from_hex(commit.as_bytes()) {
                Some(checksum) => Ok((name, checksum)),
                None => Err(Error::corrupt(name, "it names no commit")),
            }
        });
        named.collect()
    }

    /// All deployments' checkouts, the staged one's included, as stateroot and `CHECKSUM.SERIAL`.
    pub fn checkouts(&self) -> Vec<(String, String)> {
        let name =
            |deployment: &ostree::Deployment| format!("{}.{}", deployment.csum(), deployment.deployserial());
        self.0.deployments().iter().map(|deployment| (deployment.osname().into(), name(deployment))).collect()
    }

    /// Whether `prepare_cleanup` deletes or overwrites a ref, given by its path in the repository.
    ///
    /// Mirrors `generate_deployment_refs`: refs `ostree/B/S/I` keep the deployments' commits, `B` and `S` being 0 or
    /// 1. Those of the current boot version are overwritten up to the number of deployments, the others are deleted.
    pub fn rewrites_ref(&self, path: &Path) -> bool {
        let Ok(name) = path.strip_prefix("refs/heads/ostree") else { return false };
        let parts: Vec<_> = name.iter().map(|part| part.to_str().unwrap_or_default()).collect();
        let [version @ ("0" | "1"), subversion @ ("0" | "1"), ref index @ ..] = parts[..] else {
            return false;
        };
        let current = (self.0.bootversion().to_string(), self.0.subbootversion().to_string());
        if (version, subversion) != (&current.0, &current.1) {
            return !index.is_empty();
        }
        let count = self.0.deployments().len();
        matches!(index, [only] if only.parse::<usize>().is_ok_and(|index| index < count))
    }

    /// Loads the deployments.
    pub fn load(&self) -> Result<()> {
        self.0.load(gio::Cancellable::NONE).map_err(error)
    }

    /// Removes what belongs to no deployment; does not prune. To be called once it is loaded.
    ///
    /// # Locking
    /// To be called with the sysroot's lock held, and the repository's not: it opens a transaction of its own.
    pub fn prepare_cleanup(&self, control: &Control) -> Result<()> {
        cancellable(control, |cancellable| self.0.prepare_cleanup(Some(cancellable)))
    }
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
                if control.is_cancelled() {
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
    result.map_err(error)
}

#[allow(clippy::needless_pass_by_value)] // The shape that `map_err` wants.
fn error(error: ostree::glib::Error) -> Error {
    if error.matches(gio::IOErrorEnum::Cancelled) {
        Error::Cancelled(None)
    } else if error.matches(gio::IOErrorEnum::WouldBlock) {
        Error::Busy(error.message().to_owned())
    } else {
        Error::Sysroot(error.message().to_owned())
    }
}
