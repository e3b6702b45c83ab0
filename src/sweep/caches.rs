//! What flatpak keeps of a commit beside it: `CHECKSUM.commitmeta2`, from which its own prune knows without a crawl what the
//! commit reaches. It goes with its commit, or after it where somebody else deleted that.

use std::path::PathBuf;
use std::time::Instant;

use rustix::fs::{statat, AtFlags};
use rustix::io::Errno;

use super::context::{Context, Gone};
use super::removal::{remove, Removal};
use crate::error::Result;
use crate::mark::live_set::LiveSet;
use crate::pruned::{Item, Reason};
use crate::repo::directory::Directory;
use crate::repo::object::{loose_path, Checksum, ObjectName, ObjectType};
use crate::report::{Failure, PruneReport};

const SUFFIX: &str = "commitmeta2";

/// The commit that an entry of object directory `number` belongs to; None for anything else.
pub(crate) fn commit_of(number: u8, entry: &[u8]) -> Option<Checksum> {
    Checksum::from_entry(number, entry.strip_suffix(b".commitmeta2")?)
}

/// Removes what flatpak keeps of `commit`, or in a dry run only counts it.
pub(crate) fn remove_with(
    directory: &Directory,
    commit: Checksum,
    context: Context,
    report: &mut PruneReport,
) {
    let path = PathBuf::from("objects").join(loose_path(&commit, SUFFIX));
    match remove(directory, &commit.file_name(SUFFIX), context, None) {
        Ok(Removal::Done(_)) => {
            report.leftovers_pruned += 1;
            if let Some(observer) = context.observer {
                observer(Gone::Leftover(Item::Cache(path), Reason::WithoutCommit(commit)));
            }
        }
        Ok(Removal::Vanished | Removal::Replaced) => {}
        Err(error) => report.failures.push(Failure { path, error: error.into() }),
    }
}

/// Removes what flatpak keeps of `commits`, as far as they are not live, and not there, until `deadline`. Needs the
/// exclusive lock, but for a dry run.
pub(crate) fn remove_orphans(
    commits: &mut Vec<Checksum>,
    context: Context,
    live: &LiveSet,
    report: &mut PruneReport,
    deadline: Option<Instant>,
) -> Result<()> {
    let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    while let Some(commit) = commits.pop_if(|_| !is_over()) {
        context.control.check()?;
        let object = ObjectName::new(commit, ObjectType::Commit);
        let Some(directory) = context.repo.open_object_directory(commit.directory())? else { continue };
        let name = object.file_name(context.repo.config().mode);
        let is_there = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).err() != Some(Errno::NOENT);
        if !live.contains(object) && !is_there {
            remove_with(&directory, commit, context, report);
        }
    }
    Ok(())
}
