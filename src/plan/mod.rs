//! A plan: the objects to delete, listed beforehand, so that they can be deleted later without a crawl.
//!
//! It is made for roots that are assumed: on a sysroot, those after a staged deployment was finalized. When it is
//! applied, [`Mark::resume`](crate::mark) takes over what was known and looks at what changed since, exactly as a
//! prune does between two slices:
//!
//! * A root the plan assumed, or one whose history it followed as far, needs no crawl: what it reaches is no candidate.
//! * A root the plan expected to be dropped takes back what it reaches. The plan knows which candidates those are.
//! * Any other root, and any commit that appeared since, is crawled.
//! * A candidate that is not the same file any more is left alone.
//!
//! So candidates only ever become fewer.

mod candidate;
mod file;
mod identity;
mod make;
mod owners;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use self::file::discard;
pub(crate) use self::make::make;
pub use self::make::{plan, PlanOptions};

use self::candidate::Entry;
use self::identity::RepoIdentity;
use crate::error::{Error, Result};
use crate::mark::census::Record;
use crate::mark::retention::Retention;
use crate::mark::roots::History;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::seen::{Identity, Seen};
use crate::repo::Repo;
use crate::report::TmpTotal;

/// The most commits that a plan drops. A repository with more to delete is pruned without a plan. In tests few enough to
/// be made.
const MAX_COMMITS: usize = if cfg!(test) { 31 } else { 200_000 };
/// The most candidates of a plan.
const MAX_CANDIDATES: usize = if cfg!(test) { 500 } else { 100_000_000 };
/// The most bytes of a plan's header, which names all roots.
const MAX_HEADER: usize = if cfg!(test) { 1 << 17 } else { 256 << 20 };
/// The most bytes of a plan's file: a little more than the largest plan has.
const MAX_FILE: u64 = 5 << 30;

/// All of a plan but its candidates.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// When it was made, in seconds since 1970.
    pub made_at: u64,
    /// The sysroot it was made for, if not for a repository alone.
    pub sysroot: Option<PathBuf>,
    /// The repository.
    pub repo: PathBuf,
    /// What it assumes to be kept, by name.
    pub roots: Vec<Root>,
    /// The commits that are to go, and what each of them accounts for.
    pub dropped: Vec<Dropped>,
    /// Candidates by type.
    pub totals: BTreeMap<String, Total>,
    /// What a cleanup of the sysroot removes from the repository's `tmp`, as far as it is there already.
    #[serde(default)]
    pub tmp: TmpTotal,
    repo_identity: RepoIdentity,
    retention: Retention,
    /// The commits that it keeps with all that they reach.
    history: History,
    /// Those among the commits to keep that may have lacked objects: they are crawled again.
    partial: History,
    census: Record,
    /// Set `n` of commits that reach a candidate: those of set `sets[n - 1].0`, and the one dropped at `sets[n - 1].1`.
    sets: Vec<(u16, u32)>,
}

/// A root that a plan assumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The ref, deployment or option that names it.
    pub name: String,
    /// The commit.
    pub commit: Checksum,
}

/// A number of objects, and the sum of their sizes in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Number of objects.
    pub objects: u64,
    /// Sum of their sizes, in bytes.
    pub bytes: u64,
}

impl Total {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// A commit that is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The commit.
    pub commit: Checksum,
    /// The deployments that it was kept by, and the refs it was made for.
    pub names: Vec<String>,
    /// What no other commit reaches.
    pub alone: Total,
    /// What others that are to go reach, too.
    pub shared: Total,
    /// Whether all that it reaches was there to be read.
    whole: bool,
}

/// A plan, as made or read from a file.
#[derive(Debug)]
pub struct Plan {
    header: Header,
    /// Where the candidates in each object directory begin, and the end.
    starts: Vec<usize>,
    /// Sorted by name.
    entries: Vec<Entry>,
}

