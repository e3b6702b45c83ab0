//! The attributes of a file, and its identity, which a later file of the same name does not have.

use std::os::fd::OwnedFd;

use rustix::fs::{makedev, statx, AtFlags, FileType, Statx, StatxFlags};
use rustix::io::Errno;
use rustix::path::Arg;
use sha2::{Digest, Sha256};

/// What `st_blocks` counts, in bytes, whatever the file system's blocks are.
const BLOCK: u64 = 512;

/// A file as it was seen.
pub(crate) struct Seen(Statx);

impl Seen {
    /// Looks at the file `path` below `directory`; None where there is none.
    pub fn at(directory: &OwnedFd, path: impl Arg) -> std::io::Result<Option<Self>> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        match statx(directory, path, AtFlags::SYMLINK_NOFOLLOW, wanted) {
            Ok(stat) => Ok(Some(Self(stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at an open directory.
    pub fn at_itself(directory: &OwnedFd) -> std::io::Result<Self> {
        Ok(Self(statx(directory, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?))
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.0.stx_size
    }

    /// Its device and inode.
    pub fn inode(&self) -> (u64, u64) {
        (makedev(self.0.stx_dev_major, self.0.stx_dev_minor), self.0.stx_ino)
    }

    /// How many names it has.
    pub fn links(&self) -> u64 {
        self.0.stx_nlink.into()
    }

    /// The room it takes on disk, in bytes.
    pub fn on_disk(&self) -> u64 {
        self.0.stx_blocks.saturating_mul(BLOCK)
    }

    /// When it was written last, in seconds since 1970.
    pub fn modified(&self) -> i64 {
        self.0.stx_mtime.tv_sec
    }

    /// When its content, its mode or its number of names was changed last, in seconds since 1970.
    pub fn changed(&self) -> i64 {
        self.0.stx_mtime.tv_sec.max(self.0.stx_ctime.tv_sec)
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        FileType::from_raw_mode(self.0.stx_mode.into()) == FileType::RegularFile
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.0.stx_mode.into()) == FileType::Directory
    }

    /// What a later file of the same name does not share.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.0)
    }
}

/// What a later file of the same name does not share with an object's file: a hash of inode, size, and the times at which it was
/// made and last written. The time of its last change of status is not part of it: that changes when a checkout that
/// shares the file is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(pub [u8; Identity::LEN]);

impl Identity {
    pub const LEN: usize = 6;

    pub fn of(stat: &Statx) -> Self {
        let mut hash = Sha256::new();
        hash.update(stat.stx_ino.to_le_bytes());
        hash.update(stat.stx_size.to_le_bytes());
        for time in [&stat.stx_btime, &stat.stx_mtime] {
            hash.update(time.tv_sec.to_le_bytes());
            hash.update(time.tv_nsec.to_le_bytes());
        }
        let mut short = [0; Self::LEN];
        short.copy_from_slice(&hash.finalize()[..Self::LEN]);
        Self(short)
    }
}
