//! How much space objects and files take.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::FileType;

use crate::control::Control;
use crate::error::{Error, Result};
use crate::repo::listing::each_entry;
use crate::repo::seen::Seen;
use crate::repo::Repo;
use crate::sweep::uncollected::each_ownerless;

/// What one file takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Its content, in bytes (`st_size`).
    pub content: u64,
    /// Its blocks on the disk, in bytes.
    pub disk: u64,
}

impl Size {
    /// Looks at the file `path` below `directory`; None where there is none.
    pub fn at(directory: &OwnedFd, path: &[u8]) -> std::io::Result<Option<Self>> {
        Ok(Seen::at(directory, path)?.as_ref().map(Self::of))
    }

    fn of(seen: &Seen) -> Self {
        Self { content: seen.size(), disk: seen.on_disk() }
    }
}

/// A number of objects or files, and what they take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// How many.
    pub count: u64,
    /// Sum of their contents, in bytes.
    pub bytes: u64,
    /// Sum of their blocks on the disk, in bytes.
    pub disk_bytes: u64,
}

impl Space {
    pub(super) fn add(&mut self, size: Size) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(size.content);
        self.disk_bytes = self.disk_bytes.saturating_add(size.disk);
    }

    pub(super) fn and(self, other: Space) -> Self {
        Self {
            count: self.count + other.count,
            bytes: self.bytes.saturating_add(other.bytes),
            disk_bytes: self.disk_bytes.saturating_add(other.disk_bytes),
        }
    }

    pub(super) fn less(self, part: Space) -> Self {
        Self {
            count: self.count.saturating_sub(part.count),
            bytes: self.bytes.saturating_sub(part.bytes),
            disk_bytes: self.disk_bytes.saturating_sub(part.disk_bytes),
        }
    }
}

/// What all files below one of the repository's own directories take; None where we may not look into all of it.
pub(super) fn below(repo: &Repo, part: &str, control: &Control) -> Result<Option<Space>> {
    let mut found = Space::default();
    let Some(top) = repo.part(part)? else { return Ok(Some(found)) };
    let top_path = repo.path().join(part);
    // Relative to it.
    let mut unlisted = vec![PathBuf::from(".")];
    while let Some(path) = unlisted.pop() {
        control.check_or_rest()?;
        let full_path = top_path.join(&path);
        let directory = match top.child(&path) {
            Ok(Some(directory)) => directory,
            Ok(None) => continue,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(Error::io(full_path, error)),
        };
        each_entry(&directory, &full_path, |entry| {
            let name = OsStr::from_bytes(entry.name);
            let io = |error| Error::io(full_path.join(name), error);
            if entry.file_type().map_err(io)? == Some(FileType::Directory) {
                unlisted.push(path.join(name));
            } else if let Some(size) = Size::at(&directory, entry.name).map_err(io)? {
                found.add(size);
            }
            Ok(())
        })?;
    }
    Ok(Some(found))
}

/// What files take that nothing owns and libostree never deletes; None where we may not look at all of them.
pub(super) fn leftover_files(repo: &Repo, control: &Control) -> Result<Option<Space>> {
    let mut found = Space::default();
    match each_ownerless(repo, control, |seen| found.add(Size::of(seen))) {
        Ok(()) => Ok(Some(found)),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error),
    }
}
