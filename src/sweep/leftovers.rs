//! What is left of commits and remotes that are gone: static deltas, cached summaries.
//!
//! Mirrors `ostree_repo_prune_static_deltas` and `_ostree_repo_prune_tmp` in `ostree-repo-prune.c`.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{openat, FileType, Mode, OFlags, CWD};
use rustix::io::Errno;

use super::checkout::{self, Outcome, Stuck};
use super::context::{Context, Gone};
use super::extent::{measure, Extent};
use super::links::Links;
use super::removal::remove;
use crate::error::{Error, Result};
use crate::mark::live_set::LiveSet;
use crate::pruned::{Item, Reason};
use crate::repo::config::remotes_in;
use crate::repo::directory::{Directory, DIRECTORY};
use crate::repo::listing::{each_entry, until, Entry};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::seen::Seen;
use crate::repo::{delta, read_text};
use crate::report::{Failure, PruneReport};

const DELTAS: &str = "deltas";
const INDEXES: &str = "delta-indexes";
const SUMMARIES: &str = "tmp/cache/summaries";

/// Static deltas, and their indexes, that may lead to a commit which is gone.
pub(crate) struct Deltas {
    /// The next one last.
    candidates: Vec<Candidate>,
}

/// A static delta, or an index of deltas, in a directory of the two first letters of its name.
struct Candidate {
    is_index: bool,
    directory: OsString,
    name: OsString,
    to: Checksum,
}

impl Candidate {
    fn parent(&self) -> PathBuf {
        Path::new(if self.is_index { INDEXES } else { DELTAS }).join(&self.directory)
    }
}

impl Deltas {
    /// Lists what there is.
    pub fn list(context: Context, report: &mut PruneReport) -> Result<Self> {
        let mut candidates = Vec::new();
        list_below(INDEXES, context, report, &mut candidates)?;
        list_below(DELTAS, context, report, &mut candidates)?;
        Ok(Self { candidates })
    }

