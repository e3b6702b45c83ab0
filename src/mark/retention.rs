//! What is to be kept, as options and policies ask for it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::repo::object::Checksum;
use crate::repo::refs::Ref;

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

/// What is to be kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Retention {
    /// Keep what refs lead to; otherwise all commits there are.
    pub refs_only: bool,
    /// Look at commits only, and leave all that they reach where it is.
    pub commit_only: bool,
    /// For refs that `by_ref` does not name. None: every ref has to be named.
    pub default: Option<Keep>,
    /// For single refs, by their refspec.
    pub by_ref: HashMap<String, Keep>,
    /// Refs that have to be there, or nothing is done: they were named for a purpose.
    pub required: Vec<String>,
    /// Commits to keep even if no ref leads to them, with all that they reach.
    pub protected: Vec<Checksum>,
    /// Keep commits that no ref leads to if they were made, or came here, at or after this time (seconds since 1970).
    pub unreferenced_since: Option<u64>,
    /// A commit to delete, which must not be a ref's.
    pub deleted: Option<Checksum>,
}

impl Retention {
    /// What refs lead to, and so much of their history.
    pub fn refs(keep: Keep) -> Self {
        Self { refs_only: true, default: Some(keep), ..Self::default() }
    }

    /// How much to keep of the history of commits that no ref names.
    pub(crate) fn of_others(&self) -> Keep {
        self.default.unwrap_or(Keep::ALL)
    }

    /// How much to keep of a ref's history.
    pub(crate) fn of_ref(&self, reference: &Ref) -> Keep {
        // A ref that nobody named and that appeared while we work (`check_names` has not seen it) is left alone.
        self.by_ref.get(&reference.spec()).copied().unwrap_or(self.of_others())
    }

    /// Fails if the refs there are and those that are named don't go together.
    pub(crate) fn check_names(&self, refs: &[Ref]) -> Result<()> {
        let specs: Vec<String> = refs.iter().map(Ref::spec).collect();
        let is_known = |name: &String| {
            // As libostree resolves a name: a ref's own, or that of some remote's.
            specs
                .iter()
                .any(|spec| spec == name || spec.split_once(':').is_some_and(|(_, short)| short == name))
        };
        if let Some(unknown) = self.required.iter().find(|name| !is_known(name)) {
            return Err(Error::Refused(format!("Refspec '{unknown}' not found")));
        }
        match specs.iter().find(|spec| self.default.is_none() && !self.by_ref.contains_key(*spec)) {
            None => Ok(()),
            Some(unlisted) => {
                Err(Error::Refused(format!("Ref '{unlisted}' has no policy, and there is no default")))
            }
        }
    }

    /// Fails if a ref leads to the commit that is to be deleted.
    pub(crate) fn check_deleted(&self, refs: &[Ref]) -> Result<()> {
        match refs.iter().find(|reference| self.deleted == Some(reference.target)) {
            None => Ok(()),
            Some(Ref { target, .. }) => {
                let names: Vec<_> =
                    refs.iter().filter(|other| other.target == *target).map(Ref::spec).collect();
                Err(Error::Refused(format!("Commit '{target}' is referenced by '{}'", names.join("', '"))))
            }
        }
    }
}
