//! Checkouts that are no deployment's.
//!
//! Mirrors `cleanup_old_deployments` and `_ostree_sysroot_rmrf_deployment` in `ostree-sysroot-cleanup.c`: each
//! directory `ostree/deploy/STATEROOT/deploy/HEX.NUMBER` that is not in the list of deployments goes, its backing
//! directory and its origin first. As long as the checkout's own directory is there, libostree finds it and does the
//! rest, and so does the next run here. Where libostree gives up, at a file that can't be deleted or a directory with
//! another name, this goes on; and it deletes nothing through a mount point.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{openat, statat, AtFlags, FileType, Mode, OFlags, CWD};
use rustix::io::Errno;

use super::host::{identity, Host};
use super::listing::Listing;
use crate::error::{Error, Result};
use crate::repo::directory::DIRECTORY;
use crate::repo::listing::each_entry;
use crate::repo::object::Checksum;
use crate::sweep::checkout::{open, remove, remove_file, unprotect, Context, Outcome};

/// Where deployments are, below the sysroot.
const DEPLOY: &str = "ostree/deploy";

/// A checkout that no deployment is listed for.
#[derive(Debug)]
pub(super) struct Unused {
    stateroot: String,
    /// `HEX.NUMBER`.
    name: String,
    /// The running system stands on it although libostree doesn't list it.
    in_use: bool,
}

impl Unused {
    /// How reports name it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.stateroot, self.name)
    }

    /// Its directory, relative to the sysroot.
    pub fn path(&self) -> PathBuf {
        self.path_in("deploy")
    }

    /// Its backing directory, relative to the sysroot.
    pub fn backing(&self) -> PathBuf {
        self.path_in("backing")
    }

    /// Its origin, relative to the sysroot.
    pub fn origin(&self) -> PathBuf {
        self.path().with_file_name(format!("{}.origin", self.name))
    }

    fn path_in(&self, directory: &str) -> PathBuf {
        Path::new(DEPLOY).join(&self.stateroot).join(directory).join(&self.name)
    }

    /// Why it has to stay, if it has.
    pub fn kept_because(&self) -> Option<&'static str> {
        self.in_use.then_some("the running system stands on it, and no deployment is listed for it")
    }

    /// The commit that it is a checkout of, by its name.
    pub fn commit(&self) -> Option<Checksum> {
        self.name.split('.').next().and_then(|checksum| Checksum::from_hex(checksum.as_bytes()))
    }
}

/// What is in the sysroot's deploy directories and in no list of deployments, in order.
#[derive(Default)]
pub(super) struct Unlisted {
    /// Checkouts.
    pub unused: Vec<Unused>,
    /// Directories with a name that no checkout has, relative to the sysroot. Nobody knows what they are.
    pub strays: Vec<PathBuf>,
}

/// Finds what is in the deploy directories of the sysroot at `path`, and not in `listing`.
pub(super) fn unlisted(path: &Path, listing: &Listing, host: &Host) -> Result<Unlisted> {
    let mut found = Unlisted::default();
    let Some(deploy) = open_deploy(path)? else { return Ok(found) };
    each_directory(&deploy, &path.join(DEPLOY), |stateroot| {
        let at = Path::new(DEPLOY).join(OsStr::from_bytes(stateroot)).join("deploy");
        let checkouts = match openat(&deploy, [stateroot, b"/deploy"].concat(), DIRECTORY, Mode::empty()) {
            Ok(checkouts) => checkouts,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(Error::io(path.join(at), error)),
        };
        each_directory(&checkouts, &path.join(&at), |name| {
            match (std::str::from_utf8(stateroot), std::str::from_utf8(name)) {
                (Ok(stateroot), Ok(name)) if is_checkout(name) => {
                    if !listing.has(stateroot, name) {
                        let in_use = stands_on(&checkouts, stateroot, name, host)
                            .map_err(|error| Error::io(path.join(&at).join(name), error))?;
                        let (stateroot, name) = (stateroot.to_owned(), name.to_owned());
                        found.unused.push(Unused { stateroot, name, in_use });
                    }
                }
                _ => found.strays.push(at.join(OsStr::from_bytes(name))),
            }
            Ok(())
        })
    })?;
    found.unused.sort_unstable_by_key(Unused::name);
    found.strays.sort_unstable();
    Ok(found)
}

