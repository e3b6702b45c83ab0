//! Which commits there are, and which appeared since.
//!
//! A writer may add a commit whenever we don't hold the exclusive lock, and it may reuse objects that were garbage
//! before. Listing all object directories each time we take the lock again would take as long as the repository is
//! big, so a directory is listed again only if its timestamps say that it changed, or can't say that it did not:
//!
//! * The kernel stamps a change with a clock that ticks every few milliseconds. A stamp is *settled* once that clock
//!   has moved past it: any later change then gets a later stamp, and is seen. A listing is trusted only if the
//!   directory's stamp was settled before the listing began.
//! * Our own deletions change stamps too. Before the exclusive lock is released, [`Census::settle`] waits for the
//!   next tick, at most a few milliseconds, and records the new stamps. They are settled then, and everybody else's
//!   later changes differ from them.
//! * Where stamps have no fraction of a second, or the file system's clock is not ours (network, FUSE and others not
//!   known to be local), or somebody set the clock, nothing is trusted and all is listed.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

use rustix::fs::StatFs;
use rustix::time::{clock_gettime, ClockId, Timespec};
use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::repo::listing::in_chunks;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::Repo;
use crate::workers::Crew;

/// Number of object directories.
pub(crate) const DIRECTORIES: usize = 256;

/// A directory's times of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    /// None where there is no such directory: that, too, is a state which can change.
    fn of(repo: &Repo, number: u8) -> Result<Option<Self>> {
        Ok(repo.look_at_object_directory(number)?.map(|stat| Self {
            mtime: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            ctime: (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }))
    }

    fn newest(&self) -> (i64, i64) {
        self.mtime.max(self.ctime)
    }

    fn has_fraction(&self) -> bool {
        self.mtime.1 != 0 || self.ctime.1 != 0
    }
}

/// What is known of one object directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Known {
    /// Its listing holds as long as its stamp is this.
    AsOf(Option<Stamp>),
    /// It has to be listed again.
    Nothing,
}

/// The commits in a repository, kept up to date.
#[derive(Debug)]
pub(crate) struct Census {
    commits: HashSet<Checksum>,
    directories: Vec<Known>,
    clock: Clock,
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
            offset_ns: self.clock.offset,
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
            clock.offset.abs_diff(record.offset_ns) <= Clock::TOLERANCE_NS
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
        census.update(repo, crew, control)?;
        Ok(census)
    }

    /// All commits there are, as of the last look.
    pub fn commits(&self) -> impl Iterator<Item = &Checksum> {
        self.commits.iter()
    }

    /// Takes note of a commit that we deleted: should it come back, it is new.
    pub fn forget(&mut self, commit: &Checksum) {
        self.commits.remove(commit);
    }

    /// Lists again what may have changed and returns the commits that are new.
    pub fn update(&mut self, repo: &Repo, crew: Crew, control: &Control) -> Result<Vec<Checksum>> {
        let trusted = self.clock.is_trustworthy();
        let now = Clock::coarse();
        let mut stale = Vec::new();
        for number in 0..=u8::MAX {
            let stamp = Stamp::of(repo, number)?;
            let known = &mut self.directories[usize::from(number)];
            if trusted && *known == Known::AsOf(stamp) {
                continue;
            }
            // The stamp is taken before the listing: a change in between shows as a difference next time.
            *known = if trusted && is_settled(stamp, now) { Known::AsOf(stamp) } else { Known::Nothing };
            stale.push(number);
        }
        let found = std::sync::Mutex::new(Vec::new());
        let crew = Crew { jobs: crew.jobs.min(stale.len()), ..crew };
        crew.for_each(stale.len(), |index| {
            control.check()?;
            let commits = list_commits(repo, stale[index], crew.pace)?;
            found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(commits);
            Ok(())
        })?;
        let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let found: HashSet<Checksum> = found.into_iter().collect();
        // What is no longer there was deleted by somebody else, and is new should it come back.
        self.commits
            .retain(|commit| stale.binary_search(&commit.directory()).is_err() || found.contains(commit));
        Ok(found.into_iter().filter(|commit| self.commits.insert(*commit)).collect())
    }

    /// Records the stamps of directories in which we deleted objects. To be called with the exclusive lock held, at
    /// the end of a slice: nobody else can have added anything.
    pub fn settle(&mut self, repo: &Repo, touched: &[u8]) -> Result<()> {
        for &number in touched {
            if self.directories[usize::from(number)] == Known::Nothing {
                continue;
            }
            let stamp = Stamp::of(repo, number)?;
            self.directories[usize::from(number)] =
                if self.clock.wait_past(stamp) { Known::AsOf(stamp) } else { Known::Nothing };
        }
        Ok(())
    }
}

