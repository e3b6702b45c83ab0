use std::time::Duration;

use super::*;
use crate::repo::object::loose_path;
use crate::repo::Repo;
use crate::sweep::links::Links;
use crate::sweep::Limits;
use crate::test_repo::{with_crew, TestRepo};

fn commits(files: &TestRepo, count: usize) -> Vec<Checksum> {
    let commit = |number: usize| {
        let commit = files.commit("main", &[("file", &number.to_string())]);
        std::fs::write(metadata_of(files, commit), "detached").unwrap();
        commit
    };
    (0..count).map(commit).collect()
}

fn metadata_of(files: &TestRepo, commit: Checksum) -> PathBuf {
    files.path().join("objects").join(loose_path(&commit, "commitmeta"))
}

fn file_of(files: &TestRepo, commit: Checksum) -> PathBuf {
    files.file_of(ObjectName::new(commit, ObjectType::Commit))
}

fn with_context<T>(repo: &Repo, work: impl FnOnce(Context) -> T) -> T {
    with_crew(repo, 1, |crew, control| {
        work(Context {
            repo,
            control,
            crew,
            dry_run: false,
            limits: Limits::default(),
            deltas_of: None,
            observer: None,
            plan: None,
            unprotects: false,
            links: &Links::default(),
        })
    })
}

/// Deletes commits.
fn swept(files: &TestRepo, candidates: &[Checksum]) -> Sweep {
    let mut sweep = Sweep::new(candidates.to_vec());
    with_context(&files.open(), |context| {
        sweep.run(context, &LiveSet::default(), Instant::now() + Duration::from_secs(600)).unwrap();
    });
    assert!(sweep.is_done());
    sweep
}

#[test]
fn the_barrier_syncs_each_directory_that_may_have_lost_a_commit() {
    let files = TestRepo::new("bare");
    let all = commits(&files, 5);
    swept(&files, &all);
    let repo = files.open();
    with_context(&repo, |context| barrier(context).unwrap());
    for commit in all {
        // What can't be opened can't be synced.
        let (directory, aside) = (repo.object_directory_path(commit.directory()), files.path().join("aside"));
        std::fs::rename(&directory, &aside).unwrap();
        std::fs::write(&directory, "").unwrap();
        let error = with_context(&repo, |context| barrier(context).unwrap_err()).to_string();
        assert!(error.contains(directory.to_str().unwrap()), "{error}");
        rustix::fs::unlink(&directory).unwrap();
        std::fs::rename(&aside, &directory).unwrap();
    }
}

#[test]
fn a_commit_whose_detached_metadata_can_not_be_deleted_stays() {
    let files = TestRepo::new("bare");
    let all = commits(&files, 3);
    let metadata = metadata_of(&files, all[1]);
    rustix::fs::unlink(&metadata).unwrap();
    std::fs::create_dir(&metadata).unwrap();
    let sweep = swept(&files, &all);
    assert_eq!(sweep.stuck, [all[1]]);
    assert_eq!(sweep.report.failures.len(), 1);
    assert!(file_of(&files, all[1]).exists());
    for gone in [all[0], all[2]] {
        assert!(sweep.removed().contains(&gone));
        assert!(!file_of(&files, gone).exists() && !metadata_of(&files, gone).exists());
    }
}

#[test]
fn a_commit_that_can_not_be_deleted_is_stuck_and_leaves_no_tombstone() {
    let files = TestRepo::new("bare");
    files.ostree(&["config", "set", "core.tombstone-commits", "true"]);
    let all = commits(&files, 3);
    let path = file_of(&files, all[1]);
    rustix::fs::unlink(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let sweep = swept(&files, &all);
    assert_eq!(sweep.stuck, [all[1]]);
    assert_eq!(sweep.removed().len(), 2);
    let tombstone = |commit| files.path().join("objects").join(loose_path(&commit, "tombstone-commit"));
    assert!(tombstone(all[0]).exists() && !tombstone(all[1]).exists() && tombstone(all[2]).exists());
}

#[test]
fn a_mark_goes_with_its_commit_unless_a_pull_has_it_staged() {
    let files = TestRepo::new("bare");
    let all = commits(&files, 3);
    let (kept, gone, staged) = (all[0], all[1], all[2]);
    for commit in &all {
        files.mark_partial(*commit);
    }
    let mut sweep = swept(&files, &[gone, staged]);
    let at = files.path().join("tmp/staging-x").join(loose_path(&staged, "commit"));
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::fs::write(at, "").unwrap();
    with_context(&files.open(), |context| {
        sweep.gather_marks(context.repo, &all.iter().copied().collect()).unwrap();
        // A slice does one at least.
        while !sweep.is_done_with_marks() {
            sweep.remove_partial_marks(context, Some(Instant::now())).unwrap();
        }
    });
    let is_marked = |commit: &Checksum| files.path().join("state").join(partial_mark(commit)).exists();
    assert_eq!(all.iter().map(is_marked).collect::<Vec<_>>(), [true, false, true]);
    assert!(sweep.report.failures.is_empty(), "{kept}");
}
