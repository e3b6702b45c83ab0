use std::collections::BTreeSet;

use super::*;
use crate::repo::object::Checksum;
use crate::test_repo::{with_crew, Damage, Dice, TestRepo};

/// Far more than the scout reads.
const DIRECTORIES: u32 = 300;
const MOST_JOBS: usize = 8;

fn crawl_commit(files: &TestRepo, commit: Checksum, jobs: usize) -> Result<(Vec<ObjectName>, LiveSet)> {
    let (repo, live) = (files.open(), LiveSet::default());
    let missing = with_crew(&repo, jobs, |crew, control| {
        let mut buffer = Vec::new();
        let found = repo.read_commit(commit, &mut buffer)?.unwrap();
        let root = Root { commit, tree: found.root_tree, meta: found.root_meta, partial: false };
        crawl(&repo, &live, [root], crew, control, None)
    })?;
    assert_eq!(missing.left, []);
    Ok((missing.missing, live))
}

#[test]
fn any_number_of_threads_reaches_all() {
    let files = TestRepo::new("bare");
    let commit = files.commit_wide("main", DIRECTORIES);
    for jobs in 1..=MOST_JOBS {
        let (missing, live) = crawl_commit(&files, commit, jobs).unwrap();
        assert_eq!(missing, []);
        let objects: BTreeSet<_> =
            files.objects().into_iter().filter(|object| object.kind != ObjectType::Commit).collect();
        assert!(objects.len() > 2 * DIRECTORIES as usize);
        assert!(objects.iter().all(|object| live.contains(*object)), "{jobs} threads");
    }
}

#[test]
fn damage_is_found_at_any_place_by_any_number_of_threads() {
    let files = TestRepo::new("bare");
    let commit = files.commit_wide("main", DIRECTORIES);
    let mut dice = Dice(1);
    for kind in [ObjectType::DirTree, ObjectType::DirMeta] {
        let objects = files.of_kind(kind);
        assert_eq!(objects.len(), DIRECTORIES as usize);
        for damage in Damage::ALL {
            for jobs in 1..=MOST_JOBS {
                let object = objects[dice.below(objects.len())];
                let outcome = damage.during(&files, object, || crawl_commit(&files, commit, jobs));
                let context = format!("{damage:?} {object}, {jobs} threads");
                match outcome {
                    Ok((missing, _)) => {
                        assert_eq!((damage, missing), (Damage::Missing, vec![object]), "{context}");
                    }
                    Err(error) => {
                        let named = error.to_string().contains(&object.checksum.to_string()[2..]);
                        assert!(named && damage != Damage::Missing, "{context}: {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_there_was_no_time_for_is_left_and_can_be_read_later() {
    let files = TestRepo::new("bare");
    let commit = files.commit_wide("main", DIRECTORIES);
    let (repo, live) = (files.open(), LiveSet::default());
    for jobs in [1, 3] {
        with_crew(&repo, jobs, |crew, control| {
            let found = repo.read_commit(commit, &mut Vec::new()).unwrap().unwrap();
            let root = Root { commit, tree: found.root_tree, meta: found.root_meta, partial: false };
            let mut unread = crawl(&repo, &live, [root], crew, control, Some(Instant::now())).unwrap();
            while !unread.left.is_empty() {
                let deadline = Instant::now() + Duration::from_micros(200);
                unread = read_all(&repo, &live, unread.left, crew, control, Some(deadline)).unwrap();
            }
            assert_eq!(unread.missing, []);
        });
        let reached = |object: &ObjectName| object.kind == ObjectType::Commit || live.contains(*object);
        assert!(files.objects().iter().all(reached), "{jobs} threads");
    }
}
