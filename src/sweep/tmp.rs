//! What interrupted transactions left in the repository's `tmp`.
//!
//! Mirrors `cleanup_tmpdir` and `cleanup_txn_dir` in `ostree-repo-commit.c`, with which each of libostree's transactions
//! ends: staging directories of other boots go unless they are locked; everything else goes when it was written longer
//! ago than `core.tmp-expiry-secs`, but for `cache`. Differs on the side of keeping: a lock file stays while somebody holds
//! it, and where the setting is no number, only staging directories go.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{fstat, OFlags};

use super::checkout::{self, remove_file, Outcome};
use super::expiry::Expiry;
use super::extent::{self, Extent};
use super::links::Links;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::repo::boot::boot_id;
use crate::repo::directory::{open_existing, Directory};
use crate::repo::listing::each_entry;
use crate::repo::lock::{self, LockState};
use crate::repo::seen::Seen;
use crate::repo::Repo;
use crate::report::{Failure, TmpTotal};

/// The directory, below the repository.
pub(crate) const TMP: &str = "tmp";

/// How the directories begin in which transactions collect objects, `staging-BOOT-RANDOM`.
const STAGING: &[u8] = b"staging-";

/// What a staging directory's lock file has behind its name.
const LOCK: &[u8] = b"-lock";

/// Remotes' summaries and the like, which have a rule of their own.
const CACHE: &[u8] = b"cache";

/// What libostree takes for stale at one time.
struct Rule {
    expiry: Expiry,
    /// How the staging directories of this boot begin.
    this_boot: Vec<Vec<u8>>,
}

impl Rule {
    fn of(repo: &Repo) -> Result<Self> {
        let boot = boot_id()?;
        // Tests of libostree's set another.
        let boots = [Some(boot.trim().into()), std::env::var_os("OSTREE_BOOTID")];
        let prefix = |boot: OsString| [STAGING, boot.as_bytes(), b"-"].concat();
        Ok(Self { expiry: Expiry::of(repo), this_boot: boots.into_iter().flatten().map(prefix).collect() })
    }

    fn is_stale(&self, tmp: &Directory, name: &[u8]) -> std::io::Result<bool> {
        if name == CACHE {
            return Ok(false);
        }
        let Some(seen) = Seen::at(tmp, name)? else { return Ok(false) };
        if is_staging(name, &seen) {
            let is_of_this_boot = self.this_boot.iter().any(|prefix| name.starts_with(prefix));
            return Ok(!is_of_this_boot && !is_locked(tmp, &lock_of(name))?);
        }
        let is_old = self.expiry.is_over_since(seen.modified());
        Ok(is_old && !(name.ends_with(LOCK) && is_locked(tmp, name)?))
    }
}

fn is_staging(name: &[u8], seen: &Seen) -> bool {
    name.starts_with(STAGING) && seen.is_directory()
}

fn lock_of(staging: &[u8]) -> Vec<u8> {
    [staging, LOCK].concat()
}

fn is_locked(tmp: &Directory, name: &[u8]) -> std::io::Result<bool> {
    match open_existing(tmp, name, OFlags::RDONLY)? {
        Some(file) => Ok(lock::state(file.as_fd())? != LockState::Free),
        None => Ok(false),
    }
}

/// Lists what is stale. What can't be looked at is noted, by its path in the repository. Needs no lock.
pub(crate) fn list(repo: &Repo, failures: &mut Vec<Failure>) -> Result<Vec<OsString>> {
    let Some(tmp) = repo.part(TMP)? else { return Ok(Vec::new()) };
    let rule = Rule::of(repo)?;
    let mut found = HashSet::new();
    each_entry(&tmp, &repo.path().join(TMP), |entry| {
        match rule.is_stale(&tmp, entry.name) {
            Ok(true) => {
                found.insert(entry.name.to_owned());
            }
            Ok(false) => {}
            Err(error) => {
                let path = Path::new(TMP).join(OsStr::from_bytes(entry.name));
                failures.push(Failure { path, error: error.into() });
            }
        }
        Ok(())
    })?;
    // A lock file goes with its directory.
    let is_alone = |name: &&Vec<u8>| !name.strip_suffix(LOCK).is_some_and(|staging| found.contains(staging));
    let mut names: Vec<OsString> =
        found.iter().filter(is_alone).map(|name| OsStr::from_bytes(name).to_owned()).collect();
    names.sort_unstable();
    Ok(names)
}

