use std::fs::File;
use std::time::{Duration, Instant};

use super::*;
use crate::sweep::checkout::Stuck;
use crate::test_repo::{with_crew, TestRepo};

const STALE: &str = "staging-another-boot-AbCdEf";

/// What becomes of a staging directory of another boot.
fn removed(files: &TestRepo, is_alone: bool) -> Option<Outcome> {
    let repo = files.open();
    let mut outcome = None;
    with_crew(&repo, 1, |crew, control| {
        let (stuck, deadline) = (Stuck::default(), Instant::now() + Duration::from_secs(600));
        let context = checkout::Context { control, crew, deadline, stuck: &stuck, bytes: None };
        outcome = remove(&repo, OsStr::new(STALE), is_alone, context).unwrap();
    });
    outcome
}

#[test]
fn a_staging_directory_that_is_locked_after_it_was_listed_stays() {
    let files = TestRepo::new("bare");
    let (staging, lock_file) =
        (files.path().join(TMP).join(STALE), files.path().join(TMP).join(format!("{STALE}-lock")));
    std::fs::create_dir(&staging).unwrap();
    let held = File::create(&lock_file).unwrap();
    assert_eq!(list(&files.open(), &mut Vec::new()).unwrap(), [STALE]);
    assert!(lock::try_exclusive(held.as_fd()).unwrap());
    assert_eq!(list(&files.open(), &mut Vec::new()).unwrap(), [""; 0]);
    assert_eq!(removed(&files, true), None);
    assert!(staging.exists() && lock_file.exists());
    drop(held);
    assert_eq!(removed(&files, true), Some(Outcome::Gone));
    assert!(!staging.exists() && !lock_file.exists());
}

#[test]
fn a_lock_on_a_file_that_was_replaced_is_no_lock() {
    let files = TestRepo::new("bare");
    let tmp = files.open().part(TMP).unwrap().unwrap();
    let path = files.path().join(TMP).join("lock");
    let old: OwnedFd = File::create(&path).unwrap().into();
    rustix::fs::unlink(&path).unwrap();
    assert!(!take(&old, &tmp, b"lock").unwrap());
    let new: OwnedFd = File::create(&path).unwrap().into();
    assert!(!take(&old, &tmp, b"lock").unwrap());
    assert!(take(&new, &tmp, b"lock").unwrap());
}

#[test]
fn without_the_repositorys_lock_a_staging_directory_without_a_lock_file_stays() {
    let files = TestRepo::new("bare");
    let staging = files.path().join(TMP).join(STALE);
    std::fs::create_dir(&staging).unwrap();
    assert_eq!(removed(&files, false), None);
    assert!(staging.exists());
    assert_eq!(removed(&files, true), Some(Outcome::Gone));
}