/// Whether the running system stands on a checkout.
fn stands_on(checkouts: &OwnedFd, stateroot: &str, name: &str, host: &Host) -> rustix::io::Result<bool> {
    if host.staged.as_ref().is_some_and(|staged| staged.stateroot == stateroot && staged.name == name) {
        return Ok(true);
    }
    let found = |path: &str| match statat(checkouts, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(identity(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    };
    Ok(found(name)?.is_some_and(|root| host.roots.contains(&root))
        || found(&format!("{name}/etc"))?.is_some_and(|etc| host.etcs.contains(&etc)))
}

/// Removes a checkout, if the running system doesn't stand on it.
pub(super) fn remove_unused(path: &Path, checkout: &Unused, context: Context) -> Result<Outcome> {
    if let Some(reason) = checkout.kept_because() {
        context.stuck.add(checkout.path(), reason);
        return Ok(Outcome::Stuck);
    }
    match open_deploy(path)? {
        Some(deploy) => remove_checkout(&deploy, checkout, context),
        None => Ok(Outcome::Gone),
    }
}

fn remove_checkout(deploy: &OwnedFd, checkout: &Unused, context: Context) -> Result<Outcome> {
    let Unused { stateroot, name, .. } = checkout;
    let path = checkout.path();
    let io = |error: Errno| Error::io(&path, error);
    let stateroot = openat(deploy, stateroot, DIRECTORY, Mode::empty()).map_err(io)?;
    let checkouts = openat(&stateroot, "deploy", DIRECTORY, Mode::empty()).map_err(io)?;
    let root = match open(&checkouts, name.as_bytes(), DIRECTORY) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(Outcome::Gone),
        // Nothing is done to what can't be removed in the end: it is a mount point, most likely.
        Err(_) => return remove(&checkouts, &path, true, context),
    };
    // libostree makes it immutable.
    unprotect(&root);
    let mut keep_root = false;
    match openat(&stateroot, "backing", DIRECTORY, Mode::empty()) {
        Ok(backing) => match remove(&backing, &checkout.backing(), false, context)? {
            Outcome::Unfinished => return Ok(Outcome::Unfinished),
            outcome => keep_root |= outcome == Outcome::Stuck,
        },
        Err(Errno::NOENT) => {}
        Err(error) => return Err(io(error)),
    }
    // Nobody would ever find an origin without its checkout.
    keep_root |= !remove_file(&checkouts, &checkout.origin(), context);
    remove(&checkouts, &path, keep_root, context)
}

fn open_deploy(path: &Path) -> Result<Option<OwnedFd>> {
    let path = path.join(DEPLOY);
    // The way to it may lead through symlinks: /ostree is one.
    match openat(CWD, &path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::io(path, error)),
    }
}

/// The commits whose checkouts in the sysroot at `path` the running system stands on, but for those of `listing`.
pub(super) fn commits_in_use(path: &Path, listing: &Listing, host: &Host) -> Result<Vec<Checksum>> {
    let unlisted = unlisted(path, listing, host)?.unused;
    Ok(unlisted.iter().filter(|checkout| checkout.in_use).filter_map(Unused::commit).collect())
}

/// Calls `each` with the name of every directory in `directory`.
fn each_directory(directory: &OwnedFd, path: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    each_entry(directory, path, |entry| {
        let io = |error: std::io::Error| Error::io(path.join(OsStr::from_bytes(entry.name)), error);
        match entry.file_type().map_err(io)? {
            Some(FileType::Directory) => each(entry.name),
            _ => Ok(()),
        }
    })
}

/// Whether libostree takes a directory of this name for a checkout, and finds it again by what it makes of the name:
/// `_ostree_sysroot_parse_deploy_path_name` reads hexadecimal digits, a dot, and a number.
fn is_checkout(name: &str) -> bool {
    name.split_once('.').is_some_and(|(checksum, serial)| {
        !checksum.is_empty()
            && checksum.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
            && serial.parse::<i32>().is_ok_and(|number| number >= 0 && number.to_string() == serial)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_is_named_by_hexadecimal_digits_and_a_number() {
        let checksum = "0f".repeat(32);
        for good in ["0", "7", "10", "2147483647"] {
            assert!(is_checkout(&format!("{checksum}.{good}")), "{good}");
            assert!(is_checkout(&format!("20240101.{good}")), "{good}");
        }
        for bad in ["", "-1", "+1", "01", "1.origin", "x", " 1", "1\n", "2147483648"] {
            assert!(!is_checkout(&format!("{checksum}.{bad}")), "{bad}");
        }
        for bad in ["", ".0", "0f", "0F.0", "foo.0", "lost+found", "0f .0"] {
            assert!(!is_checkout(bad), "{bad}");
        }
    }
}
