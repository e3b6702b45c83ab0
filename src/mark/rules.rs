//! Rules for refs: which one a ref gets, and whether each of them names a ref that is there.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::keep::Keep;
use super::pattern::Pattern;
use crate::error::{Error, Result};

/// Who made a rule. Where rules of several origins match a ref, the first of these decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Origin {
    /// `--exclude-ref`
    ExcludeRef,
    /// A policy.
    Policy,
    /// `--retain-branch-depth`
    RetainBranchDepth,
    /// `--only-branch`
    OnlyBranch,
}

/// What to do about a rule that matches no ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unmatched {
    /// Stop before anything is deleted: a misspelt name must not cost a branch.
    Fail,
    /// Go on with a warning.
    Warn,
    /// Go on.
    Ignore,
}

/// How much to keep of the refs that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The refs.
    pub pattern: Pattern,
    /// How much to keep of their history.
    pub keep: Keep,
    /// Who made the rule.
    pub origin: Origin,
    /// What to do if no ref matches.
    pub unmatched: Unmatched,
}

/// All rules of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Rule>", into = "Vec<Rule>")]
pub struct Rules {
    /// Those for a single name, with their place in `all`.
    by_name: HashMap<String, Vec<usize>>,
    /// Places of the others.
    patterns: Vec<usize>,
    all: Vec<Rule>,
}

/// Which rule a ref gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice<'a> {
    /// None: the default.
    Default,
    One(&'a Rule),
    /// Two that are equally specific, and keep different amounts.
    Tie(&'a Rule, &'a Rule),
}

impl From<Vec<Rule>> for Rules {
    fn from(all: Vec<Rule>) -> Self {
        let mut rules = Self::default();
        for (place, rule) in all.iter().enumerate() {
            if rule.pattern.is_name() {
                rules.by_name.entry(rule.pattern.as_str().to_owned()).or_default().push(place);
            } else {
                rules.patterns.push(place);
            }
        }
        Self { all, ..rules }
    }
}

impl From<Rules> for Vec<Rule> {
    fn from(rules: Rules) -> Self {
        rules.all
    }
}

impl Rules {
    /// The places of all rules that match a name.
    fn matching<'a>(&'a self, name: &'a str) -> impl Iterator<Item = usize> + 'a {
        let by_name = self.by_name.get(name).into_iter().flatten().copied();
        let by_pattern = self.patterns.iter().copied();
        by_name.chain(by_pattern.filter(|place| self.all[*place].pattern.matches(name)))
    }

    /// The rule for a ref that has these names.
    pub(crate) fn choose<'a>(&'a self, names: &'a [String]) -> Choice<'a> {
        let rank = |rule: &Rule| (std::cmp::Reverse(rule.origin), rule.pattern.specificity());
        let mut choice = Choice::Default;
        for rule in names.iter().flat_map(|name| self.matching(name)).map(|place| &self.all[place]) {
            choice = match choice {
                Choice::One(best) | Choice::Tie(best, _) if rank(best) > rank(rule) => choice,
                Choice::One(best) if rank(best) == rank(rule) && best.keep != rule.keep => {
                    Choice::Tie(best, rule)
                }
                Choice::One(best) | Choice::Tie(best, _) if rank(best) == rank(rule) => choice,
                _ => Choice::One(rule),
            };
        }
        choice
    }

    /// Fails if a rule matches none of `names` and has to; returns the warnings about others.
    pub(crate) fn check_matched(&self, names: &[String]) -> Result<Vec<String>> {
        let mut is_matched = vec![false; self.all.len()];
        for place in names.iter().flat_map(|name| self.matching(name)) {
            is_matched[place] = true;
        }
        let mut warnings = Vec::new();
        for rule in
            self.all.iter().zip(is_matched).filter(|(_, is_matched)| !is_matched).map(|(rule, _)| rule)
        {
            let text = unmatched_text(rule, names);
            match rule.unmatched {
                Unmatched::Fail => return Err(Error::unknown(rule.pattern.as_str(), text)),
                Unmatched::Warn => warnings.push(text),
                Unmatched::Ignore => {}
            }
        }
        Ok(warnings)
    }
}

