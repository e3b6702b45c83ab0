//! Which commits there are, and which appeared since.
//!
//! A writer may add a commit whenever we don't hold the exclusive lock, and it may reuse objects that were garbage
//! before. Listing all object directories each time we take the lock again would take as long as the repository is
//! big, so a directory is listed again only if its [stamp](super::stamps) says that it changed, or can't say that it
//! did not.
//!
//! Our own deletions change stamps too. Before the exclusive lock is released, [`Census::settle`] waits for the next
//! tick, at most a few milliseconds, and records the new stamps. They are settled then, and everybody else's later
//! changes differ from them. This is the one wait under a lock: without the lock others' changes could share the stamp.
//! A slice ends a [tick](Clock::tick) earlier for it.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::stamps::{Clock, Known, Stamp};
use crate::control::Control;
use crate::error::Result;
use crate::pace::Pace;
use crate::repo::boot;
use crate::repo::listing::in_chunks;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::Repo;
use crate::workers::Crew;

/// Number of object directories.
pub(crate) const DIRECTORIES: usize = 256;

/// With fewer directories to list for each thread, starting it takes longer than they do.
const WORTH_A_THREAD: usize = 8;

/// After so many entries of a directory the clock is looked at.
const BETWEEN_LOOKS: u32 = 512;

/// An object directory's stamp. None where there is no such directory: that, too, is a state which can change.
fn stamp(repo: &Repo, number: u8) -> Result<Option<Stamp>> {
    Ok(repo.look_at_object_directory(number)?.map(|stat| Stamp::of(&stat)))
}

/// The commits in a repository, kept up to date.
#[derive(Debug)]
pub(crate) struct Census {
    commits: HashSet<Checksum>,
    directories: Vec<Known>,
    clock: Clock,
}

/// What an update of a census has found.
pub(crate) struct Found {
    /// Commits that are new.
    pub commits: Vec<Checksum>,
    /// The directories that may have changed.
    pub directories: HashSet<u8>,
    /// Whether all of them were listed.
    pub is_complete: bool,
}

impl Found {
    /// Where nobody asks for commits: anything may have changed.
    pub fn all() -> Self {
        Self { commits: Vec::new(), directories: (0..=u8::MAX).collect(), is_complete: true }
    }
}

/// What a census knew, for a later process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    directories: Vec<Known>,
    boot_id: String,
    offset_ns: i64,
    time: (i64, i64),
}

impl Census {
    /// What is known of the directories.
    pub fn record(&self) -> Record {
        Record {
            directories: self.directories.clone(),
            boot_id: boot_id(),
            offset_ns: self.clock.offset(),
            time: Clock::coarse(),
        }
    }

    /// Goes on from a record, and the commits that there were. Stamps are as good as they were if nobody set the clock.
    /// In another boot that can't be known; at least it must not have gone back. A later change could then go
    /// unnoticed only if the clock had gone back in the meantime, and forth again, and the change had met the very
    /// nanosecond of the directory's stamp.
    pub fn resume(repo: &Repo, record: &Record, commits: HashSet<Checksum>) -> Result<Self> {
        let clock = Clock::new(repo)?;
        let is_good = if !record.boot_id.is_empty() && record.boot_id == boot_id() {
            clock.has_offset(record.offset_ns)
        } else {
            record.time <= Clock::coarse()
        };
        let directories = if is_good && record.directories.len() == DIRECTORIES {
            record.directories.clone()
        } else {
            vec![Known::Nothing; DIRECTORIES]
        };
        Ok(Self { commits, directories, clock })
    }

    /// Lists all commits.
    pub fn take(repo: &Repo, crew: Crew, control: &Control) -> Result<Self> {
        let mut census = Self {
            commits: HashSet::new(),
            directories: vec![Known::Nothing; DIRECTORIES],
            clock: Clock::new(repo)?,
        };
        census.update(repo, crew, control, None)?;
        Ok(census)
    }

    /// All commits there are, as of the last look.
    pub fn commits(&self) -> impl Iterator<Item = &Checksum> {
        self.commits.iter()
    }

    /// Whether a commit was there at the last look.
    pub fn has(&self, commit: &Checksum) -> bool {
        self.commits.contains(commit)
    }

    /// How long [`settle`](Self::settle) takes at most.
    pub fn time_to_settle() -> Duration {
        Clock::tick()
    }

    /// Takes note of a commit that is not there: should it come back, it is new.
    pub fn forget(&mut self, commit: &Checksum) {
        self.commits.remove(commit);
    }

