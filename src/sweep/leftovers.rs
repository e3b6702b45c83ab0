//! What is left of commits and remotes that are gone: static deltas, cached summaries.
//!
//! Mirrors `ostree_repo_prune_static_deltas` and `_ostree_repo_prune_tmp` in `ostree-repo-prune.c`.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Instant;

use data_encoding::{Encoding, Specification};
use rustix::fs::{openat, unlinkat, AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::objects::Context;
use crate::error::{Error, Result};
use crate::fault::{self, Step};
use crate::mark::live_set::LiveSet;
use crate::repo::config::remotes;
use crate::repo::listing::{each_entry, Entry};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::DIRECTORY;
use crate::report::{Failure, PruneReport};

const DELTAS: &str = "deltas";
const INDEXES: &str = "delta-indexes";

/// Base64 as libostree uses it in file names: `_` in place of `/`, and no padding.
static BASE64: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_");
    spec.encoding().ok()
});

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
    pub fn list(context: Context) -> Result<Self> {
        let mut candidates = Vec::new();
        // A dry run counts deltas only.
        if !context.dry_run {
            list_below(INDEXES, context, &mut candidates)?;
        }
        list_below(DELTAS, context, &mut candidates)?;
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
        let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        while let Some(candidate) = self.candidates.pop_if(|_| !is_over()) {
            context.control.check()?;
            let is_wanted = context.deltas_of == Some(candidate.to) && !candidate.is_index;
            if !is_wanted && is_kept(context, live, candidate.to)? {
                continue;
            }
            if !candidate.is_index {
                report.deltas_pruned += 1;
            }
            if !context.dry_run {
                remove_candidate(context, &candidate).unwrap_or_else(|error| {
                    let path = candidate.parent().join(&candidate.name);
                    report.failures.push(Failure { path, error: error.to_string() });
                });
            }
        }
        Ok(())
    }
}

fn list_below(path: &str, context: Context, found: &mut Vec<Candidate>) -> Result<()> {
    let is_index = path == INDEXES;
    let full_path = context.repo.path().join(path);
    let Some(top) = open(context.repo.directory(), Path::new(path), context)? else { return Ok(()) };
    each_entry(&top, &full_path, |entry| {
        context.control.check()?;
        let full_path = full_path.join(name(entry));
        let io = |error: std::io::Error| Error::io(&full_path, error);
        if entry.file_type().map_err(io)? != Some(FileType::Directory) {
            return Ok(());
        }
        let directory = match openat(&top, entry.name, DIRECTORY, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(io(error.into())),
        };
        each_entry(&directory, &full_path, |rest| {
            let is_directory = rest.file_type().map_err(io)? == Some(FileType::Directory);
            let stem = if is_index { rest.name.strip_suffix(b".index") } else { Some(rest.name) };
            let target = stem.and_then(|stem| delta_target(&[entry.name, stem].concat()));
            if let (Some(to), true) = (target, is_index || is_directory) {
                let (directory, name) = (name(entry).to_owned(), name(rest).to_owned());
                found.push(Candidate { is_index, directory, name, to });
            }
            Ok(())
        })
    })
}

fn is_kept(context: Context, live: &LiveSet, commit: Checksum) -> Result<bool> {
    let object = ObjectName::new(commit, ObjectType::Commit);
    let in_parent = context.repo.parent().map_or(Ok(false), |parent| parent.has(object))?;
    Ok(in_parent || (live.contains(object) && context.repo.has(object)?))
}

/// The commit that a delta leads to: `FROM-TO` or `TO`, each 32 bytes in base64.
fn delta_target(name: &[u8]) -> Option<Checksum> {
    let to = name.split(|b| *b == b'-').next_back()?;
    Checksum::from_bytes(&BASE64.as_ref()?.decode(to).ok()?)
}

