//! An owned descriptor of a directory in a repository: the one place that opens, writes and deletes there by name.
//!
//! The owner of the repository may exchange any name in it for a symlink, a FIFO or another directory at any time. So no
//! symlink is followed below a directory once it is opened, and a file is looked at before it is opened: opening a
//! device or a FIFO can be enough to set something going.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind, Result};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, openat, openat2, AtFlags, FileType, Gid, Mode,
    OFlags, ResolveFlags, Stat, Uid, XattrFlags, CWD,
};
use rustix::io::{retry_on_intr, Errno};
use rustix::path::Arg;

use crate::fault::{self, Step};

/// How directories are opened: to be listed, and never through a symlink.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Nothing leads out of a directory, and no symlink anywhere.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// Symlinks lead anywhere within the directory.
const WITHIN: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// To take hold of something without opening it.
const HOLD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The mode that libostree gives to the objects it writes, whatever the umask is.
pub(crate) const OBJECT: Mode = Mode::from_bits_retain(0o644);

/// The mode of the lock file, less the umask.
pub(crate) const LOCK: Mode = Mode::from_bits_retain(0o660);

/// The mode of a file that will get another one.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Extended attributes that say what the content is.
const OF_CONTENT: [&[u8]; 2] = [b"security.ima", b"security.evm"];

/// A directory of a repository. It dereferences to its descriptor, for listing and for looking.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Deref for Directory {
    type Target = OwnedFd;
    fn deref(&self) -> &OwnedFd {
        &self.0
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Directory {
    /// Opens the directory at `path`, to which symlinks may lead.
    pub fn at(path: &Path) -> rustix::io::Result<Self> {
        openat(CWD, path, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty()).map(Self)
    }

    /// Opens the directory that is held as `held`.
    pub fn held(held: impl AsFd) -> rustix::io::Result<Self> {
        open_unnoticed(held, c".", DIRECTORY).map(Self)
    }

    /// Opens the directory `name`, or one at a path below this one; None where there is none.
    pub fn child(&self, name: impl Arg + Copy) -> Result<Option<Self>> {
        match open_unnoticed(&self.0, name, DIRECTORY) {
            Ok(child) => Ok(Some(Self(child))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(explain(error)),
        }
    }

    /// Opens the regular file `name` to be read; None where there is nothing.
    ///
    /// [`ErrorKind::InvalidData`] for anything but a regular file, which is not opened.
    pub fn file(&self, name: impl Arg + Copy) -> Result<Option<OwnedFd>> {
        match hold(self, name)? {
            Some(held) => open_regular(&held, READ).map(Some),
            None => Ok(None),
        }
    }

    /// Opens the regular file to which symlinks lead from `path`, as long as they stay below this directory. The error
    /// says nothing of what is elsewhere.
    pub fn file_within(&self, path: &Path) -> rustix::io::Result<Result<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat2(&self.0, path, flags, Mode::empty(), WITHIN).map(|held| open_regular(&held, READ))
    }

    /// Deletes the file `name`, which is no path.
    #[allow(clippy::disallowed_methods)] // This is where it is allowed.
    pub fn unlink(&self, name: impl Arg) -> rustix::io::Result<()> {
        fault::before(Step::Unlink);
        rustix::fs::unlinkat(&self.0, name, AtFlags::empty())
    }

    /// Deletes the empty directory `name`, which is no path.
    #[allow(clippy::disallowed_methods)] // This is where it is allowed.
    pub fn remove_directory(&self, name: impl Arg) -> rustix::io::Result<()> {
        fault::before(Step::Unlink);
        rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)
    }

    /// Replaces the file `name` by one with new content, durably but for the directory's own sync. A crash leaves the
    /// one or the other, and perhaps the file named `scratch`.
    pub fn replace(&self, name: &str, scratch: &str, content: &[u8]) -> Result<()> {
        replace(&self.0, OsStr::new(name), OsStr::new(scratch), OBJECT, content, |file| {
            Ok(fchmod(file, OBJECT)?)
        })
    }

    /// As [`replace`](Self::replace), of a file that is there: mode, owner, group and extended attributes stay what they
    /// are, labels and access control lists among them. Fails where they can't.
    pub fn rewrite(&self, name: &str, scratch: &str, content: &[u8]) -> Result<()> {
        let old = self.file(name)?.ok_or(ErrorKind::NotFound)?;
        replace(&self.0, OsStr::new(name), OsStr::new(scratch), PRIVATE, content, |new| {
            copy_attributes(&old, new)
        })
    }

    /// Makes what was done in this directory durable.
    pub fn sync(&self) -> rustix::io::Result<()> {
        fault::before(Step::Sync);
        rustix::fs::fsync(&self.0)
    }
}

const READ: OFlags = OFlags::RDONLY.union(OFlags::NOATIME);