fn list_commits(repo: &Repo, number: u8, pace: &Pace) -> Result<Vec<Checksum>> {
    let mut commits = Vec::new();
    if let Some(directory) = repo.open_object_directory(number)? {
        let (path, mode) = (repo.object_directory_path(number), repo.config().mode);
        in_chunks(
            &directory,
            &path,
            pace.chunk(),
            || pace.read(),
            |entry| {
                let object = ObjectName::from_entry(number, entry.name, mode);
                commits.extend(object.filter(|o| o.kind == ObjectType::Commit).map(|o| o.checksum));
                Ok(ControlFlow::Continue(()))
            },
        )
        .map(drop)?;
    }
    Ok(commits)
}

/// Whether any change after `now` gets a stamp that differs from `stamp`.
fn is_settled(stamp: Option<Stamp>, now: (i64, i64)) -> bool {
    stamp.is_none_or(|stamp| stamp.has_fraction() && stamp.newest() < now)
}

/// The clock that stamps come from, as far as it can be trusted.
#[derive(Debug)]
struct Clock {
    local: bool,
    /// Real time minus time since boot, in nanoseconds: changes only when somebody sets the clock, or in a suspend.
    offset: i64,
}

impl Clock {
    /// More than two readings of a clock in a row differ by, less than anybody sets a clock by on purpose.
    const TOLERANCE_NS: u64 = 1_000_000;
    /// Ticks come every 1 to 10 ms; what takes longer is not a tick.
    const PATIENCE: Duration = Duration::from_millis(20);

    fn new(repo: &Repo) -> Result<Self> {
        let mut local = true;
        for root in repo.roots() {
            let statfs = rustix::fs::fstatfs(root).map_err(|error| Error::io(repo.path(), error))?;
            local &= is_local(&statfs);
        }
        Ok(Self { local, offset: Self::current_offset() })
    }

    fn is_trustworthy(&mut self) -> bool {
        let offset = Self::current_offset();
        let was_set = offset.abs_diff(self.offset) > Self::TOLERANCE_NS;
        self.offset = offset;
        self.local && !was_set
    }

    /// Waits until the clock has moved past `stamp`; false if it does not within a tick.
    fn wait_past(&self, stamp: Option<Stamp>) -> bool {
        let start = std::time::Instant::now();
        while self.local && start.elapsed() < Self::PATIENCE {
            if is_settled(stamp, Self::coarse()) {
                return true;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        false
    }

    /// The time that a change made now would be stamped with.
    fn coarse() -> (i64, i64) {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::RealtimeCoarse);
        (tv_sec, tv_nsec)
    }

    fn current_offset() -> i64 {
        let nanoseconds = |id| {
            let Timespec { tv_sec, tv_nsec } = clock_gettime(id);
            tv_sec.saturating_mul(1_000_000_000).saturating_add(tv_nsec)
        };
        nanoseconds(ClockId::Realtime) - nanoseconds(ClockId::Monotonic)
    }
}

/// Tells this boot from others; empty where it can't be told.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Whether it is a file system that stamps with this kernel's clock, in nanoseconds.
fn is_local(statfs: &StatFs) -> bool {
    /// ext2 to ext4, xfs, btrfs, tmpfs, f2fs and bcachefs; from linux/magic.h and the file systems' sources.
    const LOCAL: [u64; 6] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0xF2F5_2010, 0xCA45_1A4E];
    u64::try_from(statfs.f_type).is_ok_and(|magic| LOCAL.contains(&magic))
}

#[cfg(test)]
mod tests;
