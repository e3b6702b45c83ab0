//! What is left of commits and remotes that are gone: static deltas, cached summaries.
//!
//! Mirrors `ostree_repo_prune_static_deltas` and `_ostree_repo_prune_tmp` in `ostree-repo-prune.c`.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::LazyLock;

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

/// Base64 as libostree uses it in file names: `_` in place of `/`, and no padding.
static BASE64: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_");
    spec.encoding().ok()
});

/// Removes static deltas that lead to a commit which is not there (in a dry run: not going to be there). Needs the
/// exclusive lock, but for a dry run.
pub(crate) fn prune_deltas(context: Context, live: &LiveSet, report: &mut PruneReport) -> Result<()> {
    let path = Path::new("deltas");
    let Some(deltas) = open(context.repo.directory(), path, context)? else { return Ok(()) };
    each_directory(&deltas, path, context, |first, entry| {
        let first_path = path.join(name(entry));
        each_directory(first, &first_path, context, |delta, rest| {
            context.control.check()?;
            let encoded = [entry.name, rest.name].concat();
            let Some(to) = delta_target(&encoded) else { return Ok(()) };
            if context.deltas_of == Some(to) || !is_kept(context, live, to)? {
                report.deltas_pruned += 1;
                if !context.dry_run {
                    let path = first_path.join(name(rest));
                    remove_delta(first, delta, rest.name).unwrap_or_else(|error| {
                        report.failures.push(Failure { path, error: error.to_string() });
                    });
                }
            }
            Ok(())
        })
    })
}

/// Removes the indexes of static deltas that lead to a commit which is not there. libostree leaves them.
pub(crate) fn prune_delta_indexes(context: Context, live: &LiveSet, report: &mut PruneReport) -> Result<()> {
    let path = Path::new("delta-indexes");
    let Some(indexes) = open(context.repo.directory(), path, context)? else { return Ok(()) };
    each_directory(&indexes, path, context, |first, entry| {
        let first_path = path.join(name(entry));
        each_entry(first, &context.repo.path().join(&first_path), |rest| {
            context.control.check()?;
            let encoded = rest.name.strip_suffix(b".index").map(|stem| [entry.name, stem].concat());
            let Some(to) = encoded.and_then(|encoded| delta_target(&encoded)) else { return Ok(()) };
            if is_kept(context, live, to)? {
                return Ok(());
            }
            fault::before(Step::Unlink);
            match unlinkat(first, rest.name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => report
                    .failures
                    .push(Failure { path: first_path.join(name(rest)), error: error.to_string() }),
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

/// Removes a delta's files, the superblock that announces it first, and its directory.
fn remove_delta(parent: &OwnedFd, delta: &OwnedFd, name: &[u8]) -> Result<()> {
    let path = Path::new(OsStr::from_bytes(name));
    let unlink = |file: &[u8]| {
        fault::before(Step::Unlink);
        match unlinkat(delta, file, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::io(path.join(OsStr::from_bytes(file)), error)),
        }
    };
    unlink(b"superblock")?;
    each_entry(delta, path, |entry| unlink(entry.name))?;
    unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(|error| Error::io(path, error))
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

fn each_directory(
    directory: &OwnedFd,
    path: &Path,
    context: Context,
    mut each: impl FnMut(&OwnedFd, &Entry) -> Result<()>,
) -> Result<()> {
    let full_path = context.repo.path().join(path);
    each_entry(directory, &full_path, |entry| {
        let io = |error: std::io::Error| Error::io(full_path.join(name(entry)), error);
        if entry.file_type().map_err(io)? != Some(FileType::Directory) {
            return Ok(());
        }
        match openat(directory, entry.name, DIRECTORY, Mode::empty()) {
            Ok(opened) => each(&opened, entry),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(io(error.into())),
        }
    })
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
