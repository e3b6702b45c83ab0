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

use rustix::fs::{fstat, statat, AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::directory::Directory;
use super::listing::each_entry;
use super::object::Checksum;
use super::{read_small, Repo};
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
    /// Whether it is a symlink to another ref.
    pub is_alias: bool,
    /// Device and inode of the file that holds the commit; an alias has those of the ref that it leads to.
    pub file: (u64, u64),
}

impl Ref {
    /// Its name as libostree writes it: `REF`, `REMOTE:REF`, or `(COLLECTION, REF)`.
    pub fn spec(&self) -> String {
        spec(&self.path)
    }
}

/// As [`Ref::spec`].
pub(crate) fn spec(path: &Path) -> String {
    let text = path.to_string_lossy();
    let split = |rest: &str| rest.split_once('/').map(|(group, name)| (group.to_owned(), name.to_owned()));
    if let Some((remote, name)) = text.strip_prefix("refs/remotes/").and_then(split) {
        format!("{remote}:{name}")
    } else if let Some((collection, name)) = text.strip_prefix("refs/mirrors/").and_then(split) {
        format!("({collection}, {name})")
    } else {
        text.strip_prefix("refs/heads/").unwrap_or(&text).to_owned()
    }
}

/// What to do about the ref at `path` if its commit is missing, for people.
pub(crate) fn ways_out(path: &Path) -> String {
    format!("pull that commit, or delete the ref with 'ostree refs --delete {}'", spec(path))
}

/// Lists all refs of `repo`. Those of a parent protect nothing here.
pub fn list(repo: &Repo, control: &Control) -> Result<Vec<Ref>> {
    let kinds = Kinds::open(repo, control)?;
    let (mut found, mut left) = (Vec::new(), kinds.paths());
    while let Some(path) = left.pop() {
        let Some(mut listed) = kinds.list(&path)? else { continue };
        found.append(&mut listed.refs);
        left.append(&mut listed.below);
    }
    Ok(found)
}

