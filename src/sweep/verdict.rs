//! The one decision: keep or prune.

use rustix::fs::{readlinkat, statat, AtFlags};
use rustix::io::Errno;

use crate::mark::live_set::LiveSet;
use crate::repo::object::{ObjectName, ObjectType};
use crate::repo::Repo;

/// What is to become of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    Prune,
}

/// Decides on one object that is in `repo` itself.
///
/// Mirrors `maybe_prune_loose_object`. A payload link is pruned unless the file it leads to is live and at least
/// `core.payload-link-threshold` bytes long; unlike libostree, which counts such a link as freed, and in a dry run
/// as pruned, it is simply kept.
pub(crate) fn verdict(repo: &Repo, live: &LiveSet, object: ObjectName) -> std::io::Result<Verdict> {
    let keep = match object.kind {
        ObjectType::PayloadLink => is_wanted_link(repo, live, object)?,
        _ => live.contains(object),
    };
    Ok(if keep { Verdict::Keep } else { Verdict::Prune })
}

fn is_wanted_link(repo: &Repo, live: &LiveSet, link: ObjectName) -> std::io::Result<bool> {
    let target = match readlinkat(repo.objects(), link.loose_path(repo.config().mode), Vec::new()) {
        Ok(target) => target,
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidData, "it does not lead to an object");
    let file = ObjectName::from_payload_link(target.as_bytes()).ok_or_else(invalid)?;
    if !live.contains(file) {
        return Ok(false);
    }
    match statat(repo.objects(), file.loose_path(repo.config().mode), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(u64::try_from(stat.st_size).unwrap_or(0) >= repo.config().payload_link_threshold),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
