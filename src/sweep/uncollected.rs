//! What libostree never deletes, though nothing owns it: copies of files that no checkout uses, detached metadata and
//! partial marks whose commit is missing.
//!
//! An archive repository keeps the uncompressed copies that user-mode checkouts are linked from in
//! `uncompressed-objects-cache`. `ostree_repo_checkout_gc` deletes those with one link, but only in directories to which
//! the same process has added one. A checkout takes no lock. It links a copy that is there by one system call, and makes
//! another if there is none; only between making a copy and linking it must the copy stay. So a copy that was changed
//! within `core.tmp-expiry-secs` (a day) stays, and so does detached metadata, which other programs than libostree may
//! copy before its commit.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::commits::orphaned_marks;
use super::context::{Context, Gone};
use super::expiry::Expiry;
use super::removal::{remove, Removal};
use super::staging::Staging;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::pruned::{Item, Reason};
use crate::repo::listing::each_entry;
use crate::repo::mode::Mode;
use crate::repo::object::{directory_name, Checksum, ObjectName, ObjectType, DETACHED};
use crate::repo::refs;
use crate::repo::seen::Seen;
use crate::repo::{partial_mark, Repo};
use crate::report::{Failure, PruneReport};

const COPIES: &str = "uncompressed-objects-cache";

/// How a copy is named behind its checksum, as in a repository of mode bare.
const COPY: &[u8] = b".file";

/// A file that nothing may own any more.
struct Candidate {
    /// Relative to the repository.
    directory: PathBuf,
    name: OsString,
    /// The commit that it belongs to; None for a copy.
    commit: Option<Checksum>,
}

impl Candidate {
    fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }
}

/// Finds whether something owns a file.
struct Owners<'a> {
    repo: &'a Repo,
    expiry: Expiry,
    staging: Staging<'a>,
    /// The commits that refs lead to, whether they are there or not.
    named: HashSet<Checksum>,
}

impl<'a> Owners<'a> {
    fn of(repo: &'a Repo, control: &Control) -> Result<Self> {
        let named = refs::list(repo, control)?.into_iter().map(|reference| reference.target).collect();
        Ok(Self { repo, expiry: Expiry::of(repo), staging: Staging::open(repo)?, named })
    }

    /// Whether nothing owns a file, and nothing did for a while.
    fn lack(&self, candidate: &Candidate, seen: &Seen) -> Result<bool> {
        if !self.expiry.is_over_since(seen.changed()) {
            return Ok(false);
        }
        let Some(commit) = candidate.commit else { return Ok(seen.is_file() && seen.links() == 1) };
        let object = ObjectName::new(commit, ObjectType::Commit);
        Ok(!self.named.contains(&commit) && !self.staging.has(object) && !self.repo.has(object)?)
    }
}

/// Copies and detached metadata on their way out.
pub(crate) struct Sweep {
    /// The next one last.
    candidates: Vec<Candidate>,
}

impl Sweep {
    /// Lists what may have to go.
    pub fn list(repo: &Repo, control: &Control) -> Result<Self> {
        let mut candidates = Vec::new();
        for number in 0..=u8::MAX {
            control.check_or_rest()?;
            list_detached(repo, number, &mut candidates)?;
            if repo.config().mode == Mode::Archive {
                list_copies(repo, number, &mut candidates)?;
            }
        }
        Ok(Self { candidates })
    }

