//! What is known of a file from a look at it.

use std::os::fd::OwnedFd;

use rustix::fs::{makedev, statx, AtFlags, FileType, Statx, StatxFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::plan::identity::Identity;

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

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.0.stx_mode.into()) == FileType::Directory
    }

    /// What tells it from a later file of the same name.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.0)
    }
}
