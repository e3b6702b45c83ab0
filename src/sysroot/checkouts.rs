//! Removing the checkouts of deployments that are no more.
//!
//! Mirrors `cleanup_old_deployments` and `_ostree_sysroot_rmrf_deployment` in `ostree-sysroot-cleanup.c`: what lies in
//! `ostree/deploy/STATEROOT/deploy/CHECKSUM.SERIAL` and is not in the list of deployments goes, its backing directory
//! and its origin first. As long as the checkout's own directory is there, libostree finds it and does the rest, and
//! so does the next run here. Where libostree gives up at the first file that can't be deleted, this goes on.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{openat, statat, AtFlags, FileType, Mode, OFlags, CWD};
use rustix::io::Errno;

use super::host::{identity, Host, Identity};
use super::libostree::Sysroot;
use super::Owner;
use crate::control::{Control, Phase};
use crate::effort::Effort;
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::prune::Surroundings;
use crate::repo::config::LockTimeout;
use crate::repo::listing::each_entry;
use crate::repo::lock::{poll, Attempt};
use crate::repo::object::Checksum;
use crate::repo::DIRECTORY;
use crate::report::Failure;
use crate::sweep::checkout::{open, remove, remove_file, unprotect, Context, Outcome, Stuck};

/// Where deployments are, below the sysroot.
const DEPLOY: &str = "ostree/deploy";

/// A checkout that no deployment needs.
#[derive(Debug)]
pub(super) struct Unused {
    stateroot: String,
    /// `CHECKSUM.SERIAL`.
    name: String,
    /// The running system stands on it although libostree doesn't list it.
    in_use: bool,
}

impl Unused {
    fn name(&self) -> String {
        format!("{}/{}", self.stateroot, self.name)
    }
}

/// What was done about unused checkouts.
#[derive(Default)]
pub(super) struct Done {
    /// `STATEROOT/CHECKSUM.SERIAL` of those that are gone; in a dry run, that would be.
    pub removed: BTreeSet<String>,
    /// What is left of the others. Paths are relative to the sysroot.
    stuck: Stuck,
    given_up: HashSet<String>,
}

impl Done {
    /// Whether libostree may have a try at what is left. It would delete what is mounted below, and what the running
    /// system stands on.
    pub fn may_be_tried_again(&self) -> bool {
        !self.stuck.is_unexplored()
    }

    /// What could not be deleted.
    pub fn into_failures(self) -> Vec<Failure> {
        self.stuck.into_failures()
    }
}

/// Removes all unused checkouts, noting in `done` what became of them.
///
/// # Locking
/// The sysroot's lock in slices. In each of them it is decided anew what is unused.
pub(super) fn remove_unused(
    owner: &mut Owner,
    timeout: LockTimeout,
    effort: &Effort,
    control: &Control,
    done: &mut Done,
) -> Result<()> {
    let sysroot =
        openat(CWD, owner.path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Error::io(owner.path, error))?;
    let pace = Pace::new(effort, &sysroot, control);
    loop {
        pace.rest(&sysroot)?;
        poll(timeout, control, || Ok(owner.try_lock()?.map_or(Attempt::Acquired(()), Attempt::Busy)))?;
        let result = slice(owner.path, effort, &pace, control, done);
        owner.unlock();
        if result? {
            return Ok(());
        }
    }
}

/// What a real run would remove. Takes no lock.
pub(super) fn would_be_removed(path: &Path) -> Result<BTreeSet<String>> {
    let Some(deploy) = open_deploy(path)? else { return Ok(BTreeSet::new()) };
    let unused = unused(path, &deploy)?;
    Ok(unused.iter().filter(|checkout| !checkout.in_use).map(Unused::name).collect())
}

