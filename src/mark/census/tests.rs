use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::time::{ClockId, Timespec};

use super::super::stamps::is_settled;
use super::*;
use crate::holds::Lockable;
use crate::repo::object::directory_name;
use crate::test_repo::{with_crew, TestRepo};

#[test]
fn a_stamp_of_this_very_tick_is_not_settled() {
    let stamp = |time| Some(Stamp { mtime: time, ctime: time });
    assert!(is_settled(stamp((5, 1)), (5, 2)));
    assert!(!is_settled(stamp((5, 2)), (5, 2)));
    assert!(!is_settled(stamp((5, 3)), (5, 2)));
    assert!(!is_settled(stamp((4, 0)), (5, 2)), "whole seconds can't be told from a coarse file system");
    assert!(is_settled(None, (5, 2)));
    assert_eq!(Known::at(stamp((5, 1)), (5, 2)), Known::AsOf(stamp((5, 1))));
    assert_eq!(Known::at(stamp((5, 2)), (5, 2)), Known::Nothing);
}

/// A directory of objects that was listed once its stamp had settled, and a census that knows it.
fn settled(files: &TestRepo, number: u8) -> (Repo, Census) {
    let repo = files.open();
    std::fs::create_dir_all(directory(files, number)).unwrap();
    let mut census = with_crew(&repo, 1, |crew, control| Census::take(&repo, crew, control)).unwrap();
    settle(&mut census, &repo, number);
    (repo, census)
}

/// Lists a directory until its stamp has settled.
fn settle(census: &mut Census, repo: &Repo, number: u8) {
    while census.directories[usize::from(number)] == Known::Nothing {
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(update(census, repo), []);
    }
}

fn directory(files: &TestRepo, number: u8) -> PathBuf {
    files.path().join("objects").join(directory_name(number))
}

fn update(census: &mut Census, repo: &Repo) -> Vec<Checksum> {
    with_crew(repo, 1, |crew, control| census.update(repo, crew, control, None)).unwrap().commits
}

/// Adds the file of a commit: a census reads nothing but names.
fn add(files: &TestRepo, commit: Checksum) {
    let object = ObjectName::new(commit, ObjectType::Commit);
    std::fs::write(files.file_of(object), "").unwrap();
}

#[test]
fn a_commit_added_right_after_our_own_deletion_is_new() {
    let files = TestRepo::new("bare");
    let (repo, mut census) = settled(&files, 7);
    for number in 0..20 {
        settle(&mut census, &repo, 7);
        let mut bytes = [7; 32];
        bytes[1] = number;
        let scratch = directory(&files, 7).join("ours");
        std::fs::write(&scratch, "").unwrap();
        rustix::fs::unlink(&scratch).unwrap();
        census.settle(&repo, &[7]).unwrap();
        // Kernels since 6.13 tell any two changes apart that somebody looks at in between; others do not.
        if let Known::AsOf(stamp) = census.directories[7] {
            assert!(is_settled(stamp, Clock::coarse()), "number {number}");
        }
        add(&files, Checksum(bytes));
        assert_eq!(update(&mut census, &repo), [Checksum(bytes)], "number {number}");
    }
}

#[test]
fn a_commit_added_right_after_a_listing_is_new() {
    let files = TestRepo::new("bare");
    let (repo, mut census) = settled(&files, 7);
    // With a deadline, as under a lock, a change of this tick is not waited for.
    let deadline = || Some(Instant::now() + Duration::from_secs(600));
    for number in 0..100 {
        let commit = |last| {
            let mut bytes = [7; 32];
            (bytes[1], bytes[31]) = (number, last);
            Checksum(bytes)
        };
        for last in 0..3 {
            add(&files, commit(last));
            let update = |crew: Crew, control: &Control| census.update(&repo, crew, control, deadline());
            let found = with_crew(&repo, 1, update).unwrap();
            assert_eq!((found.commits, found.is_complete), (vec![commit(last)], true), "number {number}");
        }
    }
}

#[test]
fn a_commit_that_was_forgotten_or_deleted_by_others_is_new_when_it_is_back() {
    let files = TestRepo::new("bare");
    let (repo, mut census) = settled(&files, 7);
    let commit = Checksum([7; 32]);
    let path = files.file_of(ObjectName::new(commit, ObjectType::Commit));
    add(&files, commit);
    assert_eq!(update(&mut census, &repo), [commit]);

    rustix::fs::unlink(&path).unwrap();
    census.forget(&commit);
    add(&files, commit);
    assert_eq!(update(&mut census, &repo), [commit]);

    rustix::fs::unlink(&path).unwrap();
    assert_eq!(update(&mut census, &repo), []);
    add(&files, commit);
    assert_eq!(update(&mut census, &repo), [commit]);
}

