//! How much room a tree takes on disk, and what its removal gives back: nothing is touched.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::checkout::{self, open, LONGEST_PATH};
use super::links::Links;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::repo::directory::DIRECTORY;
use crate::repo::listing::each_entry;
use crate::repo::seen::Seen;
use crate::report::Failure;

/// What the removal of trees gives back.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    /// Sum of the files' sizes, in bytes.
    pub bytes: u64,
    /// Bytes on disk.
    pub disk: u64,
    /// What could not be looked at.
    pub failures: Vec<Failure>,
}

/// Adds to `extent` what is at `path`, whose last component is its name in `parent`, and to `links` the names in it.
/// What is mounted there is not looked into: a removal leaves it.
pub(crate) fn measure(
    parent: &OwnedFd,
    path: &Path,
    control: &Control,
    links: &mut Links,
    extent: &mut Extent,
) -> Result<()> {
    let name = path.file_name().unwrap_or_default();
    let seen = match Seen::at(parent, name) {
        Ok(Some(seen)) => seen,
        Ok(None) => return Ok(()),
        Err(error) => {
            extent.failures.push(Failure { path: path.to_owned(), error: error.into() });
            return Ok(());
        }
    };
    if !seen.is_directory() {
        extent.bytes = extent.bytes.saturating_add(seen.size());
        extent.disk += links.remove(&seen);
        return Ok(());
    }
    let root = match open(parent, name.as_bytes(), DIRECTORY) {
        Ok(root) => root,
        Err(error) => {
            extent.failures.push(Failure { path: path.to_owned(), error: checkout::reason(error) });
            return Ok(());
        }
    };
    extent.disk += seen.on_disk();
    let mut ready = vec![PathBuf::new()];
    while let Some(at) = ready.pop() {
        control.check()?;
        let directory = match open_below(&root, at.as_os_str().as_bytes()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => continue,
            Err(error) => {
                extent.failures.push(Failure { path: path.join(at), error: checkout::reason(error) });
                continue;
            }
        };
        let listed = each_entry(&directory, &path.join(&at), |entry| {
            let name = OsStr::from_bytes(entry.name);
            let io = |error| Error::io(path.join(&at).join(name), error);
            let Some(seen) = Seen::at(&directory, name).map_err(io)? else { return Ok(()) };
            if seen.is_directory() {
                extent.disk += seen.on_disk();
                ready.push(at.join(name));
            } else {
                extent.bytes = extent.bytes.saturating_add(seen.size());
                extent.disk += links.remove(&seen);
            }
            Ok(())
        });
        match listed {
            Err(Error::Io { source, .. }) => {
                extent.failures.push(Failure { path: path.join(at), error: source.into() });
            }
            other => other?,
        }
    }
    Ok(())
}

/// Opens the directory at a path below `root`, however long the path is.
fn open_below(root: &OwnedFd, mut path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let mut directory = open(root, b".", DIRECTORY)?;
    while path.len() > LONGEST_PATH {
        let Some(cut) = path[..LONGEST_PATH].iter().rposition(|byte| *byte == b'/') else { break };
        directory = open(&directory, &path[..cut], DIRECTORY)?;
        path = &path[cut + 1..];
    }
    if path.is_empty() {
        Ok(directory)
    } else {
        open(&directory, path, DIRECTORY)
    }
}
