//! What a run did, as plain data that can be merged and sent on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::holds::LockTimes;
use crate::repo::object::{Checksum, ObjectType};

/// Counts for one type of object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects listed.
    pub total: u64,
    /// Objects deleted (in a dry run: that would be).
    pub pruned: u64,
    /// Sum of the deleted objects' `st_size`, in bytes. A hard link elsewhere, as in a deployment's
    /// checkout, may still hold the space.
    pub bytes_freed: u64,
}

/// Something that should have gone and could not be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Path relative to the repository, or in a cleanup to the sysroot.
    pub path: PathBuf,
    /// Why.
    pub error: Cause,
}

/// Why something could not be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    text: String,
    errno: Option<i32>,
}

impl Cause {
    pub(crate) fn new(text: String, errno: Option<i32>) -> Self {
        Self { text, errno }
    }

    /// The same in other words.
    pub(crate) fn in_words(self, text: &str) -> Self {
        Self { text: text.into(), ..self }
    }

    /// The kernel's number for it; None where it was not the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self { text, errno: None }
    }
}

impl From<&str> for Cause {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self { text: error.to_string(), errno: error.raw_os_error() }
    }
}

impl From<Errno> for Cause {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

/// Files and directories in `tmp`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpTotal {
    /// How many lie in `tmp` itself.
    pub entries: u64,
    /// Sum of the sizes of all files in them, in bytes.
    pub bytes: u64,
}

/// A commit that a dry run found to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunedCommit {
    /// Its checksum.
    pub commit: Checksum,
    /// The ref or deployment that has it in its history, beyond what is kept of it. None: nothing leads to it.
    pub name: Option<String>,
    /// The version that it names.
    pub version: Option<String>,
    /// When it was made, in seconds since 1970. None: it can't be read.
    pub timestamp: Option<u64>,
}

impl From<Checksum> for PrunedCommit {
    fn from(commit: Checksum) -> Self {
        Self { commit, name: None, version: None, timestamp: None }
    }
}

/// The result of a prune, whole or cut short.
#[derive(Debug, Clone, Default)]
pub struct PruneReport {
    /// True when nothing was deleted because only the figures were wanted.
    pub dry_run: bool,
    /// Counts by type of object.
    pub by_type: BTreeMap<ObjectType, Tally>,
    /// Static deltas removed because the commit they lead to is gone.
    pub deltas_pruned: u64,
    /// Indexes of static deltas removed because the commit they lead to is gone.
    pub delta_indexes_pruned: u64,
    /// Other files that belonged to commits, remotes and checkouts that are gone: flatpak's `.commitmeta2`, cached
    /// summaries, partial marks of commits that were missing before, and what libostree never deletes.
    pub leftovers_pruned: u64,
    /// What interrupted transactions left in `tmp` and was removed: files and directories in it.
    pub tmp_pruned: u64,
    /// Sum of the sizes of the files that were deleted there, in bytes.
    pub tmp_bytes_freed: u64,
    /// Checkouts of deployments that are no more, removed by a sysroot's cleanup: `STATEROOT/CHECKSUM.SERIAL`.
    pub deployments_removed: Vec<String>,
    /// Digests of container layers whose refs were removed, for no image and no deployment needs them.
    pub container_layers_removed: Vec<String>,
    /// Whether candidates came from a plan and not from a crawl.
    pub by_plan: bool,
    /// Why there was a plan and it was not used.
    pub plan_refused: Option<String>,
    /// Why something that is to go was left on purpose. See [`left`](Self::left).
    pub unfinished: Option<String>,
    /// What is odd about the options or the repository, and did not stop the run; for people to read.
    pub warnings: Vec<String>,
    /// Refs that were ignored, for their commits are missing.
    pub dangling_refs: Vec<(String, Checksum)>,
    /// Of a dry run: the commits that would be deleted.
    pub pruned_commits: Vec<PrunedCommit>,
    /// Items that could not be removed.
    pub failures: Vec<Failure>,
    /// For how long locks were held.
    pub locks: LockTimes,
    /// Room on disk that was given back, in bytes: the blocks of files of which the last name went, and of directories. A
    /// control counts for all runs it is given to.
    pub disk_bytes_freed: u64,
    /// Wall-clock time of the run.
    pub duration: Duration,
}