    /// Whether all is decided on.
    pub fn is_done(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Deletes what nothing owns until `deadline`. Needs the exclusive lock, but for a dry run.
    pub fn run(
        &mut self,
        context: Context,
        report: &mut PruneReport,
        deadline: Option<Instant>,
    ) -> Result<()> {
        let owners = Owners::of(context.repo, context.control)?;
        let is_over = || deadline.is_some_and(|deadline| context.crew.pace.ends_slice(deadline));
        while let Some(candidate) = self.candidates.pop_if(|_| !is_over()) {
            context.control.check()?;
            if let Some(reason) = context.exhausted() {
                report.unfinished = Some(reason.into());
                self.candidates.clear();
                break;
            }
            match delete(context, &owners, &candidate) {
                Ok(false) => {}
                Ok(true) => {
                    report.leftovers_pruned += 1;
                    context.crew.pace.deleted(context.repo.directory());
                    tell(context, &candidate);
                }
                Err(Error::Io { source, .. }) if !context.dry_run => {
                    report.failures.push(Failure { path: candidate.path(), error: source.into() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Deletes a file if nothing owns it; true if it did.
fn delete(context: Context, owners: &Owners, candidate: &Candidate) -> Result<bool> {
    let io = |error| Error::io(context.repo.path().join(candidate.path()), error);
    let Some(directory) = context.repo.part(&candidate.directory)? else { return Ok(false) };
    let Some(seen) = Seen::at(&directory, &candidate.name).map_err(io)? else { return Ok(false) };
    if !owners.lack(candidate, &seen)? {
        return Ok(false);
    }
    let removal = remove(&directory, &*candidate.name, context, Some(seen.identity()));
    Ok(matches!(removal.map_err(io)?, Removal::Done(_)))
}

fn tell(context: Context, candidate: &Candidate) {
    let Some(observer) = context.observer else { return };
    let path = candidate.path();
    observer(match candidate.commit {
        Some(commit) => Gone::Leftover(Item::Detached(path), Reason::Ownerless(commit)),
        None => Gone::Leftover(Item::Copy(path), Reason::Unused),
    });
}

/// Calls `each` with every file that a sweep would delete, and with the partial marks that any prune would. Needs no
/// lock.
pub(crate) fn each_ownerless(repo: &Repo, control: &Control, mut each: impl FnMut(&Seen)) -> Result<()> {
    let owners = Owners::of(repo, control)?;
    let mut look =
        |directory: &Path, name: &OsString, is_ownerless: &dyn Fn(&Seen) -> Result<bool>| -> Result<()> {
            let io = |error| Error::io(repo.path().join(directory).join(name), error);
            let Some(opened) = repo.part(directory)? else { return Ok(()) };
            if let Some(seen) = Seen::at(&opened, name).map_err(io)? {
                if is_ownerless(&seen)? {
                    each(&seen);
                }
            }
            Ok(())
        };
    for candidate in Sweep::list(repo, control)?.candidates {
        control.check_or_rest()?;
        look(&candidate.directory, &candidate.name, &|seen| owners.lack(&candidate, seen))?;
    }
    for commit in orphaned_marks(repo, &owners.staging, &repo.partial_commits()?)? {
        look(Path::new("state"), &partial_mark(&commit).into(), &|_| Ok(true))?;
    }
    Ok(())
}

/// Detached metadata without a commit beside it.
fn list_detached(repo: &Repo, number: u8, found: &mut Vec<Candidate>) -> Result<()> {
    let Some(directory) = repo.open_object_directory(number)? else { return Ok(()) };
    let (mut detached, mut commits) = (Vec::new(), HashSet::new());
    each_entry(&directory, &repo.object_directory_path(number), |entry| {
        let checksum = |suffix: &[u8]| Checksum::from_entry(number, entry.name.strip_suffix(suffix)?);
        detached.extend(checksum(b".commitmeta"));
        commits.extend(checksum(b".commit"));
        Ok(())
    })?;
    detached.retain(|commit| !commits.contains(commit));
    found.extend(detached.into_iter().map(|commit| Candidate {
        directory: Path::new("objects").join(directory_name(number)),
        name: commit.file_name(DETACHED).into(),
        commit: Some(commit),
    }));
    Ok(())
}

fn list_copies(repo: &Repo, number: u8, found: &mut Vec<Candidate>) -> Result<()> {
    let path = Path::new(COPIES).join(directory_name(number));
    let Some(directory) = repo.part(&path)? else { return Ok(()) };
    each_entry(&directory, &repo.path().join(&path), |entry| {
        let checksum = entry.name.strip_suffix(COPY).and_then(|hex| Checksum::from_entry(number, hex));
        found.extend(checksum.map(|_| Candidate {
            directory: path.clone(),
            name: OsString::from_vec(entry.name.to_owned()),
            commit: None,
        }));
        Ok(())
    })
}
