//! Writes objects, as libostree would.

// Test data, in a directory of the generator's own.
#![allow(clippy::disallowed_methods)]

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use glib::variant::ToVariant;
use rustix::fs::{mkdirat, openat, renameat, symlinkat, unlinkat, AtFlags, Mode as Permissions, OFlags, CWD};
use rustix::io::{retry_on_intr, Errno};
use rustix::process::{getegid, geteuid};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::repo::directory::DIRECTORY;
use crate::repo::mode::Mode;
use crate::repo::object::{directory_name, Checksum, ObjectName, ObjectType};
use crate::repo::Repo;

/// A regular file that all may read, a directory, and a symlink; numbers as `stat` has them.
const FILE: u32 = 0o100_644;
pub(super) const DIRECTORY_MODE: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What a file object holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'a> {
    Regular(&'a [u8]),
    Symlink(&'a str),
}

/// Where the files of a commit are written before they are moved to their directories: inodes lie there one after the
/// other in the order of writing, as those of libostree's transactions do, and not in that of names.
struct Staging {
    path: PathBuf,
    descriptor: OwnedFd,
}

impl Staging {
    fn new(repo: &Repo, commit: &str) -> Result<Self> {
        let path = repo.path().join("tmp").join(format!("staging-{commit}"));
        let open = || {
            mkdirat(CWD, &path, Permissions::from_raw_mode(0o755))?;
            openat(CWD, &path, DIRECTORY, Permissions::empty())
        };
        let descriptor = open().map_err(|error| Error::io(&path, error))?;
        Ok(Self { path, descriptor })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = unlinkat(CWD, &self.path, AtFlags::REMOVEDIR);
    }
}

/// Writes the objects of one commit into a repository of mode `bare` or `archive`.
pub(super) struct Writer<'a> {
    repo: &'a Repo,
    directories: Vec<OwnedFd>,
    staging: Staging,
    owner: (u32, u32),
}

impl<'a> Writer<'a> {
    /// A writer of the commit that is called `commit`, a file's name.
    pub fn new(repo: &'a Repo, commit: &str) -> Result<Self> {
        if !matches!(repo.config().mode, Mode::Bare | Mode::Archive) {
            let reason = "only bare and archive can be generated".into();
            return Err(Error::Unsupported { path: repo.path().to_owned(), reason });
        }
        let open = |number| {
            match mkdirat(repo.objects(), directory_name(number), Permissions::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(Error::io(repo.object_directory_path(number), error)),
            }
            openat(repo.objects(), directory_name(number), DIRECTORY, Permissions::empty())
                .map_err(|error| Error::io(repo.object_directory_path(number), error))
        };
        let directories = (0..=u8::MAX).map(open).collect::<Result<_>>()?;
        Ok(Self {
            repo,
            directories,
            staging: Staging::new(repo, commit)?,
            owner: (geteuid().as_raw(), getegid().as_raw()),
        })
    }

    /// Goes on with another commit.
    pub fn begin(&mut self, commit: &str) -> Result<()> {
        self.staging = Staging::new(self.repo, commit)?;
        Ok(())
    }

    /// The owner of all files.
    pub fn owner(&self) -> (u32, u32) {
        self.owner
    }

    /// Writes a file object; `exists` says that it is there, and only its name is wanted.
    pub fn content(&self, content: Content, exists: bool) -> Result<Checksum> {
        let (mode, target, bytes): (_, _, &[u8]) = match content {
            Content::Regular(bytes) => (FILE, "", bytes),
            Content::Symlink(target) => (SYMLINK, target, &[]),
        };
        let (uid, gid) = self.owner;
        let header = (uid.to_be(), gid.to_be(), mode.to_be(), 0_u32, target, Xattrs::new()).to_variant();
        let mut stream = with_size(header.data());
        stream.extend_from_slice(bytes);
        let object = named(&stream, ObjectType::File);
        if exists {
            return Ok(object.checksum);
        }
        if self.repo.config().mode == Mode::Archive {
            let size = (bytes.len() as u64).to_be();
            let header =
                (size, uid.to_be(), gid.to_be(), mode.to_be(), 0_u32, target, Xattrs::new()).to_variant();
            let mut packed = with_size(header.data());
            if let Content::Regular(bytes) = content {
                packed.extend(stored(bytes));
            }
            self.write(object, &packed)?;
        } else if let Content::Symlink(target) = content {
            let name = object.file_name(Mode::Bare);
            match symlinkat(target, &self.staging.descriptor, &name) {
                Ok(()) => self.publish(object, &name)?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(self.failed(object, error)),
            }
        } else {
            self.write(object, bytes)?;
        }
        Ok(object.checksum)
    }

    /// Writes a commit, dirtree or dirmeta.
    pub fn metadata(&self, kind: ObjectType, variant: &glib::Variant) -> Result<Checksum> {
        let object = named(variant.data(), kind);
        self.write(object, variant.data())?;
        Ok(object.checksum)
    }

    fn write(&self, object: ObjectName, mut bytes: &[u8]) -> Result<()> {
        let name = object.file_name(self.repo.config().mode);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file =
            match openat(&self.staging.descriptor, &name, flags, Permissions::from_raw_mode(FILE & 0o777)) {
                Ok(file) => file,
                Err(Errno::EXIST) => return Ok(()),
                Err(error) => return Err(self.failed(object, error)),
            };
        while !bytes.is_empty() {
            let written = retry_on_intr(|| rustix::io::write(&file, bytes))
                .map_err(|error| self.failed(object, error))?;
            bytes = &bytes[written..];
        }
        self.publish(object, &name)
    }

    /// Moves a file that is written to its place.
    fn publish(&self, object: ObjectName, name: &str) -> Result<()> {
        renameat(&self.staging.descriptor, name, self.directory(object), name)
            .map_err(|error| self.failed(object, error))
    }

    fn directory(&self, object: ObjectName) -> &OwnedFd {
        &self.directories[usize::from(object.checksum.directory())]
    }

    fn failed(&self, object: ObjectName, error: Errno) -> Error {
        Error::io(self.repo.path().join(PathBuf::from(object.to_string())), error)
    }
}

fn named(bytes: &[u8], kind: ObjectType) -> ObjectName {
    ObjectName::new(Checksum(Sha256::digest(bytes).into()), kind)
}

/// A header as it stands before content: its size, four bytes to align it, and itself.
fn with_size(header: &[u8]) -> Vec<u8> {
    let size = u32::try_from(header.len()).unwrap_or(u32::MAX);
    [&size.to_be_bytes(), &[0; 4], header].concat()
}

/// Deflated without being made smaller: blocks that are stored as they are.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let chunks: Vec<_> = if bytes.is_empty() { vec![bytes] } else { bytes.chunks(0xffff).collect() };
    let mut packed = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        let size = u16::try_from(chunk.len()).unwrap_or(u16::MAX);
        packed.push(u8::from(number + 1 == chunks.len()));
        packed.extend(size.to_le_bytes());
        packed.extend((!size).to_le_bytes());
        packed.extend_from_slice(chunk);
    }
    packed
}