impl Tally {
    /// Counts a deleted object of so many bytes. Anybody can make sparse files of any size: sums stop at the largest number.
    pub(crate) fn add_pruned(&mut self, bytes: u64) {
        self.pruned += 1;
        self.bytes_freed = self.bytes_freed.saturating_add(bytes);
    }
}

impl PruneReport {
    /// All objects listed.
    pub fn objects_total(&self) -> u64 {
        self.by_type.values().map(|t| t.total).sum()
    }

    /// All objects deleted (in a dry run: that would be).
    pub fn objects_pruned(&self) -> u64 {
        self.by_type.values().map(|t| t.pruned).sum()
    }

    /// Bytes freed, of objects and in `tmp`; see [`Tally::bytes_freed`].
    pub fn bytes_freed(&self) -> u64 {
        self.by_type.values().fold(self.tmp_bytes_freed, |sum, t| sum.saturating_add(t.bytes_freed))
    }

    /// Why something that is to go is left: on purpose, or because it could not be removed.
    pub fn left(&self) -> Option<String> {
        let failed = match self.failures.len() {
            0 => None,
            1 => Some("1 item could not be removed".into()),
            count => Some(format!("{count} items could not be removed")),
        };
        let reasons: Vec<String> = self.unfinished.iter().cloned().chain(failed).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Whether all is as it was before the run.
    pub(crate) fn changed_nothing(&self) -> bool {
        let files = self.deltas_pruned + self.delta_indexes_pruned + self.leftovers_pruned + self.tmp_pruned;
        let sysroot = self.deployments_removed.len() + self.container_layers_removed.len();
        self.dry_run || (self.objects_pruned() == 0 && files == 0 && sysroot == 0)
    }

    pub(crate) fn tally(&mut self, kind: ObjectType) -> &mut Tally {
        self.by_type.entry(kind).or_default()
    }

    /// What both runs did, of which `next` came after this one.
    pub(crate) fn followed_by(self, mut next: PruneReport) -> PruneReport {
        for (kind, before) in self.by_type {
            let tally = next.tally(kind);
            tally.total = before.total.max(tally.total + before.pruned);
            tally.pruned += before.pruned;
            tally.bytes_freed = tally.bytes_freed.saturating_add(before.bytes_freed);
        }
        next.deltas_pruned += self.deltas_pruned;
        next.delta_indexes_pruned += self.delta_indexes_pruned;
        next.leftovers_pruned += self.leftovers_pruned;
        next.tmp_pruned += self.tmp_pruned;
        next.tmp_bytes_freed = next.tmp_bytes_freed.saturating_add(self.tmp_bytes_freed);
        next.failures.extend(self.failures);
        next.pruned_commits.extend(self.pruned_commits);
        next.warnings.splice(0..0, self.warnings);
        if next.dangling_refs.is_empty() {
            next.dangling_refs = self.dangling_refs;
        }
        next.disk_bytes_freed = next.disk_bytes_freed.max(self.disk_bytes_freed);
        next.by_plan |= self.by_plan;
        next.plan_refused = self.plan_refused.or(next.plan_refused);
        next.duration += self.duration;
        next
    }

    /// Adds what another worker counted.
    pub(crate) fn merge(&mut self, other: PruneReport) {
        for (kind, tally) in other.by_type {
            let mine = self.tally(kind);
            mine.total += tally.total;
            mine.pruned += tally.pruned;
            mine.bytes_freed = mine.bytes_freed.saturating_add(tally.bytes_freed);
        }
        self.deltas_pruned += other.deltas_pruned;
        self.delta_indexes_pruned += other.delta_indexes_pruned;
        self.leftovers_pruned += other.leftovers_pruned;
        self.deployments_removed.extend(other.deployments_removed);
        self.failures.extend(other.failures);
        self.pruned_commits.extend(other.pruned_commits);
        self.warnings.extend(other.warnings);
    }
}
