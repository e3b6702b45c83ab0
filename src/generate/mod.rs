//! Repositories of a wanted shape, written quickly, for tests and benches.
//!
//! A tree is a heap of directories: the children of directory `i` are `8i + 1` to `8i + 8`, and each has files besides.
//! Each further commit of a ref has new files in some directories, so that it shares all other subtrees with the one
//! before. What is to be garbage is a tree of its own, whose commit no ref names.

mod objects;

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use glib::variant::ToVariant;

use self::objects::{Content, Writer, DIRECTORY_MODE};
use crate::error::{Error, Result};
use crate::repo::object::{Checksum, ObjectType};
use crate::repo::Repo;
use crate::workers::contain_panic;

/// Subdirectories of a directory.
const FAN: u32 = 8;

/// A day of November 2023, at which histories begin, and the time between commits, in seconds.
const BEGIN: u64 = 1_700_000_000;
const DAY: u64 = 86_400;

/// What a repository is to hold.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Number of refs, each with a tree of its own.
    pub refs: u32,
    /// Commits in the history of each ref, at least one.
    pub commits: u32,
    /// Directories that get new files from one commit to the next.
    pub changes: u32,
    /// Directories of each tree.
    pub directories: u32,
    /// Files in each directory.
    pub files: u32,
    /// Directories of a further tree that no ref leads to.
    pub garbage: u32,
    /// Whether files are symlinks, which need no block of the disk.
    pub symlinks: bool,
}

impl Shape {
    /// A desktop system: 120,000 objects.
    pub const DESKTOP: Self =
        Self { refs: 1, commits: 1, changes: 0, directories: 15_000, files: 7, garbage: 0, symlinks: false };
    /// A small device, just updated: the rollback's objects are garbage.
    pub const DEVICE: Self = Self { directories: 2_500, garbage: 400, ..Self::DESKTOP };
    /// A hub of applications.
    pub const HUB: Self =
        Self { refs: 400, commits: 4, changes: 5, directories: 30, files: 8, garbage: 0, symlinks: false };
    /// A long history of small changes.
    pub const HISTORY: Self = Self {
        refs: 1,
        commits: 1_000,
        changes: 3,
        directories: 2_000,
        files: 8,
        garbage: 0,
        symlinks: false,
    };
}

/// Fills the repository at `path`, which `ostree init` has made.
pub fn generate(path: &Path, shape: &Shape) -> Result<()> {
    let repo = Repo::open(path)?;
    for number in 0..shape.refs {
        let mut tree = Tree::new(&repo, shape, number, shape.directories)?;
        let mut tip = None;
        for commit in 0..shape.commits.max(1) {
            let changed = if commit == 0 { (0..shape.directories).collect() } else { tree.change(commit) };
            tip = Some(tree.write(&changed, commit, tip)?);
        }
        if let Some(tip) = tip {
            write_ref(&repo, &format!("app/{number}/stable"), tip)?;
        }
    }
    if shape.garbage > 0 {
        Tree::new(&repo, shape, shape.refs, shape.garbage)?.write(&(0..shape.garbage).collect(), 0, None)?;
    }
    Ok(())
}

/// One ref's tree.
struct Tree<'a> {
    writer: Writer<'a>,
    meta: Checksum,
    shape: &'a Shape,
    number: u32,
    /// Of each directory, the commit that brought its files, and its dirtree.
    directories: Vec<(u32, Checksum)>,
}

impl<'a> Tree<'a> {
    fn new(repo: &'a Repo, shape: &'a Shape, number: u32, directories: u32) -> Result<Self> {
        let writer = Writer::new(repo, &number.to_string())?;
        let (uid, gid) = writer.owner();
        let none: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let meta = (uid.to_be(), gid.to_be(), DIRECTORY_MODE.to_be(), none).to_variant();
        let meta = writer.metadata(ObjectType::DirMeta, &meta)?;
        Ok(Self { writer, meta, shape, number, directories: vec![(0, meta); directories.max(1) as usize] })
    }

