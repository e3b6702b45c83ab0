use std::collections::BTreeSet;

use super::super::tests::{plan_of, repo_with_garbage};
use super::*;
use crate::plan::Plan;
use crate::test_repo::{Damage, TestRepo};

/// All that a commit leads to, itself included, among `present`.
fn reached(files: &TestRepo, commit: Checksum, present: &BTreeSet<ObjectName>) -> BTreeSet<ObjectName> {
    let references = files.references();
    let (mut stack, mut found) = (vec![ObjectName::new(commit, ObjectType::Commit)], BTreeSet::new());
    while let Some(object) = stack.pop() {
        if found.insert(object) {
            stack.extend(&references[&object]);
        }
    }
    found.intersection(present).copied().collect()
}

fn planned(plan: &Plan) -> BTreeSet<ObjectName> {
    plan.names().collect()
}

#[test]
fn each_candidate_has_the_set_of_the_commits_that_reach_it_or_any() {
    for (commits, runs_out) in [(3, false), (30, true)] {
        let files = repo_with_garbage(commits);
        let plan = plan_of(&files);
        let candidates = planned(&plan);
        assert_eq!(plan.header.sets.len() == MOST_SETS, runs_out);
        let any = plan.entries.iter().filter(|entry| entry.set == ANY).count();
        assert_eq!(any > 0, runs_out);
        for dropped in &plan.header.dropped {
            let told: BTreeSet<_> = plan.reached_by(dropped.commit).unwrap().collect();
            let reached = reached(&files, dropped.commit, &candidates);
            assert!(told.is_superset(&reached));
            if !runs_out {
                assert_eq!(told, reached);
            }
            let counted = dropped.alone.objects + dropped.shared.objects;
            assert!(usize::try_from(counted).unwrap() + any >= reached.len());
        }
    }
}

#[test]
fn a_commit_is_whole_if_all_of_its_directories_were_there() {
    let files = repo_with_garbage(4);
    let commits: Vec<_> = plan_of(&files).header.dropped.iter().map(|dropped| dropped.commit).collect();
    for commit in &commits {
        for (path, damage) in [("/0", Damage::Missing), ("/3", Damage::CutShort), ("/", Damage::Empty)] {
            let directory = files.dirtree_at(*commit, path);
            let present = files.objects();
            let share: Vec<bool> =
                commits.iter().map(|other| reached(&files, *other, &present).contains(&directory)).collect();
            // What is live is not damaged in a repository that can be planned for.
            let live = files.ostree(&["rev-parse", "kept"]);
            if reached(&files, crate::test_repo::checksum(&live), &present).contains(&directory) {
                continue;
            }
            let plan = damage.during(&files, directory, || plan_of(&files));
            let whole: Vec<bool> = plan.header.dropped.iter().map(|dropped| dropped.whole).collect();
            let expected: Vec<bool> = share.iter().map(|shares| !shares).collect();
            assert_eq!(whole, expected, "{path} of {commit}: {damage:?}");
        }
    }
}

#[test]
fn each_dropped_commit_accounts_for_what_it_alone_and_what_others_reach_too() {
    let files = repo_with_garbage(5);
    let plan = plan_of(&files);
    let candidates = planned(&plan);
    let reached: Vec<_> =
        plan.header.dropped.iter().map(|dropped| reached(&files, dropped.commit, &candidates)).collect();
    for (index, dropped) in plan.header.dropped.iter().enumerate() {
        let (mut alone, mut shared) = (Total::default(), Total::default());
        for object in &reached[index] {
            let others = reached.iter().enumerate().filter(|(other, _)| *other != index);
            let is_shared = others.into_iter().any(|(_, others)| others.contains(object));
            let size = files.file_of(*object).symlink_metadata().unwrap().len();
            if is_shared { &mut shared } else { &mut alone }.add(size);
        }
        assert_eq!((dropped.alone, dropped.shared), (alone, shared));
        assert!(alone.objects > 0 && shared.objects > 0);
    }
}
