//! The repository on disk, read through directory descriptors.

pub mod abbreviation;
pub(crate) mod boot;
pub mod config;
pub mod delta;
pub(crate) mod directory;
pub(crate) mod file_system;
pub(crate) mod listing;
pub mod lock;
pub mod mode;
pub mod object;
mod parts;
pub mod refs;
pub(crate) mod seen;
pub mod variant;
pub(crate) mod waiters;

use std::collections::{BTreeSet, HashSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{fstat, statat, Access, AtFlags, FileType, OFlags, Stat};
use rustix::io::{retry_on_intr, Errno};
use sha2::{Digest, Sha256};

use self::config::{Config, LockTimeout};
use self::directory::{explain, open_unnoticed, Directory};
use self::lock::Lock;
use self::object::{directory_name, Checksum, ObjectName, ObjectType};
use self::parts::Parts;
use self::variant::Commit;
use crate::error::{Error, Result};

/// How files are opened: never through a symlink, and without waiting for a FIFO's other end.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

/// libostree's own limit for metadata objects, `OSTREE_MAX_METADATA_SIZE`.
const MAX_METADATA: u64 = 128 << 20;

/// Most dirtrees, dirmetas and commits are smaller.
const SMALL: usize = 16 << 10;

/// So much of a large commit is read at a time.
const CHUNK: usize = 64 << 10;

/// Limit for `config`, for refs and the like, which are far smaller.
const MAX_SMALL: u64 = 16 << 20;

/// How many repositories may be parents of each other before it counts as a loop.
const MAX_PARENTS: usize = 16;

/// An opened repository.
#[derive(Debug)]
pub struct Repo {
    path: PathBuf,
    parts: Parts,
    objects: Directory,
    config_text: String,
    config: Config,
    parent: Option<Box<Repo>>,
}

impl Repo {
    /// Opens the repository at `path`, and its parents.
    ///
    /// Mirrors `ostree_repo_open`, but writes nothing.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_nested(path, MAX_PARENTS)
    }

    fn open_nested(path: &Path, levels: usize) -> Result<Self> {
        let not_a_repo = |reason: &str| Error::NotARepo { path: path.to_owned(), reason: reason.to_owned() };
        // The repository itself may be reached through symlinks, as /ostree is.
        let directory = Directory::at(path).map_err(|error| match error {
            Errno::NOENT => not_a_repo("No such file or directory"),
            Errno::NOTDIR => not_a_repo("it is no directory"),
            other => Error::io(path, other),
        })?;
        let parts = Parts::open(directory, path)?;
        let objects =
            parts.get(Path::new("objects"))?.ok_or_else(|| not_a_repo("it has no directory 'objects'"))?;
        let config_path = path.join("config");
        let config_text = read_config(parts.top(), path)?;
        let config = Config::parse(&config_text, &config_path)?;
        let parent = match (&config.parent, levels) {
            (None, _) => None,
            (Some(_), 0) => {
                return Err(Error::Unsupported {
                    path: config_path,
                    reason: "core.parent: too many repositories are each other's parents".into(),
                })
            }
            (Some(parent), _) => Some(Box::new(Self::open_nested(parent, levels - 1)?)),
        };
        Ok(Self { path: path.to_owned(), parts, objects, config_text, config, parent })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The repository that holds what is not here.
    pub fn parent(&self) -> Option<&Repo> {
        self.parent.as_deref()
    }

    pub(crate) fn directory(&self) -> &Directory {
        self.parts.top()
    }

    pub(crate) fn objects(&self) -> &Directory {
        &self.objects
    }

    /// Opens a directory in the repository, through no symlink but those at the places of its own ones; None where there
    /// is none.
    pub(crate) fn part(&self, part: impl AsRef<Path>) -> Result<Option<Directory>> {
        self.parts.get(part.as_ref())
    }

    /// One directory at least on each file system that the repository lies on.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Directory> {
        self.parts.roots()
    }

    /// Whether one of the repository's own directories lies behind a symlink.
    pub(crate) fn is_linked(&self, part: &Path) -> bool {
        self.parts.is_linked(part)
    }

    /// Whether objects can be written and deleted, as `ostree_repo_is_writable` sees it.
    pub fn is_writable(&self) -> bool {
        rustix::fs::accessat(&self.objects, ".", Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    }

    /// How long to wait for a lock, where the caller does not say: as the settings do. Those of somebody else can make
    /// nobody wait longer than by default.
    pub(crate) fn lock_timeout(&self) -> LockTimeout {
        let owner = fstat(self.directory()).map_or(None, |stat| Some(stat.st_uid));
        let is_trusted =
            owner.is_some_and(|owner| owner == 0 || owner == rustix::process::geteuid().as_raw());
        self.config.lock_timeout.bounded(is_trusted)
    }

    /// The lock for a run that deletes.
    pub fn lock(&self, timeout: Option<LockTimeout>) -> Result<Lock> {
        let timeout = timeout.unwrap_or_else(|| self.lock_timeout());
        if self.config.locking {
            Lock::open(self.directory(), &self.path, timeout)
        } else {
            Ok(Lock::disabled(&self.path, timeout))
        }
    }

    /// The lock for a run that only reads.
    pub fn lock_for_reading(&self, timeout: Option<LockTimeout>) -> Lock {
        let timeout = timeout.unwrap_or_else(|| self.lock_timeout());
        if self.config.locking {
            Lock::open_read_only(self.directory(), &self.path, timeout)
        } else {
            Lock::disabled(&self.path, timeout)
        }
    }

    /// Switches `core.tombstone-commits` on, for good, and opens the repository anew.
    ///
    /// Mirrors `ot_enable_tombstone_commits`: a commit that is deleted by name has to be known as deleted to mirrors.
    pub(crate) fn with_tombstones(self) -> Result<Self> {
        if self.config.tombstones {
            return Ok(self);
        }
        let path = self.path.join("config");
        let text = config::with_tombstones(&self.config_text, &path)?;
        self.directory()
            .rewrite("config", "config.ostree-sweep", text.as_bytes())
            .map_err(|error| Error::io(&path, error))?;
        Self::open(&self.path)
    }

    /// Fails if settings by which objects are kept or deleted are no longer those the run began with.
    pub(crate) fn check_config(&self) -> Result<()> {
        let text = read_config(self.directory(), &self.path)?;
        let path = self.path.join("config");
        if text != self.config_text && !self.config.decides_as(&Config::parse(&text, &path)?) {
            return Err(Error::Unsupported { path, reason: "the settings were changed meanwhile".into() });
        }
        self.parent().map_or(Ok(()), Repo::check_config)
    }

    /// The remotes that are configured by now.
    pub(crate) fn remotes(&self) -> Result<BTreeSet<String>> {
        let text = read_config(self.directory(), &self.path)?;
        Ok(Config::parse(&text, &self.path.join("config"))?.remotes)
    }

    /// Reads a commit, dirtree or dirmeta from here or a parent into `buffer`, and checks that its bytes are those
    /// that its checksum names. False where no repository has it.
    pub(crate) fn read_metadata(&self, object: ObjectName, buffer: &mut Vec<u8>) -> Result<bool> {
        self.read_checked(object, buffer, read_whole).map(|length| length.is_some())
    }

    /// Reads a commit from here or a parent by way of `buffer`, checked as by [`read_metadata`](Self::read_metadata);
    /// None where no repository has it. Metadata, which may be 128 MiB, is hashed and not held.
    pub(crate) fn read_commit(&self, commit: Checksum, buffer: &mut Vec<u8>) -> Result<Option<Commit>> {
        let object = ObjectName::new(commit, ObjectType::Commit);
        let Some(length) = self.read_checked(object, buffer, read_behind_metadata)? else { return Ok(None) };
        variant::end_of_commit(buffer, length).map(Some).map_err(|error| Error::corrupt(object, error.0))
    }

    /// Reads an object into `buffer`, by `read` if it is not small; returns its length, None where no repository has it.
    fn read_checked(&self, object: ObjectName, buffer: &mut Vec<u8>, read: Read) -> Result<Option<usize>> {
        let Some(file) = self.open_object(object)? else {
            return self.parent().map_or(Ok(None), |parent| parent.read_checked(object, buffer, read));
        };
        if read_at_once(&file, buffer) && is_content_of(object, buffer) {
            return Ok(Some(buffer.len()));
        }
        let (length, checksum) = read(&file, buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => Error::corrupt(object, error.to_string()),
            _ => Error::io(self.path.join("objects").join(object.loose_path(self.config.mode)), error),
        })?;
        if checksum == Some(object.checksum) {
            Ok(Some(length))
        } else {
            Err(Error::corrupt(object, "its content does not match its checksum"))
        }
    }

    /// The checksum of an object's content; None where this repository has no such object.
    pub(crate) fn checksum_of(&self, object: ObjectName) -> Result<Option<Checksum>> {
        let path = object.loose_path(self.config.mode);
        let io = |error: std::io::Error| Error::io(self.path.join("objects").join(&path), error);
        let Some(file) = self.open_object(object)? else { return Ok(None) };
        let mut buffer = Vec::new();
        read_regular(&file, MAX_METADATA, &mut buffer).map_err(io)?;
        Ok(Checksum::from_bytes(&Sha256::digest(&buffer)))
    }

    /// Opens an object's file; None where there is none.
    ///
    /// Not looked at before, as everything else is, for there are many: what is no file waits for nobody, and a device
    /// could only be root's.
    fn open_object(&self, object: ObjectName) -> Result<Option<OwnedFd>> {
        let path = object.loose_path(self.config.mode);
        let opened = match self.parts.linked_objects(object.checksum.directory()) {
            Some(directory) => open_unnoticed(directory, &object.file_name(self.config.mode), FILE),
            None => open_unnoticed(&self.objects, &path, FILE),
        };
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io(self.path.join("objects").join(path), explain(error))),
        }
    }

    /// Whether this repository or a parent has `object`.
    pub(crate) fn has(&self, object: ObjectName) -> Result<bool> {
        let path = object.loose_path(self.config.mode);
        match statat(&self.objects, &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => self.parent().map_or(Ok(false), |parent| parent.has(object)),
            Err(error) => Err(Error::io(self.path.join("objects").join(path), error)),
        }
    }

    /// When `object` was written here or in a parent, in seconds since 1970; zero where it is not.
    pub(crate) fn modification_time(&self, object: ObjectName) -> Result<u64> {
        let path = object.loose_path(self.config.mode);
        match statat(&self.objects, &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(u64::try_from(stat.st_mtime).unwrap_or(0)),
            Err(Errno::NOENT) => self.parent().map_or(Ok(0), |parent| parent.modification_time(object)),
            Err(error) => Err(Error::io(self.path.join("objects").join(path), error)),
        }
    }

    /// Opens object directory `number`; None where there is none.
    pub(crate) fn open_object_directory(&self, number: u8) -> Result<Option<Directory>> {
        let io = |error| Error::io(self.object_directory_path(number), error);
        match self.parts.linked_objects(number) {
            Some(directory) => Directory::held(directory).map(Some).map_err(|error| io(error.into())),
            None => self.objects.child(&directory_name(number)).map_err(io),
        }
    }

    /// Looks at object directory `number`; None where there is none.
    pub(crate) fn look_at_object_directory(&self, number: u8) -> Result<Option<Stat>> {
        let stat = match self.parts.linked_objects(number) {
            Some(directory) => fstat(directory),
            None => statat(&self.objects, directory_name(number), AtFlags::SYMLINK_NOFOLLOW),
        };
        match stat {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io(self.object_directory_path(number), error)),
        }
    }

    pub(crate) fn object_directory_path(&self, number: u8) -> PathBuf {
        self.path.join("objects").join(directory_name(number))
    }

    /// Commits marked as partial here and in the parents: it is no error when they lack objects.
    ///
    /// Mirrors `_ostree_get_commitpartial_path`: `state/CHECKSUM.commitpartial`.
    pub(crate) fn partial_commits(&self) -> Result<HashSet<Checksum>> {
        let mut found = self.parent().map_or(Ok(HashSet::new()), Repo::partial_commits)?;
        if let Some(state) = self.part("state")? {
            listing::each_entry(&state, &self.path.join("state"), |entry| {
                found.extend(entry.name.strip_suffix(b".commitpartial").and_then(Checksum::from_hex));
                Ok(())
            })?;
        }
        Ok(found)
    }
}

