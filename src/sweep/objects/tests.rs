use std::time::Duration;

use super::*;
use crate::sweep::context::Notice;
use crate::sweep::links::Links;
use crate::sweep::Limits;
use crate::test_repo::{with_crew, TestRepo};

const LONG: Duration = Duration::from_secs(600);

/// Goes once over a repository in which `live` is all that stays.
fn sweep(
    files: &TestRepo,
    live: &LiveSet,
    pass: fn(&Repo) -> Pass,
    observer: Option<Notice>,
) -> BTreeSet<u8> {
    let repo = files.open();
    let pass = pass(&repo);
    with_crew(&repo, 1, |crew, control| {
        let context = Context {
            repo: &repo,
            control,
            crew,
            dry_run: false,
            limits: Limits::default(),
            deltas_of: None,
            observer,
            plan: None,
            unprotects: false,
            links: &Links::default(),
        };
        while pass.remaining() > 0 {
            pass.gather(context, live).unwrap();
            pass.run(context, live, Instant::now() + LONG).unwrap();
        }
    });
    let (report, for_later) = pass.finish();
    assert!(report.failures.is_empty());
    for_later
}

#[test]
fn trees_go_in_the_first_pass_and_files_in_the_second() {
    for mode in ["bare", "archive", "bare-split-xattrs"] {
        let files = TestRepo::new(mode);
        files.commit("main", &[("a/b", "1"), ("c", "2")]);
        if mode == "bare-split-xattrs" {
            files.add_attributes();
        }
        let before = files.objects();
        let is_content = |object: &&ObjectName| {
            matches!(object.kind, ObjectType::File | ObjectType::FileXattrs | ObjectType::FileXattrsLink)
        };
        let directories = sweep(&files, &LiveSet::default(), Pass::over_trees, None);
        let left = files.objects();
        assert!(before.iter().filter(is_content).all(|object| left.contains(object)), "{mode}");
        assert!(left.iter().all(|object| object.kind == ObjectType::Commit || is_content(&object)), "{mode}");
        let expected: BTreeSet<u8> =
            before.iter().filter(is_content).map(|object| object.checksum.directory()).collect();
        assert_eq!(directories, expected, "{mode}");
        sweep(
            &files,
            &LiveSet::default(),
            |repo| Pass::over_files(repo, &all_directories().into_iter().collect()),
            None,
        );
        assert!(files.objects().iter().all(|object| object.kind == ObjectType::Commit), "{mode}");
    }
}

#[test]
fn a_candidate_that_became_live_since_it_was_listed_stays() {
    for (pass, kind) in [
        (Pass::over_trees as fn(&Repo) -> Pass, ObjectType::DirTree),
        (|repo: &Repo| Pass::over_files(repo, &all_directories().into_iter().collect()), ObjectType::File),
    ] {
        let files = TestRepo::new("bare");
        files.commit_wide("main", 40);
        let (before, live) = (files.objects(), LiveSet::default());
        let observer = |_: Gone| {
            for object in &before {
                live.insert(*object);
            }
        };
        sweep(&files, &live, pass, Some(&observer));
        let gone: Vec<_> = before.difference(&files.objects()).copied().collect();
        assert_eq!(gone.len(), 1, "{kind:?}: {gone:?}");
    }
}
