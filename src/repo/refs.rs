//! Refs of every kind.
//!
//! Mirrors `ostree_repo_list_refs` and `ostree_repo_list_collection_refs`: files below `refs/heads`,
//! `refs/remotes/REMOTE` and `refs/mirrors/COLLECTION`, symlinks for aliases. Stricter in what must not be
//! misread: a ref that can't be read or holds no checksum is an error, and whatever does hold a checksum counts,
//! even under a name that libostree would skip.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{openat2, statat, unlinkat, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::listing::{each_entry, Entry};
use super::object::Checksum;
use super::{open_unnoticed, read_small, Repo, DIRECTORY};
use crate::control::Control;
use crate::error::{Error, Result};

/// More parts than a ref's name may have: a deeper one fits in no path, or is there to exhaust us.
const MAX_DEPTH: usize = 256;

/// A ref and the commit it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// Its file, relative to the repository: `refs/heads/…`.
    pub path: PathBuf,
    /// The commit.
    pub target: Checksum,
}

impl Ref {
    /// Its name as libostree writes it: `REF`, `REMOTE:REF`, or `(COLLECTION, REF)`.
    pub fn spec(&self) -> String {
        let text = self.path.to_string_lossy();
        let split =
            |rest: &str| rest.split_once('/').map(|(group, name)| (group.to_owned(), name.to_owned()));
        if let Some((remote, name)) = text.strip_prefix("refs/remotes/").and_then(split) {
            format!("{remote}:{name}")
        } else if let Some((collection, name)) = text.strip_prefix("refs/mirrors/").and_then(split) {
            format!("({collection}, {name})")
        } else {
            text.strip_prefix("refs/heads/").unwrap_or(&text).to_owned()
        }
    }
}

/// Lists all refs of `repo`. Those of a parent protect nothing here.
pub fn list(repo: &Repo, control: &Control) -> Result<Vec<Ref>> {
    let mut refs = Refs { repo, control, found: Vec::new() };
    for (kind, required) in [("heads", true), ("remotes", true), ("mirrors", false)] {
        let path = Path::new("refs").join(kind);
        match open_unnoticed(repo.directory(), &path, DIRECTORY) {
            Ok(directory) => refs.list(&directory, &path)?,
            // `ostree init` makes no refs/mirrors; without the others this is half a repository.
            Err(Errno::NOENT) if !required => {}
            Err(error) => return Err(Error::io(repo.path().join(path), error)),
        }
    }
    Ok(refs.found)
}

/// Deletes a ref, which may be gone already. Nothing is made durable.
pub(crate) fn delete(repo: &Repo, reference: &Ref) -> std::io::Result<()> {
    let (Some(parent), Some(name)) = (reference.path.parent(), reference.path.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    match open_inside(repo, parent).and_then(|parent| unlinkat(parent, name, AtFlags::empty())) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens a directory of refs, given by its path in the repository; None where there is none.
pub(crate) fn open_directory(repo: &Repo, path: &Path) -> Result<Option<OwnedFd>> {
    match open_inside(repo, path) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::io(repo.path().join(path), error)),
    }
}

/// Opens a directory of the repository, through no symlink.
fn open_inside(repo: &Repo, path: &Path) -> rustix::io::Result<OwnedFd> {
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(repo.directory(), path, DIRECTORY, Mode::empty(), inside)
}

/// Refs while they are collected.
struct Refs<'a> {
    repo: &'a Repo,
    control: &'a Control,
    found: Vec<Ref>,
}

impl Refs<'_> {
    fn list(&mut self, directory: &OwnedFd, path: &Path) -> Result<()> {
        let full_path = self.repo.path().join(path);
        if path.components().count() > MAX_DEPTH {
            return Err(Error::corrupt(path.display(), "it is nested too deeply"));
        }
        each_entry(directory, &full_path, |entry| {
            self.control.check()?;
            let child = path.join(OsStr::from_bytes(entry.name));
            let io = |error: std::io::Error| Error::io(full_path.join(OsStr::from_bytes(entry.name)), error);
            match entry.file_type().map_err(io)? {
                None => Ok(()),
                Some(FileType::Directory) => {
                    match open_unnoticed(directory, entry.name, DIRECTORY) {
                        Ok(below) => self.list(&below, &child),
                        // Deleting the last ref in it deletes a directory.
                        Err(Errno::NOENT) => Ok(()),
                        Err(error) => Err(io(error.into())),
                    }
                }
                Some(kind @ (FileType::RegularFile | FileType::Symlink)) => {
                    if kind == FileType::Symlink {
                        check_alias(directory, entry.name, &child)?;
                    }
                    let target = self.read(directory, entry, &child)?;
                    self.found.extend(target.map(|target| Ref { path: child, target }));
                    Ok(())
                }
                Some(_) => Err(Error::corrupt(child.display(), "it is neither a file nor a symlink")),
            }
        })
    }

    /// Reads one ref; None if it was deleted meanwhile, or is a file that libostree would not take for a ref and that
    /// names no commit.
    fn read(&self, directory: &OwnedFd, entry: &Entry, path: &Path) -> Result<Option<Checksum>> {
        let corrupt = |reason: String| Error::corrupt(path.display(), reason);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match open_unnoticed(directory, entry.name, flags) {
            Ok(file) => file,
            Err(Errno::NOENT) => {
                return match statat(directory, entry.name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => Ok(None),
                    _ => Err(corrupt("it is an alias of a ref that does not exist".into())),
                }
            }
            Err(error) => return Err(Error::io(self.repo.path().join(path), error)),
        };
        match read_small(&file) {
            Ok(content) => target(entry.name, &content).map_err(|reason| corrupt(reason.into())),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                if is_ref_name(entry.name) {
                    Err(corrupt(error.to_string()))
                } else {
                    Ok(None)
                }
            }
            Err(error) => Err(Error::io(self.repo.path().join(path), error)),
        }
    }
}

/// Fails if an alias leads to anything but a file: opening a device can be enough to set it going.
fn check_alias(directory: &OwnedFd, name: &[u8], path: &Path) -> Result<()> {
    match statat(directory, name, AtFlags::empty()) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
            Err(Error::corrupt(path.display(), "it is an alias of what is not a regular file"))
        }
        // What can't be followed fails when it is opened.
        _ => Ok(()),
    }
}

/// The commit that a ref's file holds. None if it holds none, and libostree would not take a file of this name, the last
/// part of its path, for a ref; otherwise the error is for people.
pub fn target(name: &[u8], content: &[u8]) -> std::result::Result<Option<Checksum>, &'static str> {
    match Checksum::from_hex(content.trim_ascii_end()) {
        None if is_ref_name(name) => Err("it holds no checksum of a commit"),
        target => Ok(target),
    }
}

/// Whether libostree lists a ref of this name: `OSTREE_REF_FRAGMENT_REGEXP`.
fn is_ref_name(name: &[u8]) -> bool {
    // The expression's `$` passes over one line end, of any kind.
    let name = match name {
        [rest @ .., b'\r', b'\n'] | [rest @ .., b'\n' | b'\x0b' | b'\x0c' | b'\r'] => rest,
        _ => name,
    };
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || !b.is_ascii();
    name.first().is_some_and(word) && name.iter().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests;