/// Removes an index, or a delta: the superblock that announces it, its other files, and its directory.
fn remove_candidate(context: Context, candidate: &Candidate) -> Result<()> {
    let path = candidate.parent();
    let Some(parent) = open(context.repo.directory(), &path, context)? else { return Ok(()) };
    if candidate.is_index {
        return unlink(&parent, candidate.name.as_bytes());
    }
    let delta = match openat(&parent, &candidate.name, DIRECTORY, Mode::empty()) {
        Ok(delta) => delta,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(Error::io(&candidate.name, error)),
    };
    unlink(&delta, b"superblock")?;
    each_entry(&delta, &path.join(&candidate.name), |entry| unlink(&delta, entry.name))?;
    unlinkat(&parent, &candidate.name, AtFlags::REMOVEDIR).map_err(|error| Error::io(&candidate.name, error))
}

fn unlink(directory: &OwnedFd, file: &[u8]) -> Result<()> {
    fault::before(Step::Unlink);
    match unlinkat(directory, file, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io(OsStr::from_bytes(file), error)),
    }
}

/// Removes cached summaries of remotes that are no longer configured.
pub(crate) fn prune_summaries(context: Context, report: &mut PruneReport) -> Result<()> {
    let path = Path::new("tmp/cache/summaries");
    let Some(summaries) = open(context.repo.directory(), path, context)? else { return Ok(()) };
    let Some(elsewhere) = remotes_configured_elsewhere() else { return Ok(()) };
    each_entry(&summaries, &context.repo.path().join(path), |entry| {
        let remote = entry.name.strip_suffix(b".sig").unwrap_or(entry.name);
        let is_configured =
            |known: &std::collections::BTreeSet<String>| known.iter().any(|name| name.as_bytes() == remote);
        if is_configured(&context.repo.config().remotes) || is_configured(&elsewhere) {
            return Ok(());
        }
        match unlinkat(&summaries, entry.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => {
                report.failures.push(Failure { path: path.join(name(entry)), error: error.to_string() });
            }
        }
        Ok(())
    })
}

/// Remotes that are configured for the whole system. libostree heeds them in the system's own repository only; to
/// heed them in all keeps at most a cache. None if they can't be read: then no cache is removed.
fn remotes_configured_elsewhere() -> Option<std::collections::BTreeSet<String>> {
    let mut found = std::collections::BTreeSet::new();
    let path = Path::new("/etc/ostree/remotes.d");
    let directory = match openat(rustix::fs::CWD, path, DIRECTORY, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Some(found),
        Err(_) => return None,
    };
    let complete = each_entry(&directory, path, |entry| {
        if entry.name.ends_with(b".conf") {
            let file = glib::KeyFile::new();
            let path = path.join(name(entry));
            file.load_from_file(&path, glib::KeyFileFlags::NONE)
                .map_err(|error| Error::Unsupported { path, reason: error.to_string() })?;
            found.extend(remotes(&file));
        }
        Ok(())
    });
    complete.ok().map(|()| found)
}

fn name<'a>(entry: &Entry<'a>) -> &'a OsStr {
    OsStr::from_bytes(entry.name)
}

fn open(directory: &OwnedFd, path: &Path, context: Context) -> Result<Option<OwnedFd>> {
    match openat(directory, path, DIRECTORY, Mode::empty()) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::io(context.repo.path().join(path), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_named_by_its_target() {
        // 32 bytes of 0xff, and of zero.
        let (ones, zeros) = (format!("{}8", "_".repeat(42)), "A".repeat(43));
        let target = |name: &str| delta_target(name.as_bytes()).map(|checksum| checksum.0);
        assert_eq!(target(&ones), Some([0xff; 32]));
        assert_eq!(target(&format!("{ones}-{zeros}")), Some([0; 32]));
        for bad in ["", "-", "AA", &format!("{zeros}="), &format!("{zeros}-")] {
            assert_eq!(target(bad), None, "{bad}");
        }
    }
}
