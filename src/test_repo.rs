//! Repositories for tests, made by `ostree`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::control::Control;
use crate::effort::{Effort, Impact};
use crate::pace::Pace;
use crate::repo::config::Mode;
use crate::repo::listing::each_entry;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::Repo;
use crate::workers::Crew;

/// The modes that libostree writes.
pub(crate) const MODES: [&str; 5] = ["bare", "bare-user", "bare-user-only", "archive", "bare-split-xattrs"];

/// A repository that is removed at the end of its test.
pub(crate) struct TestRepo {
    place: TempDir,
}

impl TestRepo {
    /// Makes an empty repository of a mode.
    pub fn new(mode: &str) -> Self {
        let repo = Self { place: tempfile::tempdir().unwrap() };
        repo.ostree(&["init", &format!("--mode={mode}")]);
        repo.ostree(&["config", "set", "core.fsync", "false"]);
        repo
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.place.path().join("repo")
    }

    /// Reads its settings.
    pub fn open(&self) -> Repo {
        Repo::open(&self.path()).unwrap()
    }

    /// Runs `ostree` on it; returns what it prints, without the last line's end.
    pub fn ostree(&self, arguments: &[&str]) -> String {
        let repo = format!("--repo={}", self.path().display());
        let done = Command::new("ostree")
            .arg(repo)
            .args(arguments)
            .env("OSTREE_EXP_WRITE_BARE_SPLIT_XATTRS", "1")
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
    }

    /// Commits files, given by path and content, to a branch.
    pub fn commit(&self, branch: &str, files: &[(&str, &str)]) -> Checksum {
        let tree = tempfile::tempdir_in(self.place.path()).unwrap();
        for (path, content) in files {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        checksum(&self.ostree(&["commit", "--branch", branch, tree.path().to_str().unwrap()]))
    }

    /// Deletes a ref.
    pub fn drop_ref(&self, name: &str) {
        self.ostree(&["refs", "--delete", name]);
    }

    /// The file of an object.
    pub fn file_of(&self, object: ObjectName) -> PathBuf {
        self.path().join("objects").join(object.loose_path(self.open().config().mode))
    }

    /// All objects there are.
    pub fn objects(&self) -> BTreeSet<ObjectName> {
        let repo = self.open();
        let mut found = BTreeSet::new();
        for number in 0..=u8::MAX {
            if let Some(directory) = repo.open_object_directory(number).unwrap() {
                each_entry(&directory, Path::new("objects"), |entry| {
                    found.extend(ObjectName::from_entry(number, entry.name, repo.config().mode));
                    Ok(())
                })
                .unwrap();
            }
        }
        found
    }

    /// All objects of a type.
    pub fn of_kind(&self, kind: ObjectType) -> Vec<ObjectName> {
        self.objects().into_iter().filter(|object| object.kind == kind).collect()
    }

    /// Gives each file attributes of its own, as objects: whoever writes `bare-split-xattrs` lays them beside it.
    pub fn add_attributes(&self) {
        assert_eq!(self.open().config().mode, Mode::BareSplitXattrs);
        for file in self.of_kind(ObjectType::File) {
            let content = file.to_string();
            let digest = <sha2::Sha256 as sha2::Digest>::digest(&content);
            let attributes = ObjectName::new(Checksum(digest.into()), ObjectType::FileXattrs);
            let (path, link) = (
                self.file_of(attributes),
                self.file_of(ObjectName::new(file.checksum, ObjectType::FileXattrsLink)),
            );
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            std::fs::hard_link(path, link).unwrap();
        }
    }
}

/// A checksum as `ostree` prints it.
pub(crate) fn checksum(hex: &str) -> Checksum {
    Checksum::from_hex(hex.as_bytes()).unwrap()
}

/// Calls `work` with a crew of so many threads.
pub(crate) fn with_crew<T>(repo: &Repo, jobs: usize, work: impl FnOnce(Crew, &Control) -> T) -> T {
    let control = Control::new();
    let effort = Effort { jobs: jobs.try_into().ok(), ..Effort::new(Impact::Full) };
    let pace = Pace::new(&effort, repo.directory(), &control);
    work(pace.crew(), &control)
}
