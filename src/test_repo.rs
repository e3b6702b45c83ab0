//! Repositories for tests, made by `ostree`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::control::Control;
use crate::effort::{Effort, Impact};
use crate::pace::Pace;
use crate::repo::listing::each_entry;
use crate::repo::mode::Mode;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::variant::{self, Child};
use crate::repo::{partial_mark, Repo};
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

    /// Commits a tree of so many directories to a branch. No two have the same metadata, and in each is a file.
    pub fn commit_wide(&self, branch: &str, directories: u32) -> Checksum {
        use std::os::unix::fs::PermissionsExt;
        let tree = tempfile::tempdir_in(self.place.path()).unwrap();
        let mut paths = vec![tree.path().to_owned()];
        for number in 1..directories {
            let parent = &paths[(number as usize - 1) / 6];
            paths.push(parent.join(number.to_string()));
            std::fs::create_dir(&paths[number as usize]).unwrap();
        }
        for (number, path) in (0..).zip(&paths) {
            std::fs::write(path.join("file"), format!("{branch} {number}")).unwrap();
            std::fs::set_permissions(
                path,
                PermissionsExt::from_mode(0o700 + number % 64 + number / 64 * 0o1000),
            )
            .unwrap();
        }
        checksum(&self.ostree(&["commit", "--branch", branch, tree.path().to_str().unwrap()]))
    }

    /// Deletes a ref.
    pub fn drop_ref(&self, name: &str) {
        self.ostree(&["refs", "--delete", name]);
    }

    /// Marks a commit as partial.
    pub fn mark_partial(&self, commit: Checksum) {
        std::fs::write(self.path().join("state").join(partial_mark(&commit)), "").unwrap();
    }

    /// Removes that mark.
    pub fn unmark_partial(&self, commit: Checksum) {
        rustix::fs::unlink(self.path().join("state").join(partial_mark(&commit))).unwrap();
    }

    /// The dirtree of a directory of a commit.
    pub fn dirtree_at(&self, commit: Checksum, path: &str) -> ObjectName {
        let line = self.ostree(&["ls", "-d", "-C", &commit.to_string(), path]);
        let sums: Vec<_> =
            line.split_whitespace().filter_map(|word| Checksum::from_hex(word.as_bytes())).collect();
        ObjectName::new(sums[0], ObjectType::DirTree)
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

    /// What each commit and each dirtree leads to, among the objects that are there.
    pub fn references(&self) -> BTreeMap<ObjectName, Vec<ObjectName>> {
        let (repo, present) = (self.open(), self.objects());
        let mut buffer = Vec::new();
        let mut found = BTreeMap::new();
        for object in &present {
            let mut children = Vec::new();
            let mut add = |checksum, kind| children.push(ObjectName::new(checksum, kind));
            match object.kind {
                ObjectType::Commit => {
                    let commit = repo.read_commit(object.checksum, &mut buffer).unwrap().unwrap();
                    add(commit.root_tree, ObjectType::DirTree);
                    add(commit.root_meta, ObjectType::DirMeta);
                }
                ObjectType::DirTree => {
                    assert!(repo.read_metadata(*object, &mut buffer).unwrap());
                    let each = |_: &[u8], child| match child {
                        Child::File(file) => add(file, ObjectType::File),
                        Child::Directory(tree, meta) => {
                            add(tree, ObjectType::DirTree);
                            add(meta, ObjectType::DirMeta);
                        }
                    };
                    variant::dirtree(&buffer, each).unwrap();
                }
                ObjectType::File => add(object.checksum, ObjectType::FileXattrsLink),
                ObjectType::FileXattrsLink => {
                    let content = repo.checksum_of(*object).unwrap().unwrap();
                    add(content, ObjectType::FileXattrs);
                }
                _ => {}
            }
            children.retain(|child| present.contains(child));
            found.insert(*object, children);
        }
        found
    }

    /// All objects of a type.
    pub fn of_kind(&self, kind: ObjectType) -> Vec<ObjectName> {
        self.objects().into_iter().filter(|object| object.kind == kind).collect()
    }

    /// Gives each file attributes of its own, as objects: a writer of `bare-split-xattrs` puts them beside it.
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
    work(Crew::of(&pace), &control)
}

/// Numbers that look like chance and are the same in each run.
pub(crate) struct Dice(pub u64);

impl Dice {
    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        // Knuth's MMIX; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % count
    }
}

/// What may become of an object's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    Missing,
    Empty,
    CutShort,
    OfAnother,
    Directory,
    Symlink,
    Fifo,
}

impl Damage {
    pub const ALL: [Self; 7] = [
        Self::Missing,
        Self::Empty,
        Self::CutShort,
        Self::OfAnother,
        Self::Directory,
        Self::Symlink,
        Self::Fifo,
    ];

    /// Damages `object`, calls `work`, and puts the file back.
    pub fn during<T>(self, repo: &TestRepo, object: ObjectName, work: impl FnOnce() -> T) -> T {
        use rustix::fs::{mknodat, FileType, Mode, CWD};
        let place = tempfile::tempdir_in(repo.place.path()).unwrap();
        let (path, aside) = (repo.file_of(object), place.path().join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        let content = std::fs::read(&aside).unwrap();
        match self {
            Self::Missing => {}
            Self::Empty => std::fs::write(&path, "").unwrap(),
            Self::CutShort => std::fs::write(&path, &content[..content.len() / 2]).unwrap(),
            Self::OfAnother => {
                let mut others = repo.of_kind(object.kind).into_iter();
                let other = others.find(|other| other.checksum != object.checksum).unwrap();
                std::fs::copy(repo.file_of(other), &path).map(drop).unwrap();
            }
            Self::Directory => std::fs::create_dir(&path).unwrap(),
            Self::Symlink => std::os::unix::fs::symlink(&aside, &path).unwrap(),
            Self::Fifo => mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
        }
        let result = work();
        if self != Self::Missing {
            std::fs::rename(&path, place.path().join("damaged")).unwrap();
        }
        std::fs::rename(&aside, &path).unwrap();
        result
    }
}
