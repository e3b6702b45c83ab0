//! After what time a file that nothing owns is taken for abandoned.

use std::time::SystemTime;

use crate::repo::Repo;

/// `core.tmp-expiry-secs`, as of one moment.
pub(super) struct Expiry {
    /// In seconds since 1970.
    now: u64,
    seconds: u64,
}

impl Expiry {
    /// The one that `repo` is configured with: by default a day.
    pub fn of(repo: &Repo) -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        Self { now, seconds: repo.config().tmp_expiry }
    }

    /// Whether `time`, in seconds since 1970, is longer ago. A time in the future is not.
    pub fn is_over_since(&self, time: i64) -> bool {
        let time = u64::try_from(time).unwrap_or(0);
        self.now.checked_sub(time).is_some_and(|age| age > self.seconds)
    }
}
