//! How much of a history to keep.

use serde::{Deserialize, Serialize};

/// How much of a commit's history to keep. The commit itself is kept in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Keep {
    /// This many generations of parents. None: all.
    pub depth: Option<u32>,
    /// Also all parents made at or after this time (seconds since 1970), up to the first that is older.
    pub since: Option<u64>,
}

impl Keep {
    /// The whole history.
    pub const ALL: Keep = Keep { depth: None, since: None };
    /// The commit alone.
    pub const ALONE: Keep = Keep { depth: Some(0), since: None };
}