/// The beginning of it is what `ostree` says.
fn unmatched_text(rule: &Rule, names: &[String]) -> String {
    let pattern = rule.pattern.as_str();
    let mut text = if rule.pattern.is_name() {
        let meant = nearest(pattern, names).map(|name| format!("; did you mean '{name}'?"));
        format!("Refspec '{pattern}' not found{}", meant.unwrap_or_default())
    } else {
        format!("Pattern '{pattern}' matches no ref")
    };
    if rule.origin == Origin::Policy {
        text += " (only a rule marked as optional may match none)";
    }
    text
}

/// The name that was probably meant: another remote's of the same name, or one that differs in few letters.
pub(crate) fn nearest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a str> {
    let far = (wanted.chars().count() / 3 + 1).min(3);
    let distance_to = |name: &str| {
        let short = name.split_once(':').map_or(name, |(_, short)| short);
        if short == wanted {
            0
        } else {
            distance(wanted, name)
        }
    };
    let distances = names.iter().map(|name| (distance_to(name), name.as_str()));
    distances.filter(|(distance, _)| *distance <= far).min().map(|(_, name)| name)
}

/// How many letters must be added, left out or changed to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (number, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], number + 1);
        for (column, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{Choice, Origin, Rule, Rules, Unmatched};
    use crate::mark::keep::Keep;
    use crate::mark::pattern::Pattern;

    fn rule(pattern: &str, origin: Origin, depth: u32) -> Rule {
        let keep = Keep { depth: Some(depth), since: None };
        Rule { pattern: Pattern::from(pattern.to_owned()), keep, origin, unmatched: Unmatched::Fail }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_origin_decides_first_and_then_the_most_specific_pattern() {
        let rules = Rules::from(vec![
            rule("os/*", Origin::Policy, 1),
            rule("os/s*", Origin::Policy, 2),
            rule("os/x", Origin::Policy, 3),
            rule("**", Origin::ExcludeRef, 4),
            rule("*", Origin::OnlyBranch, 5),
        ]);
        assert!(matches!(rules.choose(&names(&["os/x"])), Choice::One(rule) if rule.keep.depth == Some(4)));
        let rules = Rules::from(
            Vec::from(rules).into_iter().filter(|rule| rule.origin != Origin::ExcludeRef).collect::<Vec<_>>(),
        );
        for (name, depth) in [("os/a", 1), ("os/sa", 2), ("os/x", 3), ("dev", 5)] {
            assert!(
                matches!(rules.choose(&names(&[name])), Choice::One(rule) if rule.keep.depth == Some(depth)),
                "{name}"
            );
        }
        assert_eq!(rules.choose(&names(&["a/b/c"])), Choice::Default);
    }

    #[test]
    fn a_tie_is_one_only_if_it_makes_a_difference() {
        let both =
            |depth| Rules::from(vec![rule("a*", Origin::Policy, 1), rule("*b", Origin::Policy, depth)]);
        assert!(matches!(both(2).choose(&names(&["ab"])), Choice::Tie(..)));
        assert!(matches!(both(1).choose(&names(&["ab"])), Choice::One(_)));
        assert!(matches!(both(2).choose(&names(&["ac"])), Choice::One(_)));
        let with_name = Rules::from([Vec::from(both(2)), vec![rule("ab", Origin::Policy, 3)]].concat());
        assert!(matches!(with_name.choose(&names(&["ab"])), Choice::One(rule) if rule.keep.depth == Some(3)));
    }

    #[test]
    fn what_matches_nothing_fails_with_the_name_that_was_meant() {
        let rules = Rules::from(vec![rule("os/stabel", Origin::ExcludeRef, 0)]);
        let text = rules.check_matched(&names(&["dev", "os/stable"])).unwrap_err().to_string();
        assert_eq!(text, "Refspec 'os/stabel' not found; did you mean 'os/stable'?");
        assert!(rules.check_matched(&names(&["os/stabel"])).unwrap().is_empty());
        let rules = Rules::from(vec![rule("main", Origin::OnlyBranch, 0)]);
        assert!(rules
            .check_matched(&names(&["origin:main"]))
            .unwrap_err()
            .to_string()
            .contains("'origin:main'"));
        assert!(rules
            .check_matched(&names(&["entirely-else"]))
            .unwrap_err()
            .to_string()
            .ends_with("not found"));
    }
}
