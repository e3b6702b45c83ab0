//! From refs and history to the commits that must stay.
//!
//! Mirrors `ostree_repo_traverse_commit_with_flags` for commits, and `traverse_keep_younger_than` in
//! `ot-builtin-prune.c`, with one difference on purpose: libostree stops at a commit it has seen before, even if it
//! now comes along with more generations to keep, so the order of refs decides which commits survive (its
//! issue 2338). Here a commit is followed again whenever it is reached with more to keep than before.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::keep::Keep;
use super::live_set::LiveSet;
use crate::control::{Control, Phase};
use crate::error::{Error, Result};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::refs::ways_out;
use crate::repo::{variant, Repo};

/// Where a walk along history begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The commit.
    pub commit: Checksum,
    /// How much of its history to keep.
    pub keep: Keep,
    /// The ref, deployment or option that asks for it; None for a commit found by listing, which may vanish.
    pub required_by: Option<String>,
}

/// The root directory of a commit to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
    pub commit: Checksum,
    pub tree: Checksum,
    pub meta: Checksum,
    /// Marked as partial: it may lack objects.
    pub partial: bool,
}

/// The commits found so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct History {
    /// How each commit was followed: what was left to keep of its history.
    followed: HashMap<Checksum, Left>,
    /// Commits that were not there, and ended a history of which so much was to be kept.
    #[serde(skip)]
    ends: HashMap<Checksum, Left>,
}

/// How [`History::follow`] goes about it.
#[derive(Clone, Copy)]
pub(crate) struct Following<'a> {
    /// A commit that counts as not being there.
    pub ignored: Option<Checksum>,
    /// Commits marked as partial.
    pub partial: &'a HashSet<Checksum>,
    /// Whether nobody deletes meanwhile, so that a start that is required has to be there.
    pub is_locked: bool,
    /// When to stop.
    pub deadline: Option<Instant>,
}

/// What is left to keep behind a commit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Left {
    /// This many generations of parents; `u32::MAX` stands for all.
    generations: u32,
    /// Parents at least this young, without a gap.
    since: Option<u64>,
}

impl Left {
    /// What is left at the commit, made at `time`, that a history to keep so much of begins with. It is kept in any case;
    /// if it is too old, its date keeps nothing behind it.
    pub fn at_start(keep: Keep, time: u64) -> Left {
        let since = keep.since.filter(|since| time >= *since);
        Left { generations: keep.depth.unwrap_or(u32::MAX), since }
    }

    /// Whether a walk with `other` left finds nothing that one with `self` left has not found.
    fn covers(self, other: Left) -> bool {
        let dates = match (self.since, other.since) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(theirs)) => mine <= theirs,
        };
        self.generations >= other.generations && dates
    }

    /// What is left behind the parent of a commit, itself made at `time`; None if it is not to be kept.
    pub fn behind(self, time: u64) -> Option<Left> {
        let since = self.since.filter(|since| time >= *since);
        let generations = match self.generations {
            u32::MAX => u32::MAX,
            0 if since.is_none() => return None,
            generations => generations.saturating_sub(1),
        };
        Some(Left { generations, since })
    }

    fn start(self, commit: Checksum) -> Start {
        let depth = (self.generations < u32::MAX).then_some(self.generations);
        Start { commit, keep: Keep { depth, since: self.since }, required_by: None }
    }

    fn or(self, other: Left) -> Left {
        let since = match (self.since, other.since) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
        Left { generations: self.generations.max(other.generations), since }
    }
}

impl History {
    /// Whether nothing was followed yet.
    pub fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Whether a commit was followed.
    pub fn has(&self, commit: Checksum) -> bool {
        self.followed.contains_key(&commit)
    }

    /// The commits found so far.
    pub fn commits(&self) -> impl Iterator<Item = Checksum> + '_ {
        self.followed.keys().copied()
    }

    /// The commits found so far as places to start from again.
    pub fn as_starts(&self) -> impl Iterator<Item = Start> + '_ {
        self.followed.iter().map(|(commit, left)| left.start(*commit))
    }

    /// The commits that were not there when a history led to them.
    pub fn ends(&self) -> impl Iterator<Item = &Checksum> {
        self.ends.keys()
    }

    /// Where to go on if `commit`, which ended a history, has come back.
    pub fn after_end(&self, commit: Checksum) -> Option<Start> {
        self.ends.get(&commit).map(|left| left.start(commit))
    }

    /// Sets those apart that are in `other`.
    pub fn split(&self, other: &HashSet<Checksum>) -> (Self, Self) {
        let (apart, rest): (HashMap<_, _>, HashMap<_, _>) =
            self.followed.iter().partition(|(commit, _)| other.contains(commit));
        let whole = Self { followed: rest, ..Self::default() };
        (whole, Self { followed: apart, ..Self::default() })
    }

    /// Follows each start to its parents and returns the roots of the commits that are new, adding them to `live`.
    ///
    /// A missing parent ends a history, as after a shallow pull. A missing start that is required is an error with a
    /// lock held; without one it may have been deleted since its ref was read. False: there was no time for all.
    pub fn follow(
        &mut self,
        repo: &Repo,
        starts: &[Start],
        following: Following,
        live: &LiveSet,
        control: &Control,
    ) -> Result<(Vec<Root>, bool)> {
        let Following { ignored, partial, is_locked, deadline } = following;
        let mut roots = Vec::new();
        let mut buffer = Vec::new();
        for start in starts {
            let mut commit = start.commit;
            let mut left =
                Left { generations: start.keep.depth.unwrap_or(u32::MAX), since: start.keep.since };
            loop {
                control.check()?;
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ok((roots, false));
                }
                if self.followed.get(&commit).is_some_and(|before| before.covers(left)) {
                    break;
                }
                let object = ObjectName::new(commit, ObjectType::Commit);
                let found =
                    if ignored == Some(commit) { None } else { repo.read_commit(commit, &mut buffer)? };
                let Some(decoded) = found else {
                    match &start.required_by {
                        Some(name) if is_locked && commit == start.commit => {
                            let missing = format!("it refers to {object}, which is missing");
                            let reason = if name.starts_with("refs/") {
                                format!("{missing}; {}", ways_out(Path::new(name)))
                            } else {
                                missing
                            };
                            return Err(Error::corrupt(name, reason));
                        }
                        _ if ignored == Some(commit) => break,
                        _ => {
                            self.ends.entry(commit).and_modify(|end| *end = end.or(left)).or_insert(left);
                            break;
                        }
                    }
                };
                if commit == start.commit {
                    left = Left::at_start(start.keep, decoded.timestamp);
                } else {
                    match left.behind(decoded.timestamp) {
                        Some(less) => left = less,
                        None => break,
                    }
                }
                let before = self.followed.get(&commit).copied();
                self.followed.insert(commit, before.map_or(left, |before| before.or(left)));
                if live.insert(object) {
                    let variant::Commit { root_tree: tree, root_meta: meta, .. } = decoded;
                    roots.push(Root { commit, tree, meta, partial: partial.contains(&commit) });
                    control.advance_in(Phase::Roots, 1);
                }
                match decoded.parent {
                    Some(parent) if left.generations > 0 || left.since.is_some() => commit = parent,
                    _ => break,
                }
            }
        }
        Ok((roots, true))
    }
}

#[cfg(test)]
mod tests;
