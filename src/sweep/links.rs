//! Which deletion of a name gives a file's room back: that of the last.

use std::collections::HashMap;

use crate::repo::seen::Seen;

/// How many names are to go of each file that has several.
#[derive(Debug, Default)]
pub(crate) struct Links(HashMap<(u64, u64), u64>);

impl Links {
    /// Bytes on disk that the removal of a file gives back, after the names noted here have gone.
    pub fn freed_by(&self, seen: &Seen) -> u64 {
        let gone = self.0.get(&seen.inode()).copied().unwrap_or_default();
        if seen.links() <= gone + 1 {
            seen.on_disk()
        } else {
            0
        }
    }

    /// The same, and notes that the name has gone.
    pub fn remove(&mut self, seen: &Seen) -> u64 {
        let freed = self.freed_by(seen);
        if seen.links() > 1 {
            *self.0.entry(seen.inode()).or_default() += 1;
        }
        freed
    }
}
