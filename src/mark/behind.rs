//! Commits that are in the history of something that is kept, and too far back in it: for people to see.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::keep::Keep;
use super::live_set::LiveSet;
use super::roots::Start;
use crate::control::Control;
use crate::error::Result;
use crate::pruned::Reason;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::Repo;

/// What histories hold that is not kept of them.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    found: HashMap<Checksum, (Arc<str>, Keep)>,
    asked: Option<Checksum>,
}

impl Behind {
    /// Follows each history to its end, and every commit once. Where one that goes can't be read, its history ends;
    /// nothing depends on it.
    pub fn find(
        repo: &Repo,
        starts: &[Start],
        asked: Option<Checksum>,
        live: &LiveSet,
        control: &Control,
    ) -> Result<Self> {
        let mut found = HashMap::new();
        let mut seen = HashSet::new();
        let mut buffer = Vec::new();
        for Start { commit, keep, required_by } in starts {
            let name: Arc<str> = required_by.as_deref().unwrap_or_default().into();
            let mut next = Some(*commit);
            while let Some(commit) = next.filter(|commit| seen.insert(*commit)) {
                control.check()?;
                if !live.contains(ObjectName::new(commit, ObjectType::Commit)) {
                    found.insert(commit, (Arc::clone(&name), *keep));
                }
                let decoded = repo.read_commit(commit, &mut buffer).unwrap_or_default();
                next = decoded.and_then(|decoded| decoded.parent);
            }
        }
        Ok(Self { found, asked })
    }

    /// The ref or deployment that has a commit in its history, as messages name it.
    pub fn name(&self, commit: Checksum) -> Option<&str> {
        self.found.get(&commit).map(|(name, _)| &**name)
    }

    /// Why an object goes.
    pub fn reason(&self, object: ObjectName) -> Reason {
        match (object.kind, self.found.get(&object.checksum)) {
            (ObjectType::Commit, _) if self.asked == Some(object.checksum) => Reason::Asked,
            (ObjectType::Commit, Some((name, keep))) => Reason::Behind(Arc::clone(name), *keep),
            (ObjectType::Commit, None) => Reason::Unreferenced,
            _ => Reason::Unreachable,
        }
    }
}
