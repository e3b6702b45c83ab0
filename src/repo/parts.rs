//! The repository's own directories, any of which may lie on another disk.
//!
//! `ostree` follows symlinks at these places, and people use them. Such a symlink is followed once, when the repository is
//! opened, and held by its descriptor from then on. It has to belong to root or to the caller, and so does the directory
//! that it leads to: others could aim us at a directory of root's that is none of theirs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{fstat, openat, readlinkat, statat, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::directory::Directory;
use super::listing::each_entry;
use super::object::directory_name;
use crate::error::{Error, Result};

const OBJECTS: &str = "objects";

/// Where a symlink may lie, parents first.
const FOLLOWED: [&str; 11] = [
    OBJECTS,
    "refs",
    "refs/heads",
    "refs/remotes",
    "refs/mirrors",
    "state",
    "deltas",
    "delta-indexes",
    "tmp",
    "tmp/cache",
    "uncompressed-objects-cache",
];

/// Where none may.
const SUMMARIES: &str = "tmp/cache/summaries";

/// A repository's own directories.
#[derive(Debug)]
pub(super) struct Parts {
    top: Directory,
    path: PathBuf,
    /// Those behind symlinks.
    linked: BTreeMap<PathBuf, Directory>,
}

impl Parts {
    /// Follows the symlinks at the places of the repository's directories.
    ///
    /// [`Error::Unsupported`] where one can't be trusted, or where there is something else than a directory.
    pub fn open(top: Directory, path: &Path) -> Result<Self> {
        let mut parts = Self { top, path: path.to_owned(), linked: BTreeMap::new() };
        for part in FOLLOWED {
            parts.follow(Path::new(part), true)?;
        }
        parts.follow(Path::new(SUMMARIES), false)?;
        let Some(objects) = parts.get(Path::new(OBJECTS))? else { return Ok(parts) };
        let mut links = Vec::new();
        each_entry(&objects, &path.join(OBJECTS), |entry| {
            let kind = entry.file_type().map_err(|error| Error::io(path.join(OBJECTS), error))?;
            if kind == Some(FileType::Symlink) && is_object_directory(entry.name) {
                links.push(Path::new(OBJECTS).join(String::from_utf8_lossy(entry.name).as_ref()));
            }
            Ok(())
        })?;
        for link in links {
            parts.follow(&link, true)?;
        }
        Ok(parts)
    }

    /// The repository itself.
    pub fn top(&self) -> &Directory {
        &self.top
    }

    /// Whether `part` lies behind a symlink of its own.
    pub fn is_linked(&self, part: &Path) -> bool {
        self.linked.contains_key(part)
    }

    /// The object directory of this number, if it lies behind a symlink of its own.
    pub fn linked_objects(&self, number: u8) -> Option<&Directory> {
        if self.linked.is_empty() {
            return None;
        }
        self.linked.get(&Path::new(OBJECTS).join(directory_name(number)))
    }

    /// The repository's directory and those behind symlinks: one at least on each file system that it lies on.
    pub fn roots(&self) -> impl Iterator<Item = &Directory> {
        std::iter::once(&self.top).chain(self.linked.values())
    }

    /// Opens `part`; None where there is none.
    pub fn get(&self, part: &Path) -> Result<Option<Directory>> {
        let io = |error: std::io::Error| Error::io(self.path.join(part), error);
        if let Some(directory) = self.linked.get(part) {
            return Directory::held(directory).map(Some).map_err(|error| io(error.into()));
        }
        let Some((parent, name)) = self.parent(part)? else { return Ok(None) };
        parent.child(name).map_err(io)
    }

    /// The directory that `part` lies in, and its name there.
    fn parent<'p>(&self, part: &'p Path) -> Result<Option<(Directory, &'p OsStr)>> {
        let name = part.file_name().unwrap_or_default();
        let parent = match part.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => self.get(parent)?,
            None => Some(Directory::held(&self.top).map_err(|error| Error::io(&self.path, error))?),
        };
        Ok(parent.map(|parent| (parent, name)))
    }

    fn follow(&mut self, part: &Path, allowed: bool) -> Result<()> {
        let path = self.path.join(part);
        let io = |error: Errno| Error::io(&path, error);
        let refused = |reason: &str| Error::Unsupported { path: path.clone(), reason: reason.to_owned() };
        let Some((parent, name)) = self.parent(part)? else { return Ok(()) };
        match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(io(error)),
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => return Ok(()),
                FileType::Symlink if allowed => {}
                FileType::Symlink => return Err(refused("it is a symlink, which is not followed here")),
                _ => return Err(refused("it is not a directory")),
            },
        }
        let hold = OFlags::PATH | OFlags::CLOEXEC;
        let link = openat(&parent, name, hold | OFlags::NOFOLLOW, Mode::empty()).map_err(io)?;
        if !is_trusted(&link).map_err(io)? {
            return Err(refused("it is a symlink that belongs neither to root nor to you"));
        }
        // Of this very symlink, whatever is at its name by now.
        let target = readlinkat(&link, "", Vec::new()).map_err(io)?;
        let directory = openat(&parent, &*target, hold | OFlags::DIRECTORY, Mode::empty())
            .map_err(|_| refused("it is a symlink that leads to no directory"))?;
        if !is_trusted(&directory).map_err(io)? {
            return Err(refused("it is a symlink to a directory that belongs neither to root nor to you"));
        }
        self.linked.insert(part.to_owned(), Directory::held(&directory).map_err(io)?);
        Ok(())
    }
}

fn is_trusted(held: &OwnedFd) -> rustix::io::Result<bool> {
    let owner = fstat(held)?.st_uid;
    Ok(owner == 0 || owner == rustix::process::geteuid().as_raw())
}

/// Whether it is a name of two hexadecimal digits.
fn is_object_directory(name: &[u8]) -> bool {
    name.len() == 2 && name.iter().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(digit))
}
