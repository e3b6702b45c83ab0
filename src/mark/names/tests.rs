use std::collections::BTreeMap;

use super::*;
use crate::holds::Lockable;
use crate::repo::object::Checksum;
use crate::test_repo::TestRepo;

/// As under a lock.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

fn commits(files: &TestRepo) -> [Checksum; 2] {
    [files.commit("main", &[("file", "1")]), files.commit("main", &[("file", "2")])]
}

/// The refs of a repository, all of whose directories are known.
fn settled(files: &TestRepo) -> (Repo, Names) {
    let repo = files.open();
    let mut names = Names::new(&repo).unwrap();
    settle(&repo, &mut names);
    (repo, names)
}

fn settle(repo: &Repo, names: &mut Names) {
    let control = Control::new();
    while names.update(repo, &control, Some(later())).unwrap() != Change::None {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn targets(names: &Names) -> BTreeMap<String, Checksum> {
    names.refs().map(|reference| (reference.spec(), reference.target)).collect()
}

#[test]
fn what_ostree_does_to_a_ref_is_seen_under_a_lock() {
    let files = TestRepo::new("archive");
    let [old, new] = commits(&files);
    let create = |name: &str, commit: Checksum| {
        files.ostree(&["refs", "--force", &format!("--create={name}"), &commit.to_string()]);
    };
    create("os/stable", old);
    let (repo, mut names) = settled(&files);
    let control = Control::new();
    let mut look = |expected: &[(&str, Checksum)]| {
        assert_eq!(names.update(&repo, &control, Some(later())).unwrap(), Change::Some, "{expected:?}");
        let found = targets(&names);
        let expected: BTreeMap<_, _> = [&[("main", new)], expected]
            .concat()
            .iter()
            .map(|(name, commit)| ((*name).to_owned(), *commit))
            .collect();
        assert_eq!(found, expected);
        settle(&repo, &mut names);
    };
    // Another commit, a directory that is new, one that is gone, and a ref where there was a directory.
    create("os/stable", new);
    look(&[("os/stable", new)]);
    create("os/x86_64/stable", old);
    look(&[("os/stable", new), ("os/x86_64/stable", old)]);
    files.ostree(&["refs", "--delete", "os/x86_64/stable"]);
    std::fs::remove_dir(files.path().join("refs/heads/os/x86_64")).unwrap();
    create("os/x86_64", old);
    look(&[("os/stable", new), ("os/x86_64", old)]);
    create("origin:os", new);
    look(&[("os/stable", new), ("os/x86_64", old), ("origin:os", new)]);
}

#[test]
fn two_changes_within_a_tick_are_both_seen() {
    let files = TestRepo::new("archive");
    let [old, new] = commits(&files);
    let (repo, mut names) = settled(&files);
    let control = Control::new();
    let heads = files.path().join("refs/heads");
    for number in 0..100 {
        for commit in [old, new] {
            // As libostree does it.
            std::fs::write(heads.join("scratch"), format!("{commit}\n")).unwrap();
            std::fs::rename(heads.join("scratch"), heads.join("main")).unwrap();
            names.update(&repo, &control, Some(later())).unwrap();
            assert_eq!(targets(&names), [("main".to_owned(), commit)].into(), "number {number}");
        }
    }
}

#[test]
fn an_alias_is_what_its_ref_is() {
    let files = TestRepo::new("archive");
    let [_, new] = commits(&files);
    files.ostree(&["refs", "--create=os/stable", "main^"]);
    files.ostree(&["refs", "--alias", "--create=latest", "os/stable"]);
    let (repo, mut names) = settled(&files);
    files.ostree(&["refs", "--force", "--create=os/stable", "main"]);
    assert_eq!(names.update(&repo, &Control::new(), Some(later())).unwrap(), Change::Some);
    assert_eq!(targets(&names)["latest"], new);
}

#[test]
fn a_ref_that_is_written_in_place_is_seen_without_a_lock() {
    let files = TestRepo::new("archive");
    let [old, _] = commits(&files);
    let (repo, mut names) = settled(&files);
    std::fs::write(files.path().join("refs/heads/main"), format!("{old}\n")).unwrap();
    let control = Control::new();
    let end = Instant::now() + Duration::from_secs(60);
    while targets(&names)["main"] != old && Instant::now() < end {
        names.update(&repo, &control, None).unwrap();
    }
    assert_eq!(targets(&names)["main"], old);
}

#[test]
fn what_there_was_no_time_for_is_read_later() {
    let files = TestRepo::new("archive");
    commits(&files);
    for name in ["a/b/c", "a/d/e", "f/g"] {
        files.ostree(&["refs", &format!("--create={name}"), "main"]);
    }
    let repo = files.open();
    let control = Control::new();
    for number in 0..200 {
        let mut names = Names::new(&repo).unwrap();
        let soon = Instant::now() + Duration::from_micros(2 * number);
        names.update(&repo, &control, Some(soon)).unwrap();
        names.update(&repo, &control, Some(later())).unwrap();
        assert_eq!(targets(&names).len(), 4, "number {number}");
    }
}

#[test]
fn when_the_clock_was_set_all_is_read() {
    let files = TestRepo::new("archive");
    let [old, _] = commits(&files);
    let (repo, mut names) = settled(&files);
    // What leaves no trace in a directory.
    std::fs::write(files.path().join("refs/heads/main"), format!("{old}\n")).unwrap();
    let control = Control::new();
    assert_eq!(names.update(&repo, &control, Some(later())).unwrap(), Change::None);
    names.clock.offset += 3_600_000_000_000;
    assert_eq!(names.update(&repo, &control, Some(later())).unwrap(), Change::Some);
    assert_eq!(targets(&names)["main"], old);
}

#[test]
fn with_a_lock_held_no_tick_is_waited_for() {
    let files = TestRepo::new("archive");
    let [old, new] = commits(&files);
    let (repo, mut names) = settled(&files);
    let control = Control::new();
    let heads = files.path().join("refs/heads");
    for number in 0..20 {
        let commit = if number % 2 == 0 { old } else { new };
        std::fs::write(heads.join("scratch"), format!("{commit}\n")).unwrap();
        std::fs::rename(heads.join("scratch"), heads.join("main")).unwrap();
        let _hold = control.hold(Lockable::RepoExclusive);
        names.update(&repo, &control, None).unwrap();
        assert_eq!(targets(&names)["main"], commit, "number {number}");
    }
}