/// The name in `state` of the mark that makes `commit` a partial one.
pub(crate) fn partial_mark(commit: &Checksum) -> String {
    format!("{commit}.commitpartial")
}

fn read_config(directory: &Directory, path: &Path) -> Result<String> {
    let config_path = path.join("config");
    let none = || Error::NotARepo { path: path.to_owned(), reason: "it has no file 'config'".into() };
    let file = directory.file("config").map_err(|error| Error::io(&config_path, error))?.ok_or_else(none)?;
    read_text(&file).map_err(|error| Error::io(&config_path, error))
}

/// Reads a small file.
pub(crate) fn read_small(file: &OwnedFd) -> std::io::Result<Vec<u8>> {
    let mut buffer = Vec::new();
    read_regular(file, MAX_SMALL, &mut buffer)?;
    Ok(buffer)
}

/// Reads a small text file.
pub(crate) fn read_text(file: &OwnedFd) -> std::io::Result<String> {
    String::from_utf8(read_small(file)?)
        .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not text"))
}

fn is_content_of(object: ObjectName, bytes: &[u8]) -> bool {
    Sha256::digest(bytes).as_slice() == object.checksum.0
}

/// Reads what is most likely a small file by one system call. What it may have read wrong, the checksum finds out; then,
/// as when it is false, the file is to be read with care.
fn read_at_once(file: &OwnedFd, buffer: &mut Vec<u8>) -> bool {
    buffer.clear();
    buffer.try_reserve(SMALL).is_ok()
        && retry_on_intr(|| rustix::io::pread(file, rustix::buffer::spare_capacity(buffer), 0)).is_ok()
        && buffer.len() < buffer.capacity()
}

