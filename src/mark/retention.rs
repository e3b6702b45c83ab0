//! What is to be kept, as options and policies ask for it.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::keep::Keep;
use super::rules::{Choice, Origin, Rule, Rules, Unmatched};
use crate::error::{Error, Result};
use crate::repo::object::Checksum;
use crate::repo::refs::Ref;

/// What is to be kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Retention {
    /// Keep what refs lead to; otherwise all commits there are.
    pub refs_only: bool,
    /// Look at commits only, and leave all that they reach where it is.
    pub commit_only: bool,
    /// For refs that no rule matches. None: every ref has to have a rule.
    pub default: Option<Keep>,
    /// For the refs that they match.
    pub rules: Rules,
    /// Commits to keep even if no ref leads to them, with all that they reach.
    pub protected: Vec<Checksum>,
    /// Keep commits that no ref leads to if they were made, or came here, at or after this time (seconds since 1970).
    pub unreferenced_since: Option<u64>,
    /// Go on where a ref's commit is missing: such a ref keeps nothing that anybody could check out.
    #[serde(default)]
    pub ignore_missing_commits: bool,
    /// A commit to delete, which must not be a ref's.
    pub deleted: Option<Checksum>,
}

/// What options say on refs.
#[derive(Debug, Clone, Default)]
pub struct RefOptions {
    /// `--refs-only`
    pub refs_only: bool,
    /// `--depth`. None: all.
    pub depth: Option<u32>,
    /// `--keep-younger-than`, in seconds since 1970.
    pub keep_younger_than: Option<u64>,
    /// `--retain-branch-depth`. None: the whole history.
    pub retain_branch_depth: Vec<(String, Option<u32>)>,
    /// `--only-branch`
    pub only_branches: Vec<String>,
    /// `--exclude-ref`
    pub exclude_refs: Vec<String>,
    /// Fail if a branch with a depth of its own is not there.
    pub strict: bool,
    /// In place of depths, dates and branches.
    pub policy: Option<Policy>,
}

/// A policy.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// For each pattern how much to keep, and whether it may match no ref.
    pub rules: Vec<(String, Keep, bool)>,
    /// For refs that no rule matches.
    pub default: Option<Keep>,
}

/// The names that rules may call each ref by: its own, and if it is an alias or has any, those of all that are one
/// branch with it.
pub(crate) fn names(refs: &[Ref]) -> Vec<Vec<String>> {
    // Two that are read while one is replaced may seem to be one file, but then hold different commits.
    let branch = |reference: &Ref| (reference.file, reference.target);
    let aliased: HashSet<_> = refs.iter().filter(|reference| reference.is_alias).map(branch).collect();
    let mut together: HashMap<_, Vec<String>> = HashMap::new();
    for reference in refs.iter().filter(|reference| aliased.contains(&branch(reference))) {
        together.entry(branch(reference)).or_default().push(reference.spec());
    }
    let names =
        |reference: &Ref| together.get(&branch(reference)).cloned().unwrap_or_else(|| vec![reference.spec()]);
    refs.iter().map(names).collect()
}

impl RefOptions {
    /// The rules that come of the options, as `ostree_builtin_prune` combines them.
    pub fn retention(self) -> Retention {
        let names_branches = !(self.retain_branch_depth.is_empty() && self.only_branches.is_empty());
        let by_option = self.keep_younger_than.is_some() || names_branches;
        let refs_only = self.refs_only || by_option || self.policy.is_some();
        let rule = |origin, keep, unmatched| {
            move |pattern: String| Rule { pattern: pattern.into(), keep, origin, unmatched }
        };
        let depth = if self.keep_younger_than.is_some() { Some(0) } else { self.depth };
        let general = Keep { depth, since: self.keep_younger_than };
        let mut rules = Vec::new();
        let default = match self.policy {
            Some(Policy { rules: named, default }) => {
                for (pattern, keep, optional) in named {
                    let unmatched = if optional { Unmatched::Ignore } else { Unmatched::Fail };
                    rules.push(rule(Origin::Policy, keep, unmatched)(pattern));
                }
                default
            }
            None if self.only_branches.is_empty() => Some(general),
            None => Some(Keep::ALL),
        };
        let unmatched = if self.strict { Unmatched::Fail } else { Unmatched::Warn };
        for (branch, depth) in self.retain_branch_depth {
            // `ostree prune` takes a depth of 0 here for none given, and so keeps what all other branches keep.
            let keep = if depth == Some(0) { general } else { Keep { depth, since: None } };
            rules.push(rule(Origin::RetainBranchDepth, keep, unmatched)(branch));
        }
        rules.extend(self.only_branches.into_iter().map(rule(Origin::OnlyBranch, general, Unmatched::Fail)));
        rules.extend(self.exclude_refs.into_iter().map(rule(Origin::ExcludeRef, Keep::ALL, Unmatched::Fail)));
        Retention { refs_only, default, rules: rules.into(), ..Retention::default() }
    }
}

impl Retention {
    /// What refs lead to, and so much of their history.
    pub fn refs(keep: Keep) -> Self {
        Self { refs_only: true, default: Some(keep), ..Self::default() }
    }

    /// What a cleanup of a sysroot keeps.
    pub fn of_sysroot() -> Self {
        Self { ignore_missing_commits: true, ..Self::refs(Keep::ALONE) }
    }

    /// How much to keep of the history of commits that no ref names.
    pub(crate) fn of_others(&self) -> Keep {
        self.default.unwrap_or(Keep::ALL)
    }

    /// Which rule each ref gets, by its [names](names).
    pub(crate) fn choices<'a>(&'a self, names: &'a [Vec<String>]) -> impl Iterator<Item = Choice<'a>> {
        names.iter().map(|names| self.rules.choose(names))
    }

    /// How much to keep of each ref's history.
    pub(crate) fn of_refs(&self, refs: &[Ref]) -> Vec<Keep> {
        let keep = |choice| match choice {
            Choice::Default => self.of_others(),
            Choice::One(rule) => rule.keep,
            // Only for a ref that appeared while we work (`check_names` has not seen it), which is left alone.
            Choice::Tie(..) => Keep::ALL,
        };
        self.choices(&names(refs)).map(keep).collect()
    }

    /// Fails if the refs there are and the rules don't go together; returns warnings.
    pub(crate) fn check_names(&self, refs: &[Ref]) -> Result<Vec<String>> {
        let specs: Vec<String> = refs.iter().map(Ref::spec).collect();
        let warnings = self.rules.check_matched(&specs)?;
        let mut without_rule = Vec::new();
        for (name, choice) in specs.iter().zip(self.choices(&names(refs))) {
            match choice {
                Choice::Default if self.default.is_none() => without_rule.push(format!("'{name}'")),
                Choice::Tie(one, other) => {
                    return Err(Error::Refused(format!(
                        "Ref '{name}' is matched by '{}' and '{}', which are equally specific; leave one out, or name the ref itself",
                        one.pattern.as_str(),
                        other.pattern.as_str()
                    )))
                }
                Choice::Default | Choice::One(_) => {}
            }
        }
        if without_rule.is_empty() {
            return Ok(warnings);
        }
        let (refs, have) = if without_rule.len() == 1 { ("Ref", "has") } else { ("Refs", "have") };
        Err(Error::Refused(format!(
            "{refs} {} {have} no policy, and there is no default; add [default], or a rule such as [refs.{:?}]",
            without_rule.join(", "),
            without_rule[0].trim_matches('\''),
        )))
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