    /// Whether all is decided on.
    pub fn is_done(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Removes deltas that lead to a commit which is not there (in a dry run: not going to be there), and their
    /// indexes, which libostree leaves, until `deadline`. Needs the exclusive lock, but for a dry run.
    pub fn run(
        &mut self,
        context: Context,
        live: &LiveSet,
        report: &mut PruneReport,
        deadline: Option<Instant>,
    ) -> Result<()> {
        let is_over = || deadline.is_some_and(|deadline| context.crew.pace.ends_slice(deadline));
        while let Some(candidate) = self.candidates.pop_if(|_| !is_over()) {
            context.control.check()?;
            let is_wanted = context.deltas_of == Some(candidate.to) && !candidate.is_index;
            if !is_wanted && is_kept(context, live, candidate.to)? {
                continue;
            }
            let path = candidate.parent().join(&candidate.name);
            if context.dry_run {
                measure_candidate(context, &candidate)?;
            }
            if let (false, Some(deadline)) = (context.dry_run, deadline) {
                let failed = report.failures.len();
                let result = remove_candidate(context, &candidate, report, deadline);
                context.crew.pace.deleted(context.repo.directory());
                if let Ok(false) = result {
                    self.candidates.push(candidate);
                    break;
                }
                if !note(context, &path, report, result.map(drop))? || report.failures.len() > failed {
                    continue;
                }
            }
            if candidate.is_index {
                report.delta_indexes_pruned += 1;
            } else {
                report.deltas_pruned += 1;
            }
            let item = if candidate.is_index { Item::DeltaIndex(path) } else { Item::Delta(path) };
            let reason = if is_wanted { Reason::Asked } else { Reason::WithoutCommit(candidate.to) };
            tell(context, item, reason);
        }
        Ok(())
    }
}

/// Fails if a symlink is in the way of deltas: before anything is deleted, in dry and real runs alike.
pub(crate) fn refuse_symlinks(context: Context) -> Result<()> {
    Deltas::list(context, &mut PruneReport::default()).map(drop)
}

fn list_below(
    path: &str,
    context: Context,
    report: &mut PruneReport,
    found: &mut Vec<Candidate>,
) -> Result<()> {
    let (path, is_index) = (Path::new(path), path == INDEXES);
    let result = context.repo.part(path).and_then(|top| match top {
        Some(top) => each_entry(&top, &context.repo.path().join(path), |entry| {
            context.control.check()?;
            let path = path.join(name(entry));
            note(context, &path, report, list_directory(context, &top, &path, entry, is_index, found))
                .map(drop)
        }),
        None => Ok(()),
    });
    note(context, path, report, result).map(drop)
}

fn list_directory(
    context: Context,
    top: &Directory,
    path: &Path,
    entry: &Entry,
    is_index: bool,
    found: &mut Vec<Candidate>,
) -> Result<()> {
    let full_path = context.repo.path().join(path);
    let io = |error: std::io::Error| Error::io(&full_path, error);
    if !is_directory(entry, &full_path)? {
        return Ok(());
    }
    let Some(directory) = top.child(entry.name).map_err(io)? else { return Ok(()) };
    each_entry(&directory, &full_path, |rest| {
        let is_directory = is_directory(rest, &full_path.join(name(rest)))?;
        let stem = if is_index { rest.name.strip_suffix(b".index") } else { Some(rest.name) };
        let target = stem.and_then(|stem| delta::target(&[entry.name, stem].concat()));
        if let (Some(to), true) = (target, is_index || is_directory) {
            let (directory, name) = (name(entry).to_owned(), name(rest).to_owned());
            found.push(Candidate { is_index, directory, name, to });
        }
        Ok(())
    })
}

/// Whether an entry is a directory. A symlink could lead to one elsewhere, which is not ours to clean.
fn is_directory(entry: &Entry, path: &Path) -> Result<bool> {
    match entry.file_type().map_err(|error| Error::io(path, error))? {
        Some(FileType::Symlink) => {
            let reason = "it is a symlink, which is not followed here".into();
            Err(Error::Unsupported { path: path.to_owned(), reason })
        }
        kind => Ok(kind == Some(FileType::Directory)),
    }
}

fn is_kept(context: Context, live: &LiveSet, commit: Checksum) -> Result<bool> {
    let object = ObjectName::new(commit, ObjectType::Commit);
    let in_parent = context.repo.parent().map_or(Ok(false), |parent| parent.has(object))?;
    Ok(in_parent || (live.contains(object) && context.repo.has(object)?))
}

/// Counts for a dry run what the removal of an index or a delta gives back.
fn measure_candidate(context: Context, candidate: &Candidate) -> Result<()> {
    let Some(parent) = open(context, &candidate.parent())? else { return Ok(()) };
    let mut extent = Extent::default();
    let path = candidate.parent().join(&candidate.name);
    measure(&parent, &path, context.control, &mut Links::default(), &mut extent)?;
    context.control.freed_on_disk(extent.disk);
    Ok(())
}

/// Removes an index, or a delta: the superblock that announces it, what else is there, and its directory. False if
/// time was over before.
fn remove_candidate(
    context: Context,
    candidate: &Candidate,
    report: &mut PruneReport,
    deadline: Instant,
) -> Result<bool> {
    let Some(parent) = open(context, &candidate.parent())? else { return Ok(true) };
    if candidate.is_index {
        return unlink(&parent, candidate.name.as_bytes(), context).map(|()| true);
    }
    let path = candidate.parent().join(&candidate.name);
    let io = |error| Error::io(&path, error);
    let Some(delta) = parent.child(&candidate.name).map_err(io)? else { return Ok(true) };
    let on_disk = Seen::at_itself(&delta).map_or(0, |seen| seen.on_disk());
    unlink(&delta, b"superblock", context)?;
    let mut directories = Vec::new();
    let listed = until(&delta, &path, |entry| {
        match remove(&delta, entry.name, context, None) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(Errno::ISDIR.raw_os_error()) => {
                directories.push(path.join(name(entry)));
            }
            Err(error) => return Err(Error::io(path.join(name(entry)), error)),
        }
        Ok(if Instant::now() >= deadline { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if listed.is_break() {
        return Ok(false);
    }
    let stuck = Stuck::default();
    let Context { control, crew, .. } = context;
    for directory in directories {
        let tree = checkout::Context { control, crew, deadline, stuck: &stuck, bytes: None };
        if checkout::remove(&delta, &directory, false, tree)? == Outcome::Unfinished {
            return Ok(false);
        }
    }
    let failures = stuck.into_failures();
    if failures.is_empty() {
        parent.remove_directory(&candidate.name).map_err(|error| io(error.into()))?;
        control.freed_on_disk(on_disk);
    }
    report.failures.extend(failures);
    Ok(true)
}

/// Cached summaries of remotes that are no longer configured.
#[derive(Default)]
pub(crate) struct Summaries {
    /// Names in their directory, the next one last.
    orphans: Vec<OsString>,
}

impl Summaries {
    /// Lists them. Needs no lock.
    pub fn list(context: Context, report: &mut PruneReport) -> Result<Self> {
        let path = Path::new(SUMMARIES);
        let mut orphans = Vec::new();
        let Some(elsewhere) = remotes_configured_elsewhere() else { return Ok(Self { orphans }) };
        let here = context.repo.remotes()?;
        let result = context.repo.part(path).and_then(|summaries| match summaries {
            Some(summaries) => each_entry(&summaries, &context.repo.path().join(path), |entry| {
                if !is_configured(&here, entry.name) && !is_configured(&elsewhere, entry.name) {
                    orphans.push(name(entry).to_owned());
                }
                Ok(())
            }),
            None => Ok(()),
        });
        note(context, path, report, result)?;
        Ok(Self { orphans })
    }

    /// Whether all are removed.
    pub fn is_done(&self) -> bool {
        self.orphans.is_empty()
    }

    /// Removes them until `deadline`; a dry run only reports them. Needs the exclusive lock, but for a dry run.
    pub fn run(
        &mut self,
        context: Context,
        report: &mut PruneReport,
        deadline: Option<Instant>,
    ) -> Result<()> {
        let here = context.repo.remotes()?;
        let Some(summaries) = context.repo.part(SUMMARIES)? else {
            self.orphans.clear();
            return Ok(());
        };
        while let Some(orphan) = self.orphans.pop() {
            if !is_configured(&here, orphan.as_bytes()) {
                let path = Path::new(SUMMARIES).join(&orphan);
                let result = unlink(&summaries, orphan.as_bytes(), context);
                if note(context, &path, report, result)? {
                    report.leftovers_pruned += 1;
                    tell(context, Item::Summary(path), Reason::WithoutRemote);
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
        }
        Ok(())
    }
}

/// Whether a cached summary, or its signature, is of one of these remotes.
fn is_configured(remotes: &BTreeSet<String>, summary: &[u8]) -> bool {
    let remote = summary.strip_suffix(b".sig").unwrap_or(summary);
    remotes.iter().any(|name| name.as_bytes() == remote)
}

fn tell(context: Context, item: Item, reason: Reason) {
    if let Some(observer) = context.observer {
        observer(Gone::Leftover(item, reason));
    }
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
            found.extend(remotes_in(&text)?.ok_or_else(no_key_file)?);
        }
        Ok(())
    });
    complete.ok().map(|()| found)
}

fn name<'a>(entry: &Entry<'a>) -> &'a OsStr {
    OsStr::from_bytes(entry.name)
}

/// Opens a directory in one of the repository's own.
fn open(context: Context, path: &Path) -> Result<Option<Directory>> {
    let io = |error| Error::io(context.repo.path().join(path), error);
    let (Some(top), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    context.repo.part(top)?.map_or(Ok(None), |top| top.child(name).map_err(io))
}

fn unlink(directory: &Directory, name: &[u8], context: Context) -> Result<()> {
    remove(directory, name, context, None)
        .map(drop)
        .map_err(|error| Error::io(Path::new(OsStr::from_bytes(name)), error))
}

/// Notes what could not be removed, and goes on; true if there is nothing to note. A dry run's figures are true, or
/// there are none.
fn note(context: Context, path: &Path, report: &mut PruneReport, result: Result<()>) -> Result<bool> {
    match result {
        Err(Error::Io { source, .. }) if !context.dry_run => {
            report.failures.push(Failure { path: path.to_owned(), error: source.into() });
            Ok(false)
        }
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests;
