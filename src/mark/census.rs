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
//!   later changes differ from them. This is the one wait under a lock: without the lock others' changes could share
//!   the stamp. A slice ends a [tick](Clock::tick) earlier for it.
//! * Where stamps have no fraction of a second, or the file system's clock is not ours (network, FUSE and others not
//!   known to be local), or somebody set the clock, nothing is trusted and all is listed.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::StatFs;
use rustix::time::{clock_getres, clock_gettime, ClockId, Timespec};
use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::repo::boot;
use crate::repo::listing::in_chunks;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::Repo;
use crate::workers::Crew;

/// Number of object directories.
pub(crate) const DIRECTORIES: usize = 256;

/// After so many entries of a directory the clock is looked at.
const BETWEEN_LOOKS: u32 = 512;

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

    /// Lists again what may have changed, until `deadline`. Without one no lock is held, and changes of this very tick
    /// of the clock are waited for, so that the next update need not list them again.
    pub fn update(
        &mut self,
        repo: &Repo,
        crew: Crew,
        control: &Control,
        deadline: Option<Instant>,
    ) -> Result<Found> {
        let mut stale = self.find_stale(repo)?;
        if deadline.is_none() && self.clock.local && stale.iter().any(|(_, seen)| *seen == Known::Nothing) {
            control.sleep(Clock::tick())?;
            stale = self.find_stale(repo)?;
        }
        let listed = Mutex::new((HashSet::new(), HashSet::new()));
        let crew = Crew { jobs: crew.jobs.min(stale.len()), ..crew };
        crew.for_each(stale.len(), |index| {
            control.check()?;
            let number = stale[index].0;
            if let Some(commits) = list_commits(repo, number, crew.pace, deadline)? {
                let mut listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
                listed.0.insert(number);
                listed.1.extend(commits);
            }
            Ok(())
        })?;
        let (directories, found) = listed.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (number, seen) in &stale {
            self.directories[usize::from(*number)] =
                if directories.contains(number) { *seen } else { Known::Nothing };
        }
        // What is no longer there was deleted by somebody else, and is new should it come back.
        self.commits.retain(|commit| !directories.contains(&commit.directory()) || found.contains(commit));
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
            let stamp = Stamp::of(repo, number)?;
            if *known != Known::AsOf(stamp) {
                let is_good = trusted && is_settled(stamp, now);
                stale.push((number, if is_good { Known::AsOf(stamp) } else { Known::Nothing }));
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
            let stamp = Stamp::of(repo, number)?;
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
    /// How often the clocks are read at most, until nothing came in between.
    const READINGS: u32 = 100;
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

    /// How long a change can share its stamp with another.
    fn tick() -> Duration {
        let Timespec { tv_sec, tv_nsec } = clock_getres(ClockId::RealtimeCoarse);
        Duration::new(tv_sec.unsigned_abs(), u32::try_from(tv_nsec).unwrap_or(0)).min(Self::PATIENCE)
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

    /// Real time minus time since boot. The real time is read between two readings of the other clock: whoever is
    /// preempted in between reads again, or he would take that for a clock that was set.
    fn current_offset() -> i64 {
        Self::offset_by(|id| {
            let Timespec { tv_sec, tv_nsec } = clock_gettime(id);
            tv_sec.saturating_mul(1_000_000_000).saturating_add(tv_nsec)
        })
    }

    fn offset_by(mut nanoseconds: impl FnMut(ClockId) -> i64) -> i64 {
        let mut best = (u64::MAX, 0);
        for _ in 0..Self::READINGS {
            let before = nanoseconds(ClockId::Monotonic);
            let real = nanoseconds(ClockId::Realtime);
            let after = nanoseconds(ClockId::Monotonic);
            let took = after.abs_diff(before);
            if took < best.0 {
                best = (took, real - before);
            }
            if took < Self::TOLERANCE_NS / 10 {
                break;
            }
        }
        best.1
    }
}

/// Tells this boot from others; empty where it can't be told.
fn boot_id() -> String {
    boot::boot_id().unwrap_or_default()
}

/// Whether it is a file system that stamps with this kernel's clock, in nanoseconds.
fn is_local(statfs: &StatFs) -> bool {
    /// ext2 to ext4, xfs, btrfs, tmpfs, f2fs and bcachefs; from linux/magic.h and the file systems' sources.
    const LOCAL: [u64; 6] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0xF2F5_2010, 0xCA45_1A4E];
    u64::try_from(statfs.f_type).is_ok_and(|magic| LOCAL.contains(&magic))
}

#[cfg(test)]
mod tests;