impl Plan {
    /// All but the candidates.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Number of candidates.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is to go.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The names of all candidates.
    pub fn names(&self) -> impl Iterator<Item = ObjectName> + '_ {
        (0..=u8::MAX).flat_map(|directory| self.candidates(directory))
    }

    pub(crate) fn retention(&self) -> &Retention {
        &self.header.retention
    }

    pub(crate) fn history(&self) -> &History {
        &self.header.history
    }

    pub(crate) fn partial(&self) -> &History {
        &self.header.partial
    }

    pub(crate) fn census(&self) -> &Record {
        &self.header.census
    }

    /// The commits that are to go and still are the files that they were.
    pub(crate) fn commits_unchanged(&self, repo: &Repo) -> Result<Vec<Checksum>> {
        let mut unchanged = Vec::new();
        for Dropped { commit, .. } in &self.header.dropped {
            let object = ObjectName::new(*commit, ObjectType::Commit);
            let found = Seen::at(repo.objects(), object.loose_path(repo.config().mode));
            let found = found.map_err(|error| Error::io(repo.path().join("objects"), error))?;
            if found.map(|seen| seen.identity()) == self.identity(object) {
                unchanged.push(*commit);
            }
        }
        Ok(unchanged)
    }

    /// Fails if it was made for another repository.
    pub(crate) fn check_repo(&self, repo: &Repo) -> Result<()> {
        if RepoIdentity::of(repo)? == self.header.repo_identity {
            Ok(())
        } else {
            let (made_for, found) = (self.header.repo.display(), repo.path().display());
            Err(Error::StalePlan(format!(
                "it was made for another repository, which was at {made_for}, and this one is {found}; make a new plan"
            )))
        }
    }

    /// The candidates in one object directory.
    pub(crate) fn candidates(&self, directory: u8) -> impl Iterator<Item = ObjectName> + '_ {
        let index = usize::from(directory);
        let range = self.starts.get(index).zip(self.starts.get(index + 1)).map(|(from, to)| *from..*to);
        let entries = range.and_then(|range| self.entries.get(range)).unwrap_or_default();
        entries.iter().map(move |entry| entry.name(directory))
    }

    /// The file that a candidate was when the plan was made; None for what is no candidate.
    pub(crate) fn identity(&self, object: ObjectName) -> Option<Identity> {
        let directory = object.checksum.directory();
        let index = usize::from(directory);
        let (from, to) = (*self.starts.get(index)?, *self.starts.get(index + 1)?);
        let entries = self.entries.get(from..to)?;
        let found = entries.binary_search_by_key(&object, |entry| entry.name(directory)).ok()?;
        entries.get(found).map(|entry| entry.identity)
    }

    /// All candidates that `commit` reaches; None if they are not known: then it has to be crawled.
    pub fn reached_by(&self, commit: Checksum) -> Option<impl Iterator<Item = ObjectName> + '_> {
        let dropped = &self.header.dropped;
        let index = dropped.binary_search_by_key(&commit, |dropped| dropped.commit).ok()?;
        if !dropped.get(index)?.whole {
            return None;
        }
        let index = u32::try_from(index).ok()?;
        // A set is made from one with a lower number, so one pass tells which contain the commit.
        let mut contains = vec![false];
        for (base, added) in &self.header.sets {
            contains.push(*added == index || contains.get(usize::from(*base)).copied().unwrap_or(true));
        }
        let numbered = (0..=u8::MAX).flat_map(|directory| {
            let index = usize::from(directory);
            self.entries[self.starts[index]..self.starts[index + 1]]
                .iter()
                .map(move |entry| (directory, entry))
        });
        let is_reached = move |set: u16| contains.get(usize::from(set)).copied().unwrap_or(true);
        Some(
            numbered
                .filter(move |(_, entry)| is_reached(entry.set))
                .map(|(number, entry)| entry.name(number)),
        )
    }
}

#[cfg(test)]
mod tests;