    /// Has some directories' files be new; returns all whose dirtrees change by that.
    fn change(&mut self, commit: u32) -> BTreeSet<u32> {
        let mut changed = BTreeSet::new();
        for change in 0..self.shape.changes {
            let mut hasher = DefaultHasher::new();
            (self.number, commit, change).hash(&mut hasher);
            let mut directory =
                u32::try_from(hasher.finish() % self.directories.len() as u64).unwrap_or_default();
            self.directories[directory as usize].0 = commit;
            while changed.insert(directory) && directory > 0 {
                directory = (directory - 1) / FAN;
            }
        }
        changed
    }

    /// Writes a commit: dirtrees, children before parents, with the files that it brings.
    fn write(&mut self, changed: &BTreeSet<u32>, commit: u32, parent: Option<Checksum>) -> Result<Checksum> {
        self.writer.begin(&format!("{}-{commit}", self.number))?;
        // The first directory of each level.
        let mut levels = vec![0_u32, 1];
        while let Some(next) = levels.last().filter(|first| (**first as usize) < self.directories.len()) {
            levels.push(next * FAN + 1);
        }
        for level in levels.windows(2).rev() {
            let level = level[0]..level[1];
            let level: Vec<_> = changed.range(level).copied().collect();
            for (directory, checksum) in self.write_level(&level, commit)? {
                self.directories[directory as usize].1 = checksum;
            }
        }
        self.commit(commit, parent)
    }

    fn write_level(&self, level: &[u32], commit: u32) -> Result<Vec<(u32, Checksum)>> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let one = |directory: &u32| Ok((*directory, self.write_directory(*directory, commit)?));
        if level.len() < threads * 4 {
            return level.iter().map(one).collect();
        }
        let parts = std::thread::scope(|scope| {
            let threads: Vec<_> = level
                .chunks(level.len().div_ceil(threads))
                .map(|part| {
                    scope.spawn(move || contain_panic(|| part.iter().map(one).collect::<Result<Vec<_>>>()))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|_| Err(Error::Internal("a thread panicked".into())))
                })
                .collect::<Result<Vec<_>>>()
        })?;
        Ok(parts.concat())
    }

    fn write_directory(&self, directory: u32, commit: u32) -> Result<Checksum> {
        let (brought, _) = self.directories[directory as usize];
        let mut files = Vec::new();
        for file in 0..self.shape.files {
            let text = format!("{}-{directory}-{brought}-{file}", self.number);
            let content =
                if self.shape.symlinks { Content::Symlink(&text) } else { Content::Regular(text.as_bytes()) };
            let checksum = self.writer.content(content, brought != commit)?;
            files.push((format!("a-file-with-a-usual-name-{file:02}"), checksum.0.to_vec()));
        }
        let count = u32::try_from(self.directories.len()).unwrap_or(u32::MAX);
        let children =
            (directory.saturating_mul(FAN) + 1..).take(FAN as usize).filter(|child| *child < count);
        let children: Vec<_> = children
            .map(|child| {
                let (_, tree) = self.directories[child as usize];
                (format!("directory-{child:08}"), tree.0.to_vec(), self.meta.0.to_vec())
            })
            .collect();
        self.writer.metadata(ObjectType::DirTree, &(files, children).to_variant())
    }

    fn commit(&self, number: u32, parent: Option<Checksum>) -> Result<Checksum> {
        let metadata: HashMap<String, glib::Variant> = HashMap::new();
        let related: Vec<(String, Vec<u8>)> = Vec::new();
        let commit = (
            metadata,
            parent.map_or(Vec::new(), |parent| parent.0.to_vec()),
            related,
            format!("Commit {number} of tree {}", self.number),
            "",
            (BEGIN + u64::from(number) * DAY).to_be(),
            self.directories[0].1 .0.to_vec(),
            self.meta.0.to_vec(),
        );
        self.writer.metadata(ObjectType::Commit, &commit.to_variant())
    }
}

fn write_ref(repo: &Repo, name: &str, commit: Checksum) -> Result<()> {
    let path = repo.path().join("refs/heads").join(name);
    let write = || {
        std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
        std::fs::write(&path, format!("{commit}\n"))
    };
    write().map_err(|error| Error::io(&path, error))
}
