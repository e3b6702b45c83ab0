//! Deleting what is not live.
//!
//! [`verdict`] decides, for dry and real runs alike; [`objects`] goes through the object directories; [`commits`]
//! and [`leftovers`] take care of what belongs to a commit: detached metadata, partial marks, static deltas, cached
//! summaries. [`checkout`] removes directory trees.

pub(crate) mod checkout;
pub(crate) mod commits;
pub(crate) mod leftovers;
pub(crate) mod objects;
mod tombstone;
pub(crate) mod verdict;

use std::os::fd::OwnedFd;

use rustix::fs::{statat, unlinkat, AtFlags};
use rustix::io::Errno;

use self::checkout::unlink_protected;
use self::objects::Context;
use crate::fault::{self, Step};

/// What became of a file that should go.
pub(crate) enum Removal {
    /// It is gone, and was this many bytes long.
    Done(u64),
    /// Somebody else was faster; not counted.
    Vanished,
}

/// Deletes the file `path` below `directory`, or in a dry run only looks at it.
pub(crate) fn remove(directory: &OwnedFd, path: &str, context: Context) -> std::io::Result<Removal> {
    let removed = statat(directory, path, AtFlags::SYMLINK_NOFOLLOW).and_then(|stat| {
        if !context.dry_run {
            fault::before(Step::Unlink);
            unlinkat(directory, path, AtFlags::empty()).or_else(|error| match error {
                Errno::PERM if context.unprotects => unlink_protected(directory, path.as_bytes()),
                other => Err(other),
            })?;
        }
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    });
    match removed {
        Ok(size) => Ok(Removal::Done(size)),
        Err(Errno::NOENT) => Ok(Removal::Vanished),
        Err(error) => Err(error.into()),
    }
}
