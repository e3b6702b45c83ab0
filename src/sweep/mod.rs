//! Deleting what is not live.
//!
//! [`verdict`] decides, for dry and real runs alike; [`objects`] goes through the object directories, in the [`order`]
//! that suits the file system; [`commits`] and [`leftovers`] take care of what belongs to a commit: detached metadata, partial marks, static deltas, cached
//! summaries. [`checkout`] removes directory trees, [`extent`] tells what that gives back, and [`tmp`] finds what
//! interrupted transactions left.

pub(crate) mod caches;
pub(crate) mod checkout;
pub(crate) mod commits;
pub(crate) mod extent;
pub(crate) mod leftovers;
mod limits;
pub(crate) mod links;
pub(crate) mod objects;
mod order;
mod seen;
pub(crate) mod tmp;
mod tombstone;
pub(crate) mod verdict;

use rustix::fs::syncfs;
use rustix::io::Errno;
use rustix::path::Arg;

use self::checkout::unlink_protected;
pub use self::limits::Limits;
use self::objects::Context;
pub(crate) use self::seen::Seen;
use crate::plan::Identity;
use crate::repo::directory::Directory;

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
    name: impl Arg + Copy,
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
            Err(Errno::PERM) if context.unprotects => {
                unlink_protected(directory, name.as_cow_c_str()?.to_bytes())
            }
            other => other,
        };
        match result {
            Err(Errno::NOENT) => return Ok(Removal::Vanished),
            result => result?,
        }
    }
    context.control.freed_on_disk(context.links.freed_by(&seen));
    Ok(Removal::Done(seen))
}
