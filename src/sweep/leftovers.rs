//! What is left of commits and remotes that are gone: static deltas, cached summaries.
//!
//! Mirrors `ostree_repo_prune_static_deltas` and `_ostree_repo_prune_tmp` in `ostree-repo-prune.c`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{openat, unlinkat, AtFlags, FileType, Mode, OFlags, CWD};
use rustix::io::Errno;

use super::objects::Context;
use crate::error::{Error, Result};
use crate::fault::{self, Step};
use crate::mark::live_set::LiveSet;
use crate::repo::config::remotes_in;
use crate::repo::listing::{each_entry, Entry};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::{delta, read_text, DIRECTORY};
use crate::report::{Failure, PruneReport};

/// Removes static deltas that lead to a commit which is not there (in a dry run: not going to be there). Needs the
/// exclusive lock, but for a dry run.
pub(crate) fn prune_deltas(context: Context, live: &LiveSet, report: &mut PruneReport) -> Result<()> {
    let path = Path::new("deltas");
    let result = open(context, path).and_then(|deltas| match deltas {
        Some(deltas) => each_directory(context, &deltas, path, report, |first, entry, report| {
            let first_path = path.join(name(entry));
            each_directory(context, first, &first_path, report, |delta, rest, report| {
                context.control.check()?;
                let encoded = [entry.name, rest.name].concat();
                let Some(to) = delta::target(&encoded) else { return Ok(()) };
                if context.deltas_of != Some(to) && is_kept(context, live, to)? {
                    return Ok(());
                }
                report.deltas_pruned += 1;
                if context.dry_run {
                    Ok(())
                } else {
                    remove_delta(first, delta, rest.name)
                }
            })
        }),
        None => Ok(()),
    });
    note(context, path, report, result)
}

/// Removes the indexes of static deltas that lead to a commit which is not there. libostree leaves them.
pub(crate) fn prune_delta_indexes(context: Context, live: &LiveSet, report: &mut PruneReport) -> Result<()> {
    let path = Path::new("delta-indexes");
    let result = open(context, path).and_then(|indexes| match indexes {
        Some(indexes) => each_directory(context, &indexes, path, report, |first, entry, report| {
            let first_path = path.join(name(entry));
            each_entry(first, &context.repo.path().join(&first_path), |rest| {
                context.control.check()?;
                let encoded = rest.name.strip_suffix(b".index").map(|stem| [entry.name, stem].concat());
                let Some(to) = encoded.and_then(|encoded| delta::target(&encoded)) else { return Ok(()) };
                if is_kept(context, live, to)? {
                    return Ok(());
                }
                note(context, &first_path.join(name(rest)), report, unlink(first, rest.name))
            })
        }),
        None => Ok(()),
    });
    note(context, path, report, result)
}

fn is_kept(context: Context, live: &LiveSet, commit: Checksum) -> Result<bool> {
    let object = ObjectName::new(commit, ObjectType::Commit);
    let in_parent = context.repo.parent().map_or(Ok(false), |parent| parent.has(object))?;
    Ok(in_parent || (live.contains(object) && context.repo.has(object)?))
}

/// Removes a delta's files, the superblock that announces it first, and its directory.
fn remove_delta(parent: &OwnedFd, delta: &OwnedFd, name: &[u8]) -> Result<()> {
    unlink(delta, b"superblock")?;
    let path = Path::new(OsStr::from_bytes(name));
    each_entry(delta, path, |entry| unlink(delta, entry.name))?;
    unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(|error| Error::io(path, error))
}

/// Removes cached summaries of remotes that are no longer configured.
pub(crate) fn prune_summaries(context: Context, report: &mut PruneReport) -> Result<()> {
    let path = Path::new("tmp/cache/summaries");
    let Some(elsewhere) = remotes_configured_elsewhere() else { return Ok(()) };
    let result = open(context, path).and_then(|summaries| match summaries {
        Some(summaries) => each_entry(&summaries, &context.repo.path().join(path), |entry| {
            let remote = entry.name.strip_suffix(b".sig").unwrap_or(entry.name);
            let is_configured = |known: &BTreeSet<String>| known.iter().any(|name| name.as_bytes() == remote);
            if is_configured(&context.repo.config().remotes) || is_configured(&elsewhere) {
                return Ok(());
            }
            note(context, &path.join(name(entry)), report, unlink(&summaries, entry.name))
        }),
        None => Ok(()),
    });
    note(context, path, report, result)
}

/// Remotes that are configured for the whole system. libostree heeds them in the system's own repository only; to
/// heed them in all keeps at most a cache. None if they can't be read: then no cache is removed.
fn remotes_configured_elsewhere() -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let path = Path::new("/etc/ostree/remotes.d");
    let directory = match openat(CWD, path, DIRECTORY, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Some(found),
        Err(_) => return None,
    };
    let complete = each_entry(&directory, path, |entry| {
        if entry.name.ends_with(b".conf") {
            let path = path.join(name(entry));
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = openat(&directory, entry.name, flags, Mode::empty())
                .map_err(|error| Error::io(&path, error))?;
            let text = read_text(&file).map_err(|error| Error::io(&path, error))?;
            let no_key_file = || Error::Unsupported { path, reason: "it is no key file".into() };
            found.extend(remotes_in(&text).ok_or_else(no_key_file)?);
        }
        Ok(())
    });
    complete.ok().map(|()| found)
}

fn name<'a>(entry: &Entry<'a>) -> &'a OsStr {
    OsStr::from_bytes(entry.name)
}

/// Opens a directory of the repository, whose parts are no symlinks: what they lead to is not ours to clean.
fn open(context: Context, path: &Path) -> Result<Option<OwnedFd>> {
    let mut opened: Option<OwnedFd> = None;
    for part in path {
        let parent = opened.as_ref().unwrap_or(context.repo.directory());
        match openat(parent, part, DIRECTORY, Mode::empty()) {
            Ok(directory) => opened = Some(directory),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Error::io(context.repo.path().join(path), error)),
        }
    }
    Ok(opened)
}

fn unlink(directory: &OwnedFd, name: &[u8]) -> Result<()> {
    fault::before(Step::Unlink);
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io(Path::new(OsStr::from_bytes(name)), error)),
    }
}

/// Calls `each` for every directory in `directory`, which lies at `path` in the repository.
fn each_directory(
    context: Context,
    directory: &OwnedFd,
    path: &Path,
    report: &mut PruneReport,
    mut each: impl FnMut(&OwnedFd, &Entry, &mut PruneReport) -> Result<()>,
) -> Result<()> {
    let full_path = context.repo.path().join(path);
    each_entry(directory, &full_path, |entry| {
        let io = |error: std::io::Error| Error::io(full_path.join(name(entry)), error);
        if entry.file_type().map_err(io)? != Some(FileType::Directory) {
            return Ok(());
        }
        let result = match openat(directory, entry.name, DIRECTORY, Mode::empty()) {
            Ok(opened) => each(&opened, entry, report),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io(error.into())),
        };
        note(context, &path.join(name(entry)), report, result)
    })
}

/// Notes what could not be removed, and goes on. A dry run's figures are true, or there are none.
fn note(context: Context, path: &Path, report: &mut PruneReport, result: Result<()>) -> Result<()> {
    match result {
        Err(Error::Io { source, .. }) if !context.dry_run => {
            report.failures.push(Failure { path: path.to_owned(), error: source.to_string() });
            Ok(())
        }
        other => other,
    }
}