/// Opens what is below `directory`, through no symlink, so that reading it is not written down: a time of last access is
/// a block of inodes that the disk has to write, for each dirtree. Where we may not ask for that, it is opened all the
/// same.
pub(crate) fn open_unnoticed(
    directory: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    match openat2(&directory, path, flags | OFlags::NOATIME, Mode::empty(), INSIDE) {
        // Only the owner may, and root.
        Err(Errno::PERM) => openat2(&directory, path, flags, Mode::empty(), INSIDE),
        other => other,
    }
}

/// Opens the regular file `name` to be locked, and makes an empty one if there is none.
pub(crate) fn open_or_create(directory: impl AsFd, name: &str, mode: Mode) -> Result<OwnedFd> {
    loop {
        if let Some(held) = hold(&directory, name)? {
            return open_regular(&held, OFlags::RDWR);
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match openat(&directory, name, flags, mode) {
            // Somebody else was faster.
            Err(Errno::EXIST) => {}
            other => return Ok(other?),
        }
    }
}

/// Opens the regular file `name` to be locked, if there is one.
pub(crate) fn open_existing(directory: impl AsFd, name: impl Arg, flags: OFlags) -> Result<Option<OwnedFd>> {
    hold(&directory, name)?.map(|held| open_regular(&held, flags)).transpose()
}

/// Replaces a file by one that is made with `mode`, less the umask; `prepare` gives it its other attributes. For files in a directory of a repository see
/// [`Directory::replace`].
#[allow(clippy::disallowed_methods)] // This is where it is allowed.
pub(crate) fn replace(
    directory: impl AsFd,
    name: &OsStr,
    scratch: &OsStr,
    mode: Mode,
    mut content: &[u8],
    prepare: impl Fn(&OwnedFd) -> Result<()>,
) -> Result<()> {
    // A crash may have left one, and others may have put anything there; it is never opened.
    match rustix::fs::unlinkat(&directory, scratch, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&directory, scratch, flags, mode)?;
    let written = (|| {
        while !content.is_empty() {
            let written = retry_on_intr(|| rustix::io::write(&file, content))?;
            content = &content[written..];
        }
        prepare(&file)?;
        rustix::fs::fsync(&file)?;
        Ok(rustix::fs::renameat(&directory, scratch, &directory, name)?)
    })();
    if written.is_err() {
        // The first error is the one that tells.
        let _ = rustix::fs::unlinkat(&directory, scratch, AtFlags::empty());
    }
    written
}

/// What is at `name`, not opened; None where there is nothing.
fn hold(directory: impl AsFd, name: impl Arg) -> Result<Option<OwnedFd>> {
    match openat2(directory, name, HOLD, Mode::empty(), INSIDE) {
        Ok(held) => Ok(Some(held)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(explain(error)),
    }
}

/// Opens the regular file that is held as `held`; anything else is not opened.
fn open_regular(held: &OwnedFd, flags: OFlags) -> Result<OwnedFd> {
    match FileType::from_raw_mode(fstat(held)?.st_mode) {
        FileType::RegularFile => {}
        FileType::Symlink => return Err(invalid(SYMLINK)),
        _ => return Err(invalid("it is not a regular file")),
    }
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match openat(CWD, &path, flags, Mode::empty()) {
        Err(Errno::PERM) => Ok(openat(CWD, &path, flags.difference(OFlags::NOATIME), Mode::empty())?),
        other => Ok(other?),
    }
}

const SYMLINK: &str = "it is a symlink";

/// Says in words what an error number says only to those who know how files are opened here.
pub(crate) fn explain(error: Errno) -> Error {
    match error {
        Errno::LOOP => invalid(SYMLINK),
        other => other.into(),
    }
}

fn invalid(reason: &str) -> Error {
    Error::new(ErrorKind::InvalidData, reason)
}

/// Gives `new` the mode, the owner, the group and the extended attributes of `old`.
fn copy_attributes(old: &OwnedFd, new: &OwnedFd) -> Result<()> {
    let Stat { st_mode, st_uid, st_gid, .. } = fstat(old)?;
    let made = fstat(new)?;
    if (made.st_uid, made.st_gid) != (st_uid, st_gid) {
        fchown(new, Some(Uid::from_raw(st_uid)), Some(Gid::from_raw(st_gid)))?;
    }
    fchmod(new, Mode::from_raw_mode(st_mode))?;
    for name in attribute_names(old)? {
        let value = attribute(old, &name)?;
        // A label that is there already may not be ours to set.
        if attribute(new, &name).ok().as_ref() != Some(&value) {
            fsetxattr(new, &*name, &value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

fn attribute_names(file: &OwnedFd) -> Result<Vec<Vec<u8>>> {
    let mut list = vec![0; 64 << 10];
    let length = match flistxattr(file, &mut list[..]) {
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.filter(|name| !OF_CONTENT.contains(name)).map(<[u8]>::to_vec).collect())
}

fn attribute(file: &OwnedFd, name: &[u8]) -> Result<Vec<u8>> {
    let mut value = vec![0; 64 << 10];
    let length = fgetxattr(file, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}
