use super::*;
use crate::mark::Alone;
use crate::test_repo::{with_crew, Damage, TestRepo, MODES};

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

/// Confirms a mark; fails if something is missing.
fn confirm(mark: &mut Mark) -> Result<()> {
    match mark.confirm(&mut Alone, None)? {
        Confirmation::Confirmed => Ok(()),
        Confirmation::Missing(object) => Err(Error::corrupt(object, "it is missing")),
        other => panic!("{other:?}"),
    }
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
            mark.keep(&[commit]);
            mark.look_ahead(&Alone).unwrap();
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
                confirm(&mut mark).unwrap();
                assert_eq!(garbage_of(&mark, &files), [], "{mode}: {dirtree}");
            });
        }
    }
}

#[test]
fn what_a_whole_commit_shares_with_a_partial_one_must_be_there() {
    for (whole, partial) in [("a", "b"), ("b", "a")] {
        let files = TestRepo::new("bare");
        files.commit(whole, &[("shared/file", "1"), ("own", "2")]);
        let of_partial = files.commit(partial, &[("shared/file", "1"), ("apart/file", "3")]);
        files.mark_partial(of_partial);
        let (repo, retention) = (files.open(), tips());
        let directory = |name: &str| files.dirtree_at(of_partial, name);
        let look = || {
            with_crew(&repo, 2, |crew, control| {
                let mut mark = Mark::new(&repo, &retention, crew, control);
                mark.look_first(&mut Alone)?;
                confirm(&mut mark)
            })
        };
        Damage::Missing.during(&files, directory("/apart"), || look().unwrap());
        for object in [directory("/shared"), directory("/apart")] {
            let damage = if object == directory("/shared") { Damage::Missing } else { Damage::CutShort };
            let error = damage.during(&files, object, || look().unwrap_err().to_string());
            assert!(error.contains(&object.checksum.to_string()), "{error}");
        }
    }
}

/// A partial commit that lacks a directory, and a mark that has looked once.
fn with_absent_directory(work: impl FnOnce(&TestRepo, Checksum, ObjectName, &mut Mark, &dyn Fn())) {
    let files = TestRepo::new("bare");
    let commit = files.commit("main", &[("late/deep/file", "1"), ("late/file", "2"), ("there", "3")]);
    files.mark_partial(commit);
    let directory = files.dirtree_at(commit, "/late");
    let (path, aside) = (files.file_of(directory), files.path().join("aside"));
    std::fs::rename(&path, &aside).unwrap();
    let (repo, retention) = (files.open(), tips());
    with_crew(&repo, 2, |crew, control| {
        let mut mark = Mark::new(&repo, &retention, crew, control);
        mark.look_first(&mut Alone).unwrap();
        confirm(&mut mark).unwrap();
        assert!(!garbage_of(&mark, &files).is_empty());
        work(&files, commit, directory, &mut mark, &|| std::fs::rename(&aside, &path).unwrap());
    });
}

#[test]
fn a_partial_commit_keeps_what_comes_later() {
    with_absent_directory(|files, _, _, mark, arrive| {
        arrive();
        confirm(mark).unwrap();
        assert_eq!(garbage_of(mark, files), []);
    });
}

#[test]
fn a_partial_commit_that_was_completed_must_be_whole() {
    with_absent_directory(|files, commit, directory, mark, arrive| {
        files.unmark_partial(commit);
        assert!(matches!(mark.confirm(&mut Alone, None), Ok(Confirmation::Outdated)));
        let (repo, retention) = (files.open(), tips());
        with_crew(&repo, 2, |crew, control| {
            let mut anew = Mark::new(&repo, &retention, crew, control);
            anew.look_first(&mut Alone).unwrap();
            let error = confirm(&mut anew).unwrap_err().to_string();
            assert!(error.contains(&directory.to_string()), "{error}");
        });
        arrive();
    });
    with_absent_directory(|files, commit, _, mark, arrive| {
        arrive();
        files.unmark_partial(commit);
        confirm(mark).unwrap();
        assert_eq!(garbage_of(mark, files), []);
    });
}

#[test]
fn a_commit_that_is_back_after_its_deletion_is_as_good_as_new() {
    let (files, commit) = repo_with_garbage("bare");
    let (repo, retention) = (files.open(), tips());
    with_crew(&repo, 1, |crew, control| {
        let mut mark = Mark::new(&repo, &retention, crew, control);
        mark.look_first(&mut Alone).unwrap();
        assert_eq!(mark.garbage_commits(), [commit]);
        Damage::Missing.during(&files, ObjectName::new(commit, ObjectType::Commit), || {
            mark.forget(&[commit]);
        });
        confirm(&mut mark).unwrap();
        assert_eq!(garbage_of(&mark, &files), []);
    });
}

#[test]
fn commits_of_this_very_moment_are_known() {
    for _ in 0..5 {
        let files = TestRepo::new("archive");
        let commits: Vec<_> =
            (0..5).map(|number| files.commit("branch", &[("file", &number.to_string())])).collect();
        let (repo, retention) = (files.open(), tips());
        with_crew(&repo, 2, |crew, control| {
            let mut mark = Mark::new(&repo, &retention, crew, control);
            mark.look_first(&mut Alone).unwrap();
            assert!(commits.iter().all(|commit| mark.knows(commit)));
        });
    }
}

/// Something that keeps a commit with five generations of its history.
struct Keeper(Checksum);

impl RootSource for Keeper {
    fn roots(&mut self) -> Result<Vec<Start>> {
        let keep = Keep { depth: Some(5), since: None };
        Ok(vec![Start { commit: self.0, keep, required_by: Some("a keeper".into()) }])
    }
    fn in_use(&mut self) -> Result<Vec<Start>> {
        Ok(Vec::new())
    }
    fn outdates(&self, _: &Ref) -> bool {
        false
    }
}

#[test]
fn a_history_goes_on_when_a_commit_that_was_missing_is_back() {
    let files = TestRepo::new("archive");
    for number in ["1", "2"] {
        files.commit("main", &[(number, number)]);
    }
    let missing = files.commit("main", &[("3", "3")]);
    let mut keeper = Keeper(files.commit("main", &[("4", "4")]));
    files.drop_ref("main");
    let (repo, retention) = (files.open(), tips());
    with_crew(&repo, 2, |crew, control| {
        let mut mark = Mark::new(&repo, &retention, crew, control);
        Damage::Missing.during(&files, ObjectName::new(missing, ObjectType::Commit), || {
            mark.look_first(&mut keeper).unwrap();
        });
        mark.look_ahead(&keeper).unwrap();
        assert!(matches!(mark.confirm(&mut keeper, None), Ok(Confirmation::Confirmed)));
        assert_eq!(garbage_of(&mark, &files), []);
    });
}
