use super::*;
use crate::prune::Alone;
use crate::test_repo::{with_crew, TestRepo, MODES};

/// A live commit and one without a ref; they share a directory.
fn repo_with_garbage(mode: &str) -> (TestRepo, Checksum) {
    let repo = TestRepo::new(mode);
    repo.commit("kept", &[("shared/a", "a"), ("own/kept", "kept")]);
    let garbage =
        repo.commit("dropped", &[("shared/a", "a"), ("own/dropped", "dropped"), ("deep/er/b", "b")]);
    repo.drop_ref("dropped");
    if mode == "bare-split-xattrs" {
        repo.add_attributes();
    }
    (repo, garbage)
}

fn tips() -> Retention {
    Retention::refs(Keep::ALONE)
}

fn garbage_of(mark: &Mark, repo: &TestRepo) -> Vec<ObjectName> {
    repo.objects().into_iter().filter(|object| !mark.live().contains(*object)).collect()
}

#[test]
fn a_commit_that_can_not_be_deleted_keeps_all_that_it_reaches() {
    for mode in MODES {
        let (files, commit) = repo_with_garbage(mode);
        let (repo, retention) = (files.open(), tips());
        with_crew(&repo, 2, |crew, control| {
            let mut mark = Mark::new(&repo, &retention, crew, control);
            mark.look_first(&mut Alone).unwrap();
            assert!(!garbage_of(&mark, &files).is_empty(), "{mode}");
            mark.keep(&[commit]).unwrap();
            assert_eq!(garbage_of(&mark, &files), [], "{mode}");
        });
    }
}

#[test]
fn a_directory_that_comes_late_keeps_all_that_it_reaches() {
    for mode in MODES {
        let (files, commit) = repo_with_garbage(mode);
        files.ostree(&["refs", "--create=back", &commit.to_string()]);
        let (repo, retention) = (files.open(), tips());
        for dirtree in files.of_kind(ObjectType::DirTree) {
            let (path, aside) = (files.file_of(dirtree), files.path().join("aside"));
            std::fs::rename(&path, &aside).unwrap();
            with_crew(&repo, 2, |crew, control| {
                let mut mark = Mark::new(&repo, &retention, crew, control);
                mark.look_first(&mut Alone).unwrap();
                std::fs::rename(&aside, &path).unwrap();
                mark.wait_for_missing().unwrap();
                assert_eq!(garbage_of(&mark, &files), [], "{mode}: {dirtree}");
            });
        }
    }
}
