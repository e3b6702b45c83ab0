//! Which rule each ref gets, and how many commits go by it.

use std::collections::HashMap;

use super::ViewOptions;
use crate::control::Control;
use crate::error::Result;
use crate::mark::confirm::confirm_shared;
use crate::mark::keep::Keep;
use crate::mark::retention::{names, Retention};
use crate::mark::rules::Choice;
use crate::mark::{Mark, RootSource};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::{refs, Repo};
use crate::workers::Crew;

/// What a prune by rules does to one ref's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuledRef {
    /// Its name.
    pub name: String,
    /// The name or pattern of its rule; None: it goes by the default.
    pub rule: Option<String>,
    /// How much the rule keeps.
    pub keep: Keep,
    /// Commits in its history that stay, by this ref's rule or for another root.
    pub kept: u64,
    /// Commits in its history that go.
    pub pruned: u64,
}

/// What a prune by rules does to commits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyCheck {
    /// All refs, by name.
    pub refs: Vec<RuledRef>,
    /// All commits that go: of several histories once, and those that no ref leads to.
    pub pruned: u64,
}

/// Finds out what a prune by these rules would do. Fails as the prune does. Writes nothing.
///
/// # Locking
/// The shared lock, for a moment.
pub(crate) fn check_policy(
    repo: &Repo,
    sources: &mut dyn RootSource,
    retention: &Retention,
    options: ViewOptions,
    crew: Crew,
    control: &Control,
) -> Result<PolicyCheck> {
    let lock = repo.lock_for_reading(options.effort.lock_timeout);
    let commits_only = Retention { commit_only: true, ..retention.clone() };
    let mark = loop {
        let mut mark = Mark::new(repo, &commits_only, crew, control);
        mark.look_first(sources)?;
        if confirm_shared(&mut mark, sources, &lock, control)? {
            break mark;
        }
    };
    let mut refs = refs::list(repo, control)?;
    refs.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    let mut parents: HashMap<Checksum, Option<Checksum>> = HashMap::new();
    let mut buffer = Vec::new();
    let mut check = PolicyCheck { pruned: mark.garbage_commits().len() as u64, ..PolicyCheck::default() };
    let names = names(&refs);
    for (reference, choice) in refs.iter().zip(retention.choices(&names)) {
        let (mut kept, mut pruned) = (0, 0);
        let mut next = Some(reference.target);
        while let Some(commit) = next {
            control.check_or_rest()?;
            let parent = if let Some(parent) = parents.get(&commit) {
                *parent
            } else {
                let Some(decoded) = repo.read_commit(commit, &mut buffer)? else { break };
                parents.insert(commit, decoded.parent);
                decoded.parent
            };
            let is_live = mark.live().contains(ObjectName::new(commit, ObjectType::Commit));
            *(if is_live { &mut kept } else { &mut pruned }) += 1;
            next = parent;
        }
        let (rule, keep) = match choice {
            Choice::One(rule) => (Some(rule.pattern.as_str().to_owned()), rule.keep),
            Choice::Default | Choice::Tie(..) => (None, retention.of_others()),
        };
        check.refs.push(RuledRef { name: reference.spec(), rule, keep, kept, pruned });
    }
    Ok(check)
}
