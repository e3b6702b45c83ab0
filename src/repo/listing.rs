//! Directory listings in large chunks.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{statat, AtFlags, FileType, RawDir};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Enough for the names of 700 objects in one system call.
pub(crate) const CHUNK: usize = 64 << 10;

/// A name in a directory.
pub(crate) struct Entry<'a> {
    /// Without a trailing NUL.
    pub name: &'a [u8],
    pub inode: u64,
    kind: FileType,
    directory: &'a OwnedFd,
}

impl Entry<'_> {
    /// What it is, without following a symlink. None if it vanished meanwhile.
    pub fn file_type(&self) -> std::io::Result<Option<FileType>> {
        if self.kind != FileType::Unknown {
            return Ok(Some(self.kind));
        }
        match statat(self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Calls `each` for every name in `directory` but `.` and `..`; `path` is for messages.
pub(crate) fn each_entry(
    directory: &OwnedFd,
    path: &Path,
    mut each: impl FnMut(&Entry) -> Result<()>,
) -> Result<()> {
    until(directory, path, |entry| each(entry).map(ControlFlow::Continue)).map(drop)
}

/// As [`each_entry`], until `each` says to break: then there may be more.
pub(crate) fn until(
    directory: &OwnedFd,
    path: &Path,
    each: impl FnMut(&Entry) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    in_chunks(directory, path, CHUNK, || Ok(()), each)
}

/// As [`until`], with chunks of so many bytes, before each of which `rest` is called.
pub(crate) fn in_chunks(
    directory: &OwnedFd,
    path: &Path,
    chunk: usize,
    rest: impl Fn() -> Result<()>,
    mut each: impl FnMut(&Entry) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    let mut buffer = vec![MaybeUninit::uninit(); chunk];
    let mut entries = RawDir::new(directory.as_fd(), &mut buffer);
    loop {
        if entries.is_buffer_empty() {
            rest()?;
        }
        let Some(entry) = entries.next() else { break };
        let entry = entry.map_err(|error| Error::io(path, error))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let entry = Entry { name, inode: entry.ino(), kind: entry.file_type(), directory };
            if each(&entry)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}
