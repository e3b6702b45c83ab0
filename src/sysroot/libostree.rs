//! libostree's sysroot object, with our errors and our way to cancel.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ostree::gio;
use ostree::gio::prelude::*;
use ostree::glib::{Bytes, Variant, VariantDict, VariantTy};
use rustix::fs::{linkat, openat, AtFlags, Mode, OFlags, CWD};
use rustix::io::Errno;

use crate::control::Control;
use crate::error::{Error, Result};
use crate::repo::object::Checksum;
use crate::repo::read_small;

/// The sysroot's lock, below its path.
pub(super) const LOCK_FILE: &str = "ostree/lock";

/// Where libostree keeps what it knows of the deployment that is staged on the running system.
const STAGED: &str = "/run/ostree/staged-deployment";

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

    /// Loads the deployments and removes what belongs to none of them; does not prune.
    ///
    /// # Locking
    /// To be called with the sysroot's lock held, and the repository's not: it opens a transaction of its own.
    pub fn prepare_cleanup(&self, control: &Control) -> Result<()> {
        load(&self.0)?;
        cancellable(control, |cancellable| self.0.prepare_cleanup(Some(cancellable)))
    }
}

/// Loads the deployments of an initialized sysroot.
fn load(sysroot: &ostree::Sysroot) -> Result<()> {
    if sysroot.is_booted() {
        check_staged()?;
    }
    sysroot.load(gio::Cancellable::NONE).map_err(error)
}

/// Fails if there is a staged deployment of which libostree could not tell what it deploys: it takes that for none.
fn check_staged() -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let content = match openat(CWD, STAGED, flags, Mode::empty()) {
        Ok(file) => read_small(&file).map_err(|error| Error::io(STAGED, error))?,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Error::io(STAGED, error)),
    };
    let value = Variant::from_bytes_with_type(&Bytes::from_owned(content), VariantTy::VARDICT);
    let target = VariantDict::new(Some(&value)).lookup_value("target", Some(VariantTy::VARDICT));
    if value.is_normal_form() && target.is_some() {
        Ok(())
    } else {
        Err(Error::corrupt(STAGED, "it describes no deployment"))
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
    } else if error.matches(gio::IOErrorEnum::NoSpace) {
        Error::NoSpace(error.message().to_owned())
    } else {
        Error::Sysroot(error.message().to_owned())
    }
}
