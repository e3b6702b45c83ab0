//! Deleting what is not live.
//!
//! [`verdict`] decides, for dry and real runs alike; [`objects`] goes through the object directories, in the [`order`]
//! that suits the file system; [`commits`] and [`leftovers`] take care of what belongs to a commit: detached metadata, partial marks, static deltas, cached
//! summaries. [`checkout`] removes directory trees.

pub(crate) mod caches;
pub(crate) mod checkout;
pub(crate) mod commits;
pub(crate) mod leftovers;
mod limits;
pub(crate) mod objects;
mod order;
mod tombstone;
pub(crate) mod verdict;

use std::os::fd::OwnedFd;

use rustix::fs::{statx, syncfs, AtFlags, Statx, StatxFlags};
use rustix::io::Errno;

use self::checkout::unlink_protected;
pub use self::limits::Limits;
use self::objects::Context;
use crate::plan::Identity;
use crate::repo::directory::Directory;

/// A file as it was seen.
pub(crate) struct Seen(Statx);

impl Seen {
    /// Looks at the file `path` below `directory`; None where there is none.
    pub fn at(directory: &OwnedFd, path: &str) -> std::io::Result<Option<Self>> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        match statx(directory, path, AtFlags::SYMLINK_NOFOLLOW, wanted) {
            Ok(stat) => Ok(Some(Self(stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.0.stx_size
    }

    /// What tells it from a later file of the same name.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.0)
    }
}

/// What became of a file that should go.
#[allow(clippy::large_enum_variant)] // Looked at once and dropped: a box would cost more.
pub(crate) enum Removal {
    /// It is gone.
    Done(Seen),
    /// Somebody else was faster; not counted.
    Vanished,
    /// It is not the file that was expected, and is left alone.
    Replaced,
}

/// Deletes the file `name` in `directory`, or in a dry run only looks at it.
pub(crate) fn remove(
    directory: &Directory,
    name: &str,
    context: Context,
    expected: Option<Identity>,
) -> std::io::Result<Removal> {
    let Some(seen) = Seen::at(directory, name)? else { return Ok(Removal::Vanished) };
    if expected.is_some_and(|expected| expected != seen.identity()) {
        return Ok(Removal::Replaced);
    }
    if !context.dry_run {
        let unlink = || directory.unlink(name);
        let result = match unlink() {
            // On btrfs even that takes room, and what was deleted before gives its own back with a commit.
            Err(Errno::NOSPC) => syncfs(directory).and_then(|()| unlink()),
            Err(Errno::PERM) if context.unprotects => unlink_protected(directory, name.as_bytes()),
            other => other,
        };
        match result {
            Err(Errno::NOENT) => return Ok(Removal::Vanished),
            result => result?,
        }
    }
    Ok(Removal::Done(seen))
}