/// Reads a file into a buffer, all or what is wanted of it; returns its length and the checksum of all.
type Read = fn(&OwnedFd, &mut Vec<u8>) -> std::io::Result<(usize, Option<Checksum>)>;

fn read_whole(file: &OwnedFd, buffer: &mut Vec<u8>) -> std::io::Result<(usize, Option<Checksum>)> {
    read_regular(file, MAX_METADATA, buffer)?;
    Ok((buffer.len(), Checksum::from_bytes(&Sha256::digest(&buffer))))
}

/// Reads what a commit has behind its metadata. Whether that begins where it seemed to, decoding finds out.
fn read_behind_metadata(file: &OwnedFd, buffer: &mut Vec<u8>) -> std::io::Result<(usize, Option<Checksum>)> {
    let length = regular_size(file, MAX_METADATA)?;
    let last = variant::LAST.min(length);
    resize(buffer, last)?;
    let read = retry_on_intr(|| rustix::io::pread(file, &mut buffer[..], (length - last) as u64))?;
    let begin = variant::end_of_metadata(&buffer[..read], length).unwrap_or(0);
    let mut hash = Sha256::new();
    let mut left = begin;
    while left > 0 {
        resize(buffer, left.min(CHUNK))?;
        fill(file, buffer)?;
        hash.update(&buffer[..]);
        left -= buffer.len();
    }
    resize(buffer, length - begin)?;
    fill(file, buffer)?;
    hash.update(&buffer[..]);
    Ok((length, Checksum::from_bytes(&hash.finalize())))
}

