//! What the deletion of one commit does to the histories that it is in: for people to see.

use std::collections::{HashMap, HashSet};

use crate::control::Control;
use crate::error::Result;
use crate::repo::object::Checksum;
use crate::repo::{refs, Repo};

/// For each commit that `deleted` is the parent of: which refs' history then ends there, and how many older commits no ref
/// leads to any more. None if it is in no ref's history.
///
/// Follows each history once. Where a commit can't be read, its history ends; nothing depends on it.
pub(crate) fn cut_histories(repo: &Repo, deleted: Checksum, control: &Control) -> Result<Vec<String>> {
    let mut buffer = Vec::new();
    let mut parent_of =
        |commit| repo.read_commit(commit, &mut buffer).unwrap_or_default().map(|found| found.parent);
    let mut refs = refs::list(repo, control)?;
    refs.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    let mut reached = HashSet::new();
    // Of commits that lead to the deleted one: at which their history then ends.
    let mut ends: HashMap<Checksum, Checksum> = HashMap::new();
    let mut cut: Vec<(Checksum, Vec<String>)> = Vec::new();
    for reference in &refs {
        let mut followed = Vec::new();
        let mut next = Some(reference.target);
        while let Some(commit) = next.filter(|commit| *commit != deleted && reached.insert(*commit)) {
            control.check()?;
            followed.push(commit);
            next = parent_of(commit).flatten();
        }
        let end = next.and_then(|commit| {
            if commit == deleted {
                followed.last().copied()
            } else {
                ends.get(&commit).copied()
            }
        });
        let Some(end) = end else { continue };
        ends.extend(followed.into_iter().map(|commit| (commit, end)));
        match cut.iter_mut().find(|(other, _)| *other == end) {
            Some((_, names)) => names.push(reference.spec()),
            None => cut.push((end, vec![reference.spec()])),
        }
    }
    let older = parent_of(deleted).flatten();
    let (mut lost, mut next) = (0, older);
    while let Some(commit) = next.filter(|commit| reached.insert(*commit)) {
        control.check()?;
        let Some(parent) = parent_of(commit) else { break };
        lost += 1;
        next = parent;
    }
    let consequence = match older {
        Some(older) if lost > 0 => format!(
            "; 'prune --refs-only' deletes {lost} older commit{}, unless a ref keeps them: 'ostree refs --create=NAME {older}'",
            if lost == 1 { "" } else { "s" }
        ),
        _ => String::new(),
    };
    let sentence = |(end, names): (Checksum, Vec<String>)| {
        let others = match names.len() - 1 {
            0 => String::new(),
            1 => " and 1 other ref".into(),
            more => format!(" and {more} other refs"),
        };
        format!("{}{others}: without commit {deleted} the history ends at {end}{consequence}", names[0])
    };
    Ok(cut.into_iter().map(sentence).collect())
}
