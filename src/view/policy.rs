//! Which rule each ref gets, and how many commits go by it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::ViewOptions;
use crate::control::Control;
use crate::error::Result;
use crate::mark::confirm::confirm_shared;
use crate::mark::keep::Keep;
use crate::mark::retention::{names, Retention};
use crate::mark::roots::Left;
use crate::mark::rules::Choice;
use crate::mark::{Mark, RootSource};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::variant::Commit;
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
    /// Of these, the ones that its own rule does not keep, by a ref of which the rule does.
    pub kept_for: BTreeMap<String, u64>,
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
    /// Of these, the ones that no ref leads to.
    pub unreferenced: u64,
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
    let mut read: HashMap<Checksum, Option<Commit>> = HashMap::new();
    let mut buffer = Vec::new();
    // Calls `each` with every commit of a history, and whether the history's own rule keeps it.
    let mut walk = |start, keep, each: &mut dyn FnMut(Checksum, bool)| -> Result<()> {
        let (mut left, mut next) = (None, Some(start));
        while let Some(commit) = next {
            control.check_or_rest()?;
            let decoded = match read.entry(commit) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => *new.insert(repo.read_commit(commit, &mut buffer)?),
            };
            let Some(Commit { parent, timestamp, .. }) = decoded else { break };
            left = if commit == start {
                Some(Left::at_start(keep, timestamp))
            } else {
                left.and_then(|left: Left| left.behind(timestamp))
            };
            each(commit, left.is_some());
            next = parent;
        }
        Ok(())
    };
    let names = names(&refs);
    let ruled: Vec<_> = refs
        .iter()
        .zip(retention.choices(&names))
        .map(|(reference, choice)| match choice {
            Choice::One(rule) => (reference, Some(rule.pattern.as_str().to_owned()), rule.keep),
            Choice::Default | Choice::Tie(..) => (reference, None, retention.of_others()),
        })
        .collect();
    let mut keepers: HashMap<Checksum, String> = HashMap::new();
    for (reference, _, keep) in &ruled {
        walk(reference.target, *keep, &mut |commit, is_own| {
            if is_own {
                keepers.entry(commit).or_insert_with(|| reference.spec());
            }
        })?;
    }
    let mut check = PolicyCheck::default();
    for (reference, rule, keep) in ruled {
        let (mut kept, mut pruned, mut kept_for) = (0, 0, BTreeMap::new());
        walk(reference.target, keep, &mut |commit, is_own| {
            if !mark.live().contains(ObjectName::new(commit, ObjectType::Commit)) {
                pruned += 1;
                return;
            }
            kept += 1;
            if let Some(keeper) = keepers.get(&commit).filter(|_| !is_own) {
                *kept_for.entry(keeper.clone()).or_default() += 1;
            }
        })?;
        check.refs.push(RuledRef { name: reference.spec(), rule, keep, kept, kept_for, pruned });
    }
    for commit in mark.garbage_commits() {
        check.pruned += 1;
        check.unreferenced += u64::from(!read.contains_key(&commit));
    }
    Ok(check)
}
