//! Whether a directory has changed since it was listed.
//!
//! * The kernel stamps a change with a clock that ticks every few milliseconds. A stamp is *settled* once that clock
//!   has moved past it: any later change then gets a later stamp, and is seen. A listing is trusted only if the
//!   directory's stamp was settled before the listing began.
//! * Where stamps have no fraction of a second, or the file system's clock is not ours (network, FUSE and others not
//!   known to be local), or somebody set the clock, nothing is trusted and all is listed.

use std::time::Duration;

use rustix::fs::{Stat, StatFs};
use rustix::time::{clock_getres, clock_gettime, ClockId, Timespec};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::repo::Repo;

/// A directory's times of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(super) mtime: (i64, i64),
    pub(super) ctime: (i64, i64),
}

impl Stamp {
    /// The one of a directory that was looked at.
    pub fn of(stat: &Stat) -> Self {
        Self {
            mtime: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            ctime: (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }

    fn newest(&self) -> (i64, i64) {
        self.mtime.max(self.ctime)
    }

    fn has_fraction(&self) -> bool {
        self.mtime.1 != 0 || self.ctime.1 != 0
    }
}

/// What is known of a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Known {
    /// Its listing holds as long as its stamp is this.
    AsOf(Option<Stamp>),
    /// It has to be listed again.
    #[default]
    Nothing,
}

impl Known {
    /// What is known of a directory that is listed from now on, after it was found to have `stamp`.
    pub fn at(stamp: Option<Stamp>, now: (i64, i64)) -> Self {
        if is_settled(stamp, now) {
            Self::AsOf(stamp)
        } else {
            Self::Nothing
        }
    }
}

/// Whether any change after `now` gets a stamp that differs from `stamp`.
pub(super) fn is_settled(stamp: Option<Stamp>, now: (i64, i64)) -> bool {
    stamp.is_none_or(|stamp| stamp.has_fraction() && stamp.newest() < now)
}

/// The clock that stamps come from, as far as it can be trusted.
#[derive(Debug)]
pub(crate) struct Clock {
    pub(super) local: bool,
    /// Real time minus time since boot, in nanoseconds: changes only when somebody sets the clock, or in a suspend.
    pub(super) offset: i64,
}

impl Clock {
    /// More than two readings of a clock in a row differ by, less than anybody sets a clock by on purpose.
    const TOLERANCE_NS: u64 = 1_000_000;
    /// How often the clocks are read at most, until nothing came in between.
    const READINGS: u32 = 100;
    /// Ticks come every 1 to 10 ms; what takes longer is not a tick.
    const PATIENCE: Duration = Duration::from_millis(20);

    /// The one of the file systems that `repo` lies on.
    pub fn new(repo: &Repo) -> Result<Self> {
        let mut local = true;
        for root in repo.roots() {
            let statfs = rustix::fs::fstatfs(root).map_err(|error| Error::io(repo.path(), error))?;
            local &= is_local(&statfs);
        }
        Ok(Self { local, offset: Self::current_offset() })
    }

    /// Whether it is this kernel's.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Real time minus time since boot when last looked at, in nanoseconds.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Whether that was `offset`, too, when it was recorded: nobody has set the clock since.
    pub fn has_offset(&self, offset: i64) -> bool {
        self.offset.abs_diff(offset) <= Self::TOLERANCE_NS
    }

    /// Whether stamps tell changes apart, and nobody has set the clock since the last call.
    pub fn is_trustworthy(&mut self) -> bool {
        let offset = Self::current_offset();
        let was_set = offset.abs_diff(self.offset) > Self::TOLERANCE_NS;
        self.offset = offset;
        self.local && !was_set
    }

    /// How long a change can share its stamp with another.
    pub fn tick() -> Duration {
        let Timespec { tv_sec, tv_nsec } = clock_getres(ClockId::RealtimeCoarse);
        Duration::new(tv_sec.unsigned_abs(), u32::try_from(tv_nsec).unwrap_or(0)).min(Self::PATIENCE)
    }

    /// Waits until the clock has moved past `stamp`; false if it does not within a tick.
    pub fn wait_past(&self, stamp: Option<Stamp>) -> bool {
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
    pub fn coarse() -> (i64, i64) {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::RealtimeCoarse);
        (tv_sec, tv_nsec)
    }

    /// Real time minus time since boot. The real time is read between two readings of the other clock: a thread
    /// that is preempted in between reads again, or it would take that for a clock that was set.
    fn current_offset() -> i64 {
        Self::offset_by(|id| {
            let Timespec { tv_sec, tv_nsec } = clock_gettime(id);
            tv_sec.saturating_mul(1_000_000_000).saturating_add(tv_nsec)
        })
    }

    pub(super) fn offset_by(mut nanoseconds: impl FnMut(ClockId) -> i64) -> i64 {
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

/// Whether it is a file system that stamps with this kernel's clock, in nanoseconds.
fn is_local(statfs: &StatFs) -> bool {
    /// ext2 to ext4, xfs, btrfs, tmpfs, f2fs and bcachefs; from linux/magic.h and the file systems' sources.
    const LOCAL: [u64; 6] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0xF2F5_2010, 0xCA45_1A4E];
    u64::try_from(statfs.f_type).is_ok_and(|magic| LOCAL.contains(&magic))
}
