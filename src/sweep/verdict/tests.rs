use std::os::unix::fs::symlink;

use super::*;
use crate::repo::object::Checksum;
use crate::test_repo::TestRepo;

const SIZE: u64 = 10;

/// A repository with a threshold for payload links, one file of `SIZE` bytes, and a link to `target`.
fn linked(threshold: u64, target: impl FnOnce(&ObjectName) -> String) -> (TestRepo, ObjectName, ObjectName) {
    let files = TestRepo::new("bare");
    files.ostree(&["config", "set", "core.payload-link-threshold", &threshold.to_string()]);
    files.commit("main", &[("file", "0123456789")]);
    let file = files.of_kind(ObjectType::File)[0];
    let link = ObjectName::new(Checksum([7; 32]), ObjectType::PayloadLink);
    let path = files.file_of(link);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target(&file), path).unwrap();
    (files, file, link)
}

fn to_file(file: &ObjectName) -> String {
    let name = file.to_string();
    format!("../{}/{}", &name[..2], &name[2..])
}

#[test]
fn objects_are_kept_if_they_are_live() {
    let (files, live) = (TestRepo::new("bare"), LiveSet::default());
    files.commit("main", &[("a/b", "1"), ("c", "2")]);
    let repo = files.open();
    for object in files.objects() {
        assert_eq!(verdict(&repo, &live, object).unwrap(), Verdict::Prune, "{object}");
        live.insert(object);
        assert_eq!(verdict(&repo, &live, object).unwrap(), Verdict::Keep, "{object}");
    }
}

#[test]
fn a_payload_link_is_kept_if_its_file_is_live_and_as_long_as_the_threshold() {
    for (threshold, is_live, expected) in [
        (SIZE, true, Verdict::Keep),
        (SIZE - 1, true, Verdict::Keep),
        (SIZE + 1, true, Verdict::Prune),
        (SIZE, false, Verdict::Prune),
    ] {
        let (files, file, link) = linked(threshold, to_file);
        let live = LiveSet::default();
        if is_live {
            live.insert(file);
        }
        let found = verdict(&files.open(), &live, link).unwrap();
        assert_eq!(found, expected, "threshold {threshold}, live {is_live}");
    }
}

#[test]
fn a_payload_link_without_a_file_goes_and_one_that_leads_elsewhere_is_an_error() {
    let (files, file, link) = linked(SIZE, to_file);
    let (repo, live) = (files.open(), LiveSet::default());
    live.insert(file);
    rustix::fs::unlink(files.file_of(file)).unwrap();
    assert_eq!(verdict(&repo, &live, link).unwrap(), Verdict::Prune);
    rustix::fs::unlink(files.file_of(link)).unwrap();
    assert_eq!(verdict(&repo, &live, link).unwrap(), Verdict::Prune);
    // What can't be read is no reason to delete.
    std::fs::write(files.file_of(link), "").unwrap();
    verdict(&repo, &live, link).unwrap_err();
    let (files, _, link) = linked(SIZE, |_| "../../config".into());
    verdict(&files.open(), &live, link).unwrap_err();
    let (files, file, link) = linked(SIZE, to_file);
    live.insert(file);
    let directory = files.file_of(file).parent().unwrap().to_owned();
    std::fs::rename(&directory, files.path().join("aside")).unwrap();
    std::fs::write(&directory, "").unwrap();
    verdict(&files.open(), &live, link).unwrap_err();
}
