//! Which file system something is on, as far as that makes a difference.

use std::os::fd::AsFd;

use rustix::fs::{fstatfs, fstatvfs};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
    Other,
}

impl FileSystem {
    /// The one that `directory` is on; what can't be told is another.
    pub fn of(directory: impl AsFd) -> Self {
        // From linux/magic.h.
        const EXT4: u64 = 0xEF53;
        const XFS: u64 = 0x5846_5342;
        match fstatfs(directory).ok().and_then(|statfs| u64::try_from(statfs.f_type).ok()) {
            Some(EXT4) => Self::Ext4,
            Some(XFS) => Self::Xfs,
            _ => Self::Other,
        }
    }
}

/// What the file system of `directory` has free for ordinary users, in bytes; None where that can't be told.
pub(crate) fn free_bytes(directory: impl AsFd) -> Option<u64> {
    let stat = fstatvfs(directory).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
