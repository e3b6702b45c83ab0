//! Deleting one file.

use rustix::fs::syncfs;
use rustix::io::Errno;
use rustix::path::Arg;

use super::checkout::unlink_protected;
use super::context::Context;
use crate::repo::directory::Directory;
use crate::repo::seen::{Identity, Seen};

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