#[test]
fn when_the_clock_was_set_or_is_not_ours_all_is_listed() {
    let files = TestRepo::new("bare");
    let (repo, mut census) = settled(&files, 7);
    let commit = Checksum([7; 32]);
    add(&files, commit);
    // As if the addition had left no trace.
    let unseen = |census: &mut Census| {
        census.commits.clear();
        census.directories[7] = Known::AsOf(stamp(&repo, 7).unwrap());
    };
    unseen(&mut census);
    assert_eq!(update(&mut census, &repo), []);
    for set_by in [-2_000_000, 2_000_000, 3_600_000_000_000] {
        unseen(&mut census);
        census.clock.offset += set_by;
        assert_eq!(update(&mut census, &repo), [commit], "{set_by} ns");
    }
    unseen(&mut census);
    census.clock.local = false;
    assert_eq!(update(&mut census, &repo), [commit]);
}

#[test]
fn a_record_is_trusted_only_if_the_clock_did_not_go_back() {
    let files = TestRepo::new("bare");
    let (repo, census) = settled(&files, 7);
    let resumed = |change: fn(&mut Record)| {
        let mut record = census.record();
        change(&mut record);
        let known = Census::resume(&repo, &record, HashSet::new()).unwrap().directories;
        known.iter().any(|known| *known != Known::Nothing)
    };
    assert!(resumed(|_| {}));
    assert!(!resumed(|record| record.offset_ns += 2_000_000));
    assert!(resumed(|record| record.boot_id = "another".into()));
    assert!(!resumed(|record| {
        record.boot_id = "another".into();
        record.time.0 += 3600;
    }));
    assert!(!resumed(|record| record.directories.truncate(255)));
}

#[test]
fn a_stamp_that_lies_ahead_is_not_waited_for() {
    use rustix::fs::{utimensat, Timestamps, CWD};
    let files = TestRepo::new("bare");
    let (repo, mut census) = settled(&files, 7);
    let ahead = Timespec { tv_sec: Clock::coarse().0 + 3600, tv_nsec: 1 };
    let times = Timestamps { last_access: ahead, last_modification: ahead };
    utimensat(CWD, directory(&files, 7), &times, AtFlags::empty()).unwrap();
    census.settle(&repo, &[7]).unwrap();
    assert_eq!(census.directories[7], Known::Nothing);
}

#[test]
fn a_commit_behind_a_symlink_is_new() {
    let files = TestRepo::new("bare");
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), directory(&files, 7)).unwrap();
    let (repo, mut census) = settled(&files, 7);
    add(&files, Checksum([7; 32]));
    assert_eq!(update(&mut census, &repo), [Checksum([7; 32])], "the symlink's own stamp never changes");
}

#[test]
fn what_there_was_no_time_for_is_listed_the_next_time() {
    let files = TestRepo::new("bare");
    let (repo, mut census) = settled(&files, 7);
    let commit = Checksum([7; 32]);
    add(&files, commit);
    let update = |crew: Crew, control: &Control| census.update(&repo, crew, control, Some(Instant::now()));
    let found = with_crew(&repo, 2, update).unwrap();
    assert!(found.commits.is_empty() && !found.is_complete);
    assert_eq!(super::tests::update(&mut census, &repo), [commit]);
}

#[test]
fn a_preemption_between_two_readings_is_no_clock_that_was_set() {
    // The first time each clock is read, another process gets the processor for 5 ms.
    for preempted in 0..3 {
        let (mut now, mut readings) = (0, 0);
        let offset = Clock::offset_by(|id| {
            now += if readings == preempted { 5_000_000 } else { 100 };
            readings += 1;
            if id == ClockId::Realtime {
                now + 1_000_000_000
            } else {
                now
            }
        });
        assert!(offset.abs_diff(1_000_000_000) < 1000, "{preempted}: {offset}");
    }
}

#[test]
fn with_a_lock_held_no_tick_is_waited_for() {
    let files = TestRepo::new("bare");
    let (repo, mut census) = settled(&files, 7);
    for number in 0..20 {
        let mut bytes = [7; 32];
        bytes[1] = number;
        add(&files, Checksum(bytes));
        let found = with_crew(&repo, 1, |crew, control| {
            let _hold = control.hold(Lockable::RepoExclusive);
            census.update(&repo, crew, control, None)
        });
        assert_eq!(found.unwrap().commits, [Checksum(bytes)], "number {number}");
    }
}