/// Removes `name` from `tmp`, or some of it until the slice is over; None if it is not stale any more.
///
/// # Locking
/// To be called with the repository's exclusive lock held, so that no transaction is open. Without it (`is_alone` is
/// false, `core.locking` being off) a staging directory that has no lock file stays: somebody may be about to make one.
pub(crate) fn remove(
    repo: &Repo,
    name: &OsStr,
    is_alone: bool,
    context: checkout::Context,
) -> Result<Option<Outcome>> {
    let path = Path::new(TMP).join(name);
    let io = |error: std::io::Error| Error::io(repo.path().join(&path), error);
    let Some(tmp) = repo.part(TMP)? else { return Ok(None) };
    if !Rule::of(repo)?.is_stale(&tmp, name.as_bytes()).map_err(io)? {
        return Ok(None);
    }
    let Some(seen) = Seen::at(&tmp, name).map_err(io)? else { return Ok(None) };
    if !seen.is_directory() {
        let removed = remove_file(&tmp, &path, context);
        return Ok(Some(if removed { Outcome::Gone } else { Outcome::Stuck }));
    }
    if !is_staging(name.as_bytes(), &seen) {
        return checkout::remove(&tmp, &path, false, context).map(Some);
    }
    let lock_name = lock_of(name.as_bytes());
    let held = match open_existing(&tmp, &*lock_name, OFlags::RDWR).map_err(io)? {
        Some(file) if take(&file, &tmp, &lock_name).map_err(io)? => Some(file),
        None if is_alone => None,
        _ => return Ok(None),
    };
    let outcome = checkout::remove(&tmp, &path, false, context)?;
    if held.is_some() && outcome == Outcome::Gone {
        remove_file(&tmp, &path.with_file_name(OsStr::from_bytes(&lock_name)), context);
    }
    Ok(Some(outcome))
}

/// What a removal of all that is stale would do.
#[derive(Default)]
pub(crate) struct Forecast {
    /// What would be deleted.
    pub names: Vec<OsString>,
    /// What that gives back, and what can't be looked at.
    pub extent: Extent,
}

impl Forecast {
    /// In numbers.
    pub fn total(&self) -> TmpTotal {
        TmpTotal { entries: self.names.len() as u64, bytes: self.extent.bytes }
    }
}

/// Finds out what is stale, and how large it is. Needs no lock.
pub(crate) fn forecast(repo: &Repo, control: &Control) -> Result<Forecast> {
    let mut found = Forecast::default();
    let names = list(repo, &mut found.extent.failures)?;
    let Some(tmp) = repo.part(TMP)? else { return Ok(found) };
    for name in names {
        let failed = found.extent.failures.len();
        let path = Path::new(TMP).join(&name);
        extent::measure(&tmp, &path, control, &mut Links::default(), &mut found.extent)?;
        if found.extent.failures.len() == failed {
            found.names.push(name);
        }
    }
    Ok(found)
}

/// Locks a lock file, which is the one of that name still; false if somebody else has it. Closing it releases.
fn take(file: &OwnedFd, tmp: &Directory, name: &[u8]) -> std::io::Result<bool> {
    if !lock::try_exclusive(file.as_fd())? {
        return Ok(false);
    }
    let inode = fstat(file)?.st_ino;
    Ok(Seen::at(tmp, name)?.is_some_and(|found| found.inode().1 == inode))
}

#[cfg(test)]
mod tests;
