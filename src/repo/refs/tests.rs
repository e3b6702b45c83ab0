use std::collections::BTreeSet;

use super::*;
use crate::test_repo::TestRepo;

#[test]
fn refs_of_all_kinds_are_listed() {
    let files = TestRepo::new("bare");
    let commit = files.commit("main", &[("file", "1")]);
    let create = |options: &[&str], name: &str| {
        let name = format!("--create={name}");
        files.ostree(&[&["refs"], options, &[&name, "main"]].concat());
    };
    create(&[], "os/x86_64/stable");
    create(&["--alias"], "latest");
    create(&[], "origin:os/next");
    files.ostree(&["refs", "--collections", "--create=org.example.Os:mirrored", &commit.to_string()]);
    let found = list(&files.open(), &Control::new()).unwrap();
    assert!(found.iter().all(|reference| reference.target == commit));
    let paths: BTreeSet<_> = found.iter().map(|reference| reference.path.to_str().unwrap()).collect();
    let expected = [
        "refs/heads/latest",
        "refs/heads/main",
        "refs/heads/os/x86_64/stable",
        "refs/mirrors/org.example.Os/mirrored",
        "refs/remotes/origin/os/next",
    ];
    assert_eq!(paths, expected.into());
}

#[test]
fn a_ref_that_holds_no_checksum_is_an_error_that_names_it() {
    for name in ["heads/broken", "remotes/origin/broken", "mirrors/org.example.Os/broken"] {
        for content in ["", "main\n", &"0".repeat(63)] {
            let files = TestRepo::new("bare");
            let path = files.path().join("refs").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            let error = list(&files.open(), &Control::new()).unwrap_err().to_string();
            assert!(error.contains(name), "{content:?}: {error}");
        }
    }
}

#[test]
fn what_can_not_be_listed_is_an_error() {
    for (name, is_required) in [("heads", true), ("remotes", true), ("mirrors", false)] {
        let files = TestRepo::new("bare");
        let path = files.path().join("refs").join(name);
        let list = || Repo::open(&files.path()).and_then(|repo| list(&repo, &Control::new()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::rename(&path, files.path().join("aside")).unwrap();
        assert_eq!(list().is_err(), is_required, "{name}");
        std::fs::write(&path, "").unwrap();
        assert!(list().is_err(), "{name}");
    }
}
