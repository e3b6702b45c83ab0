use std::collections::BTreeSet;

use super::*;
use crate::control::Control;
use crate::effort::{Effort, Impact};
use crate::mark::keep::Keep;
use crate::test_repo::{Dice, TestRepo};

/// A plan for a repository in which commits are garbage that share files and directories.
pub(super) fn plan_of(files: &TestRepo) -> Plan {
    let retention = Retention::refs(Keep::ALONE);
    let options = PlanOptions { retention: &retention, effort: Effort::new(Impact::Full) };
    plan(&files.open(), &options, &Control::new()).unwrap()
}

pub(super) fn repo_with_garbage(commits: usize) -> TestRepo {
    let files = TestRepo::new("bare");
    let mut dice = Dice(3);
    for number in 0..commits {
        let tree: Vec<_> = (0..12)
            .map(|file| (format!("{}/{file}", file % 4), format!("{file} {}", dice.below(3))))
            .chain([("own".into(), format!("{number}"))])
            .collect();
        let tree: Vec<_> = tree.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
        files.commit(if number == 0 { "kept" } else { "dropped" }, &tree);
    }
    files.drop_ref("dropped");
    files
}

#[test]
fn what_a_commit_reaches_is_what_the_table_of_sets_says_or_leaves_open() {
    let files = repo_with_garbage(8);
    let mut plan = plan_of(&files);
    let commits = plan.header.dropped.len();
    assert_eq!(commits, 7);
    let mut dice = Dice(4);
    for _ in 0..50 {
        let count = dice.below(12);
        plan.header.sets = (0..count)
            .map(|number| {
                let base = dice.below(number + 1);
                (u16::try_from(base).unwrap(), u32::try_from(dice.below(commits)).unwrap())
            })
            .collect();
        for entry in &mut plan.entries {
            // Beyond the table lie numbers that nobody gave away, and the last, which stands for any set.
            let number = [dice.below(count + 1), dice.below(count + 3), usize::from(u16::MAX)][dice.below(3)];
            entry.set = u16::try_from(number).unwrap();
        }
        let may_reach = |set: u16, commit: usize| {
            let mut set = usize::from(set);
            while set > 0 {
                let Some((base, added)) = plan.header.sets.get(set - 1) else { return true };
                if *added as usize == commit {
                    return true;
                }
                set = usize::from(*base);
            }
            false
        };
        let names: Vec<_> = plan.names().collect();
        for (commit, dropped) in plan.header.dropped.iter().enumerate() {
            let expected: BTreeSet<_> = names
                .iter()
                .zip(&plan.entries)
                .filter(|(_, entry)| may_reach(entry.set, commit))
                .map(|(name, _)| *name)
                .collect();
            assert_eq!(plan.reached_by(dropped.commit).unwrap().collect::<BTreeSet<_>>(), expected);
        }
    }
}

#[test]
fn what_was_not_whole_has_to_be_crawled() {
    let files = repo_with_garbage(4);
    let mut plan = plan_of(&files);
    let commit = plan.header.dropped[1].commit;
    assert!(plan.reached_by(commit).is_some());
    plan.header.dropped[1].whole = false;
    assert!(plan.reached_by(commit).is_none());
    assert!(plan.reached_by(Checksum([7; 32])).is_none());
}

#[test]
fn a_plan_over_its_bounds_is_not_made() {
    let refused = |files: &TestRepo| {
        let retention = Retention::refs(Keep::ALONE);
        let options = PlanOptions { retention: &retention, effort: Effort::new(Impact::Full) };
        plan(&files.open(), &options, &Control::new()).unwrap_err().to_string()
    };
    let files = repo_with_garbage(2);
    files.commit_wide("wide", u32::try_from(MAX_CANDIDATES).unwrap());
    files.drop_ref("wide");
    assert_eq!(
        refused(&files),
        "cannot make a plan: it would hold more than 500 objects to delete; prune without a plan"
    );

    let files = repo_with_garbage(1);
    for number in 0..=MAX_COMMITS {
        files.commit("dropped", &[("file", &number.to_string())]);
    }
    files.drop_ref("dropped");
    assert!(refused(&files).contains("more than 31 commits"));

    let files = repo_with_garbage(1);
    let (heads, name) = (files.path().join("refs/heads"), "x".repeat(200));
    for number in 0..MAX_HEADER / 200 {
        std::fs::hard_link(heads.join("kept"), heads.join(format!("{name}{number}"))).unwrap();
    }
    assert!(refused(&files).contains("bytes of names and commits"));
}
