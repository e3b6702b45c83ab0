//! From refs and history to the commits that must stay.
//!
//! Mirrors `ostree_repo_traverse_commit_with_flags` for commits, with one difference on purpose: libostree stops
//! at a commit it has seen before, even if it now comes along with more generations to keep, so that which
//! commits survive depends on the order of refs (its issue 2338). Here a commit is followed again whenever it is
//! reached with more generations left than before.

use std::collections::{HashMap, HashSet};

use super::live_set::LiveSet;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::{variant, Repo};

/// What is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Keep what refs lead to; otherwise all commits there are.
    pub refs_only: bool,
    /// How many parents of each kept commit to keep as well. None: all.
    pub depth: Option<u32>,
}

/// Where a walk along history begins.
#[derive(Debug, Clone)]
pub struct Start {
    /// The commit.
    pub commit: Checksum,
    /// The ref or deployment that asks for it; None for a commit found by listing, which may vanish.
    pub required_by: Option<String>,
}

/// The root directory of a commit to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
    pub tree: Checksum,
    pub meta: Checksum,
    /// Marked as partial: it may lack objects.
    pub partial: bool,
}

/// The commits found so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// How many of its parents were kept along with each commit.
    followed: HashMap<Checksum, u32>,
}

impl History {
    /// Follows each start to its parents and returns the roots of the commits that are new, adding them to `live`.
    ///
    /// `depth` as in [`Retention`]. A missing parent ends a history, as after a shallow pull; a missing start that
    /// is required is an error.
    pub fn follow(
        &mut self,
        repo: &Repo,
        starts: &[Start],
        depth: Option<u32>,
        partial: &HashSet<Checksum>,
        live: &LiveSet,
        control: &Control,
    ) -> Result<Vec<Root>> {
        let mut roots = Vec::new();
        let mut buffer = Vec::new();
        for start in starts {
            let mut next = Some((start.commit, depth.unwrap_or(u32::MAX)));
            while let Some((commit, left)) = next.take() {
                control.check()?;
                if self.followed.get(&commit).is_some_and(|before| *before >= left) {
                    break;
                }
                let object = ObjectName::new(commit, ObjectType::Commit);
                if !repo.read_metadata(object, &mut buffer)? {
                    match &start.required_by {
                        Some(name) if commit == start.commit => {
                            return Err(Error::corrupt(
                                name,
                                format!("it refers to {object}, which is missing"),
                            ))
                        }
                        _ => break,
                    }
                }
                let decoded = variant::commit(&buffer).map_err(|error| Error::corrupt(object, error.0))?;
                self.followed.insert(commit, left);
                if live.insert(object) {
                    let variant::Commit { root_tree: tree, root_meta: meta, .. } = decoded;
                    roots.push(Root { tree, meta, partial: partial.contains(&commit) });
                    control.advance(1);
                }
                if left > 0 {
                    let left = if left == u32::MAX { left } else { left - 1 };
                    next = decoded.parent.map(|parent| (parent, left));
                }
            }
        }
        Ok(roots)
    }
}