/// Works until the time is over. True if nothing is left to be done.
fn slice(path: &Path, effort: &Effort, pace: &Pace, control: &Control, done: &mut Done) -> Result<bool> {
    let Some(deploy) = open_deploy(path)? else { return Ok(true) };
    let mut unused = unused(path, &deploy)?;
    unused.retain(|checkout| !done.given_up.contains(&checkout.name()));
    control.enter(Phase::Deployments, (unused.len() + done.removed.len()) as u64);
    control.advance(done.removed.len() as u64);
    let deadline = Instant::now() + effort.slice();
    let crew = pace.sweepers();
    for checkout in unused {
        let context = Context { control, crew, deadline, stuck: &done.stuck };
        match remove_checkout(&deploy, &checkout, context)? {
            Outcome::Unfinished => return Ok(false),
            Outcome::Stuck => {
                done.given_up.insert(checkout.name());
            }
            Outcome::Gone => {
                done.removed.insert(checkout.name());
                control.advance(1);
            }
        }
        if Instant::now() >= deadline || pace.wants_rest() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn remove_checkout(deploy: &OwnedFd, checkout: &Unused, context: Context) -> Result<Outcome> {
    let Unused { stateroot, name, in_use } = checkout;
    let path = Path::new(DEPLOY).join(stateroot).join("deploy").join(name);
    if *in_use {
        let reason = "the running system stands on it, and no deployment is listed for it";
        context.stuck.add_unexplored(path, reason);
        return Ok(Outcome::Stuck);
    }
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
        Ok(backing) => {
            let path = Path::new(DEPLOY).join(&checkout.stateroot).join("backing").join(name);
            match remove(&backing, &path, false, context)? {
                Outcome::Unfinished => return Ok(Outcome::Unfinished),
                outcome => keep_root |= outcome == Outcome::Stuck,
            }
        }
        Err(Errno::NOENT) => {}
        Err(error) => return Err(io(error)),
    }
    // Nobody would ever find an origin without its checkout.
    keep_root |= !remove_file(&checkouts, &path.with_file_name(format!("{name}.origin")), context.stuck);
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

/// The checkouts that are in no list of deployments, in order.
fn unused(path: &Path, deploy: &OwnedFd) -> Result<Vec<Unused>> {
    // libostree's own reload trusts a timestamp; a new object always looks.
    let listed = Sysroot::open(path)?.checkouts();
    let host = Host::read()?;
    let mut found = Vec::new();
    each_checkout(path, deploy, |stateroot, name, identity| {
        if !listed.iter().any(|(its, other)| its == stateroot && other == name) {
            let is_staged = host
                .staged
                .as_ref()
                .is_some_and(|staged| staged.stateroot == stateroot && staged.name == name);
            let in_use = is_staged || host.roots.contains(&identity);
            found.push(Unused { stateroot: stateroot.to_owned(), name: name.to_owned(), in_use });
        }
    })?;
    found.sort_unstable_by_key(Unused::name);
    Ok(found)
}

/// The commits whose checkouts are these directories.
pub(super) fn commits_of(path: &Path, directories: &BTreeSet<Identity>) -> Result<Vec<Checksum>> {
    let mut found = Vec::new();
    if let Some(deploy) = open_deploy(path)? {
        each_checkout(path, &deploy, |_, name, identity| {
            if directories.contains(&identity) {
                found.extend(
                    name.split('.').next().and_then(|checksum| Checksum::from_hex(checksum.as_bytes())),
                );
            }
        })?;
    }
    Ok(found)
}

/// Calls `each` with every checkout's stateroot, name and directory. What doesn't look like a checkout is none.
fn each_checkout(path: &Path, deploy: &OwnedFd, mut each: impl FnMut(&str, &str, Identity)) -> Result<()> {
    each_directory(deploy, &path.join(DEPLOY), |stateroot| {
        let path = path.join(DEPLOY).join(stateroot);
        let checkouts = match openat(deploy, format!("{stateroot}/deploy"), DIRECTORY, Mode::empty()) {
            Ok(checkouts) => checkouts,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(Error::io(path.join("deploy"), error)),
        };
        each_directory(&checkouts, &path.join("deploy"), |name| {
            if !is_checkout(name) {
                return Ok(());
            }
            match statat(&checkouts, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => each(stateroot, name, identity(&stat)),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(Error::io(path.join("deploy").join(name), error)),
            }
            Ok(())
        })
    })
}

/// Calls `each` for every directory in `directory` whose name is text, as those of stateroots and checkouts are.
fn each_directory(directory: &OwnedFd, path: &Path, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
    each_entry(directory, path, |entry| {
        let io = |error: std::io::Error| Error::io(path.join(OsStr::from_bytes(entry.name)), error);
        match (std::str::from_utf8(entry.name), entry.file_type().map_err(io)?) {
            (Ok(name), Some(FileType::Directory)) => each(name),
            _ => Ok(()),
        }
    })
}

/// Whether this is how libostree writes a checkout's name: a checksum, a dot, a number.
fn is_checkout(name: &str) -> bool {
    name.split_once('.').is_some_and(|(checksum, serial)| {
        Checksum::from_hex(checksum.as_bytes()).is_some()
            && serial.parse::<u32>().is_ok_and(|number| number.to_string() == serial)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_is_named_by_checksum_and_serial() {
        let checksum = "0f".repeat(32);
        for good in ["0", "7", "10"] {
            assert!(is_checkout(&format!("{checksum}.{good}")), "{good}");
        }
        for bad in ["", "-1", "+1", "01", "1.origin", "x", " 1"] {
            assert!(!is_checkout(&format!("{checksum}.{bad}")), "{bad}");
        }
        assert!(
            !is_checkout("0f.0")
                && !is_checkout(&checksum)
                && !is_checkout(&format!("{}.0", checksum.to_uppercase()))
        );
    }
}