/// Deletes a ref, which may be gone already. Nothing is made durable.
pub(crate) fn delete(repo: &Repo, reference: &Ref) -> std::io::Result<()> {
    let (Some(parent), Some(name)) = (reference.path.parent(), reference.path.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let parent = repo.part(parent).map_err(|error| match error {
        Error::Io { source, .. } => source,
        other => std::io::Error::other(other.to_string()),
    })?;
    match parent.map_or(Err(Errno::NOENT), |parent| parent.unlink(name)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What is in one directory of refs.
pub(crate) struct Listed {
    /// The refs in it.
    pub refs: Vec<Ref>,
    /// The directories in it, relative to the repository.
    pub below: Vec<PathBuf>,
}

/// The directories that hold the refs of each kind, opened.
pub(crate) struct Kinds<'a> {
    repo: &'a Repo,
    control: &'a Control,
    opened: Vec<Kind>,
}

/// The refs of one kind.
struct Kind {
    /// Relative to the repository.
    path: PathBuf,
    directory: Directory,
    /// Where aliases may lead to, relative to the repository.
    base: PathBuf,
    aliases: Directory,
}

impl<'a> Kinds<'a> {
    /// Opens those that there are.
    pub fn open(repo: &'a Repo, control: &'a Control) -> Result<Self> {
        let mut opened = Vec::new();
        for (kind, required) in [("heads", true), ("remotes", true), ("mirrors", false)] {
            let path = Path::new("refs").join(kind);
            let Some(directory) = repo.part(&path)? else {
                // `ostree init` makes no refs/mirrors; without the others this is half a repository.
                if required {
                    return Err(Error::io(repo.path().join(path), Errno::NOENT));
                }
                continue;
            };
            // An alias leads to any ref, or to one on the same disk.
            let base = if repo.is_linked(&path) { path.clone() } else { PathBuf::from("refs") };
            let aliases =
                repo.part(&base)?.ok_or_else(|| Error::io(repo.path().join(&base), Errno::NOENT))?;
            opened.push(Kind { path, directory, base, aliases });
        }
        Ok(Self { repo, control, opened })
    }

    /// Where they are, relative to the repository.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.opened.iter().map(|kind| kind.path.clone()).collect()
    }

    /// Looks at a directory of refs; None where there is no directory.
    pub fn look_at(&self, path: &Path) -> Result<Option<Stat>> {
        let Some((kind, below)) = self.find(path) else { return Ok(None) };
        let looked = if below.as_os_str().is_empty() {
            fstat(&kind.directory)
        } else {
            statat(&kind.directory, below, AtFlags::SYMLINK_NOFOLLOW)
        };
        match looked {
            Ok(stat) => Ok(Some(stat).filter(is_directory)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(Error::io(self.repo.path().join(path), error)),
        }
    }

    /// Lists a directory of refs; None where there is none any more: deleting the last ref in it deletes a directory.
    pub fn list(&self, path: &Path) -> Result<Option<Listed>> {
        let full_path = self.repo.path().join(path);
        if path.components().count() > MAX_DEPTH {
            return Err(Error::corrupt(path.display(), "it is nested too deeply"));
        }
        let Some((kind, below)) = self.find(path) else { return Ok(None) };
        let directory = if below.as_os_str().is_empty() {
            Directory::held(&kind.directory).map(Some).map_err(Into::into)
        } else {
            kind.directory.child(below)
        };
        let Some(directory) = directory.map_err(|error| Error::io(&full_path, error))? else {
            return Ok(None);
        };
        let mut listed = Listed { refs: Vec::new(), below: Vec::new() };
        each_entry(&directory, &full_path, |entry| {
            self.control.check()?;
            let child = path.join(OsStr::from_bytes(entry.name));
            let io = |error: std::io::Error| Error::io(full_path.join(OsStr::from_bytes(entry.name)), error);
            let mut is_alias = false;
            let file = match entry.file_type().map_err(io)? {
                None => None,
                Some(FileType::Directory) => {
                    listed.below.push(child);
                    return Ok(());
                }
                Some(FileType::RegularFile) => directory.file(entry.name).transpose(),
                Some(FileType::Symlink) => {
                    is_alias = true;
                    kind.follow(&directory, entry.name, &child)?
                }
                Some(_) => return Err(Error::corrupt(child.display(), "it is neither a file nor a symlink")),
            };
            if let Some(file) = file {
                let read = self.read(file, entry.name, &child)?;
                listed.refs.extend(read.map(|(target, file)| Ref { path: child, target, is_alias, file }));
            }
            Ok(())
        })?;
        Ok(Some(listed))
    }

    /// The kind that a directory belongs to, and its path below that.
    fn find<'p>(&self, path: &'p Path) -> Option<(&Kind, &'p Path)> {
        self.opened.iter().find_map(|kind| Some((kind, path.strip_prefix(&kind.path).ok()?)))
    }

    /// Reads one ref; None if it is a file that libostree would not take for a ref and that names no commit.
    fn read(
        &self,
        file: std::io::Result<OwnedFd>,
        name: &[u8],
        path: &Path,
    ) -> Result<Option<(Checksum, (u64, u64))>> {
        let corrupt = |reason: String| Error::corrupt(path.display(), reason);
        match file.and_then(|file| Ok((fstat(&file)?, read_small(&file)?))) {
            Ok((stat, content)) => {
                let target = target(name, &content).map_err(|reason| corrupt(reason.into()))?;
                Ok(target.map(|target| (target, (stat.st_dev, stat.st_ino))))
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                if is_ref_name(name) {
                    Err(corrupt(error.to_string()))
                } else {
                    Ok(None)
                }
            }
            Err(error) => Err(Error::io(self.repo.path().join(path), error)),
        }
    }
}

impl Kind {
    /// Opens the ref that an alias leads to, among the repository's own; None if the alias was deleted meanwhile.
    fn follow(
        &self,
        directory: &Directory,
        name: &[u8],
        path: &Path,
    ) -> Result<Option<std::io::Result<OwnedFd>>> {
        let corrupt = |reason| Err(Error::corrupt(path.display(), reason));
        let below = path.strip_prefix(&self.base).unwrap_or(path);
        match self.aliases.file_within(below) {
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                corrupt("it is an alias of what is not a regular file")
            }
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) if statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_err() => Ok(None),
            Err(Errno::NOENT) => corrupt("it is an alias of a ref that does not exist"),
            Err(_) => corrupt("it is a symlink that leads to none of this repository's refs"),
        }
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
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