/// Reads all of a regular file of at most `limit` bytes into `buffer`.
fn read_regular(file: &OwnedFd, limit: u64, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    let size = regular_size(file, limit)?;
    // One byte more than expected, so that a file which grows is seen to; and the one read that fills all the rest
    // has also met the end.
    resize(buffer, size + 1)?;
    let mut filled = 0;
    while filled < size {
        match retry_on_intr(|| rustix::io::read(file, &mut buffer[filled..]))? {
            0 => break,
            read => filled += read,
        }
    }
    buffer.truncate(filled);
    if filled == size {
        Ok(())
    } else {
        Err(invalid(CHANGED))
    }
}

/// The size of a regular file of at most `limit` bytes.
fn regular_size(file: &OwnedFd, limit: u64) -> std::io::Result<usize> {
    let stat = fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(invalid("it is not a regular file"));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > limit {
        return Err(invalid("it is too large"));
    }
    usize::try_from(size).map_err(|_| invalid("it is too large"))
}

fn resize(buffer: &mut Vec<u8>, size: usize) -> std::io::Result<()> {
    buffer.try_reserve(size.saturating_sub(buffer.len())).map_err(|_| Errno::NOMEM)?;
    buffer.resize(size, 0);
    Ok(())
}

/// Fills `buffer` with what follows in a file.
fn fill(file: &OwnedFd, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match retry_on_intr(|| rustix::io::read(file, &mut buffer[filled..]))? {
            0 => return Err(invalid(CHANGED)),
            read => filled += read,
        }
    }
    Ok(())
}

const CHANGED: &str = "its size changed while it was read";

fn invalid(reason: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, reason)
}