    /// Lists again what may have changed, until `deadline`. Where there is none, and no lock is held, changes of this very
    /// tick of the clock are waited for, so that the next update need not list them again.
    pub fn update(
        &mut self,
        repo: &Repo,
        crew: Crew,
        control: &Control,
        deadline: Option<Instant>,
    ) -> Result<Found> {
        let mut stale = self.find_stale(repo)?;
        let has_time = deadline.is_none() && !control.has_lock();
        if has_time && self.clock.is_local() && stale.iter().any(|(_, seen)| *seen == Known::Nothing) {
            control.sleep(Clock::tick())?;
            stale = self.find_stale(repo)?;
        }
        let listed = Mutex::new((HashSet::new(), HashSet::new()));
        let (absent, present): (Vec<_>, Vec<_>) =
            stale.iter().copied().partition(|(_, seen)| *seen == Known::AsOf(None));
        let crew = Crew { jobs: crew.jobs.min(present.len().div_ceil(WORTH_A_THREAD)), ..crew };
        crew.for_each(present.len(), |index| {
            control.check()?;
            let number = present[index].0;
            if let Some(commits) = list_commits(repo, number, crew.pace, deadline)? {
                let mut listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
                listed.0.insert(number);
                listed.1.extend(commits);
            }
            Ok(())
        })?;
        let (mut directories, found) = listed.into_inner().unwrap_or_else(PoisonError::into_inner);
        directories.extend(absent.into_iter().map(|(number, _)| number));
        for (number, seen) in &stale {
            self.directories[usize::from(*number)] =
                if directories.contains(number) { *seen } else { Known::Nothing };
        }
        // What is no longer there was deleted by somebody else, and is new should it come back.
        if !directories.is_empty() {
            self.commits
                .retain(|commit| !directories.contains(&commit.directory()) || found.contains(commit));
        }
        let commits = found.into_iter().filter(|commit| self.commits.insert(*commit)).collect();
        let is_complete = directories.len() == stale.len();
        Ok(Found { commits, directories: stale.into_iter().map(|(number, _)| number).collect(), is_complete })
    }

    /// The directories that have to be listed again, and what will be known of each once it is. Stamps are taken before
    /// a listing: a change in between shows as a difference next time.
    fn find_stale(&mut self, repo: &Repo) -> Result<Vec<(u8, Known)>> {
        let trusted = self.clock.is_trustworthy();
        if !trusted {
            self.directories.fill(Known::Nothing);
        }
        let now = Clock::coarse();
        let mut stale = Vec::new();
        for (number, known) in (0..=u8::MAX).zip(&self.directories) {
            let stamp = stamp(repo, number)?;
            if *known != Known::AsOf(stamp) {
                stale.push((number, if trusted { Known::at(stamp, now) } else { Known::Nothing }));
            }
        }
        Ok(stale)
    }

    /// Records the stamps of directories in which we deleted objects. To be called with the exclusive lock held, at
    /// the end of a slice: nobody else can have added anything.
    pub fn settle(&mut self, repo: &Repo, touched: &[u8]) -> Result<()> {
        for &number in touched {
            if self.directories[usize::from(number)] == Known::Nothing {
                continue;
            }
            let stamp = stamp(repo, number)?;
            self.directories[usize::from(number)] =
                if self.clock.wait_past(stamp) { Known::AsOf(stamp) } else { Known::Nothing };
        }
        Ok(())
    }
}

/// The commits in a directory; None if there is no time left to list it.
fn list_commits(
    repo: &Repo,
    number: u8,
    pace: &Pace,
    deadline: Option<Instant>,
) -> Result<Option<Vec<Checksum>>> {
    let mut commits = Vec::new();
    let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    if is_over() {
        return Ok(None);
    }
    let Some(directory) = repo.open_object_directory(number)? else { return Ok(Some(commits)) };
    let (path, mode) = (repo.object_directory_path(number), repo.config().mode);
    let mut entries = 0_u32;
    let listed = in_chunks(
        &directory,
        &path,
        pace.chunk(),
        || pace.read(),
        |entry| {
            entries += 1;
            if entries.is_multiple_of(BETWEEN_LOOKS) && is_over() {
                return Ok(ControlFlow::Break(()));
            }
            let object = ObjectName::from_entry(number, entry.name, mode);
            commits.extend(object.filter(|o| o.kind == ObjectType::Commit).map(|o| o.checksum));
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(listed.is_continue().then_some(commits))
}

/// Identifies this boot; empty where the kernel does not say.
fn boot_id() -> String {
    boot::boot_id().unwrap_or_default()
}

#[cfg(test)]
mod tests;
