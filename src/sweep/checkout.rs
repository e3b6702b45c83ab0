//! Removing a directory tree that was a deployment's checkout.
//!
//! Whatever the tree holds, nothing outside of it is touched: directories are opened one below the other, through no
//! symlink and across no mount point (`openat2`), and names are deleted relative to them. The tree may be deep, as
//! nothing recurses and a thread has two directories open at most; and wide, as files are deleted while they are
//! listed. What can't be deleted is noted, and the rest goes.
//!
//! All that is known of a tree's progress is what is left of it on disk. So a removal can stop anywhere.

// This is the other place that deletes: trees that belong to a sysroot, or lie in a directory that is to go.
#![allow(clippy::disallowed_methods)]

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{
    fstat, ioctl_getflags, ioctl_setflags, openat2, statat, unlinkat, AtFlags, FileType, IFlags, Mode,
    OFlags, ResolveFlags,
};
use rustix::io::Errno;

use super::links::Links;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::fault::{self, Step};
use crate::repo::directory::DIRECTORY;
use crate::repo::listing::until;
use crate::repo::seen::Seen;
use crate::report::{Cause, Failure};
use crate::workers::Crew;

/// What keeps a path inside of the tree it begins in.
const INSIDE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_XDEV);

/// The kernel takes no longer path at a time, `PATH_MAX`.
pub(super) const LONGEST_PATH: usize = 4000;

/// How far above where it is a thread keeps a directory open, in a deep tree.
const STEP: usize = 32;

/// More threads only have more descriptors open: in one directory the kernel lets one at a time delete.
const MOST_JOBS: usize = 8;

/// How often a directory to which somebody keeps adding is emptied again.
const RETRIES: u8 = 3;

/// How often a thread without work looks whether the run was cancelled.
const TICK: Duration = Duration::from_millis(20);

/// What is in the way of deleting a file whatever its directory's permissions are.
const PROTECTION: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);

/// How a tree's removal is run.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub control: &'a Control,
    pub crew: Crew<'a>,
    pub deadline: Instant,
    pub stuck: &'a Stuck,
    /// Where the deleted files' sizes are added up, if that is wanted.
    pub bytes: Option<&'a AtomicU64>,
}

impl Context<'_> {
    /// Deletes a file, and counts what that gives back.
    fn unlink(&self, directory: &OwnedFd, name: &[u8], doomed: Option<&OwnedFd>) -> rustix::io::Result<()> {
        // What can't be looked at is not counted.
        let seen = Seen::at(directory, name).ok().flatten();
        unlink(directory, name, doomed)?;
        if let Some(seen) = seen {
            if let Some(bytes) = self.bytes {
                bytes.fetch_add(seen.size(), Ordering::Relaxed);
            }
            self.control.freed_on_disk(Links::default().freed_by(&seen));
        }
        Ok(())
    }
}

/// What became of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Gone,
    /// All that can be removed is gone.
    Stuck,
    /// The deadline came first.
    Unfinished,
}

/// What could not be deleted in this run. It is not tried again, so that each slice gets further than the last.
#[derive(Default)]
pub(crate) struct Stuck(Mutex<Items>);

#[derive(Default)]
struct Items {
    /// Names by directory.
    names: HashMap<PathBuf, HashSet<OsString>>,
    failures: Vec<Failure>,
}

impl Stuck {
    /// Notes that the item at `path` stays.
    pub fn add(&self, path: PathBuf, error: impl Into<Cause>) {
        let mut items = lock(&self.0);
        if items.leave(&path) {
            items.failures.push(Failure { path, error: error.into() });
        }
    }

    /// All items.
    pub fn into_failures(self) -> Vec<Failure> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).failures
    }

    fn names_in(&self, directory: &Path) -> HashSet<OsString> {
        lock(&self.0).names.get(directory).cloned().unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        lock(&self.0).names.is_empty()
    }
}

impl Items {
    /// False if the item was left before.
    fn leave(&mut self, path: &Path) -> bool {
        match (path.parent(), path.file_name()) {
            (Some(directory), Some(name)) => {
                self.names.entry(directory.to_owned()).or_default().insert(name.to_owned())
            }
            _ => false,
        }
    }
}

/// Removes what is at `path`, whose last component is its name in `parent`. The path is for messages.
///
/// With `keep_root` an empty directory is left.
pub(crate) fn remove(parent: &OwnedFd, path: &Path, keep_root: bool, context: Context) -> Result<Outcome> {
    let name = path.file_name().unwrap_or_default();
    let root = match open(parent, name.as_bytes(), DIRECTORY) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(Outcome::Gone),
        Err(error) => {
            context.stuck.add(path.to_owned(), reason(error));
            return Ok(Outcome::Stuck);
        }
    };
    let node = Node { stuck: keep_root, ..Node::new(ROOT, name.to_owned()) };
    let state =
        State { nodes: vec![node], ready: vec![ROOT], busy: 0, stopped: false, outcome: Outcome::Unfinished };
    let tree = Tree {
        context,
        parent,
        root,
        path,
        progressed: AtomicBool::new(false),
        state: Mutex::new(state),
        wake: Condvar::new(),
    };
    context.crew.at_most(MOST_JOBS).run(|| tree.work()).into_iter().collect::<Result<()>>()?;
    let outcome = lock(&tree.state).outcome;
    Ok(outcome)
}

/// Deletes the file `path`, whose last component is its name in `directory`. False if it is stuck.
pub(crate) fn remove_file(directory: &OwnedFd, path: &Path, context: Context) -> bool {
    let name = path.file_name().unwrap_or_default();
    let removed = context.unlink(directory, name.as_bytes(), None);
    if let Err(error) = removed {
        context.stuck.add(path.to_owned(), reason(error));
    }
    removed.is_ok()
}

/// Lets a directory's, or a file's, links be deleted. What forbade it, if anything did.
pub(crate) fn unprotect(file: impl AsFd) -> Option<IFlags> {
    let flags = ioctl_getflags(&file).ok().filter(|flags| flags.intersects(PROTECTION))?;
    ioctl_setflags(&file, flags.difference(PROTECTION)).ok().map(|()| flags)
}

/// Opens `path` below `directory`, never through a symlink or into another mount.
pub(crate) fn open(directory: &OwnedFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), INSIDE)
}

pub(super) fn reason(error: Errno) -> Cause {
    match error {
        Errno::XDEV => Cause::from(error).in_words("it is a mount point"),
        other => other.into(),
    }
}

/// The root's place among the nodes.
const ROOT: usize = 0;

struct Tree<'a> {
    context: Context<'a>,
    parent: &'a OwnedFd,
    root: OwnedFd,
    path: &'a Path,
    /// Whether anything was done in this slice: a slice always gets somewhere.
    progressed: AtomicBool,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    nodes: Vec<Node>,
    /// Directories to be emptied, the one to begin with last: children before siblings.
    ready: Vec<usize>,
    /// How many threads may still add to those.
    busy: usize,
    stopped: bool,
    outcome: Outcome,
}

/// A directory.
struct Node {
    parent: usize,
    name: OsString,
    /// Directories in it that are not done with.
    unfinished: usize,
    /// Whether something stays in it.
    stuck: bool,
    tries: u8,
    /// The room that it takes itself, in bytes.
    on_disk: u64,
}

impl Node {
    fn new(parent: usize, name: OsString) -> Self {
        Self { parent, name, unfinished: 0, stuck: false, tries: 0, on_disk: 0 }
    }
}

/// Where a thread is.
#[derive(Default)]
struct Here {
    /// The directory it has opened last.
    directory: Option<(usize, OwnedFd)>,
    /// One of the directories above that. The way up out of the depths would be long if each step began at the root.
    above: Option<(usize, OwnedFd)>,
}

impl Here {
    fn is_at(&self, node: usize) -> bool {
        [&self.directory, &self.above].into_iter().flatten().any(|(number, _)| *number == node)
    }
}

impl Tree<'_> {
    fn work(&self) -> Result<()> {
        let mut here = Here::default();
        while let Some(node) = self.next()? {
            let result = self.empty(node, &mut here);
            let mut state = lock(&self.state);
            state.busy -= 1;
            state.stopped |= !matches!(result, Ok(ControlFlow::Continue(())));
            drop(state);
            self.wake.notify_all();
            if result?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The next directory to empty; None when there will be no more.
    fn next(&self) -> Result<Option<usize>> {
        let mut state = lock(&self.state);
        loop {
            self.context.control.check()?;
            if state.stopped {
                return Ok(None);
            }
            if let Some(node) = state.ready.pop() {
                state.busy += 1;
                return Ok(Some(node));
            }
            if state.busy == 0 {
                return Ok(None);
            }
            state = self.wake.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Deletes the files in a directory, and takes note of its directories.
    fn empty(&self, node: usize, here: &mut Here) -> Result<ControlFlow<()>> {
        let directory = match self.open(node, here) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return self.finish(node, here),
            Err(error) => {
                self.context.stuck.add(self.path_of(node), reason(error));
                lock(&self.state).nodes[node].stuck = true;
                return self.finish(node, here);
            }
        };
        // On some file systems it shrinks while it is emptied.
        let on_disk = Seen::at_itself(directory).map_or(0, |seen| seen.on_disk());
        let (mut directories, mut stuck) = (Vec::new(), false);
        let left = if self.context.stuck.is_empty() {
            HashSet::new()
        } else {
            self.context.stuck.names_in(&self.path_of(node))
        };
        let listed = until(directory, self.path, |entry| {
            if self.is_over()? {
                return Ok(ControlFlow::Break(()));
            }
            let name = OsStr::from_bytes(entry.name);
            if left.contains(name) {
                stuck = true;
                return Ok(ControlFlow::Continue(()));
            }
            match entry.file_type() {
                Ok(Some(FileType::Directory)) => directories.push(name.to_owned()),
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => {
                    let removed = self.context.unlink(directory, entry.name, Some(directory));
                    if let Err(error) = removed {
                        stuck = true;
                        let path = self.path_of(node).join(name);
                        self.context.stuck.add(path, reason(error));
                    } else {
                        self.context.crew.pace.deleted(directory);
                    }
                    self.progressed.store(true, Ordering::Relaxed);
                }
            }
            Ok(ControlFlow::Continue(()))
        });
        match listed {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
            Err(Error::Io { source, .. }) => {
                self.context.stuck.add(self.path_of(node), source);
                (stuck, directories) = (true, Vec::new());
            }
            Err(other) => return Err(other),
        }
        let mut state = lock(&self.state);
        state.nodes[node].stuck |= stuck;
        state.nodes[node].on_disk = on_disk;
        state.nodes[node].unfinished = directories.len();
        if directories.is_empty() {
            drop(state);
            return self.finish(node, here);
        }
        for name in directories {
            let child = state.nodes.len();
            state.nodes.push(Node::new(node, name));
            state.ready.push(child);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Removes a directory that has nothing left to be removed in it, and its parents for which that is now true.
    fn finish(&self, mut node: usize, here: &mut Here) -> Result<ControlFlow<()>> {
        loop {
            if self.is_over()? {
                return Ok(ControlFlow::Break(()));
            }
            if !lock(&self.state).nodes[node].stuck {
                match self.remove_directory(node, here) {
                    Ok(()) => {
                        self.context.control.freed_on_disk(lock(&self.state).nodes[node].on_disk);
                        self.context.crew.pace.deleted(self.parent);
                    }
                    Err(Errno::NOENT) => {}
                    // Somebody was faster with an addition than we.
                    Err(Errno::NOTEMPTY | Errno::EXIST) if self.begin_again(node) => {
                        return Ok(ControlFlow::Continue(()));
                    }
                    Err(error) => {
                        // Busy is what is a mount point by now.
                        self.context.stuck.add(self.path_of(node), reason(error));
                        lock(&self.state).nodes[node].stuck = true;
                    }
                }
            }
            self.progressed.store(true, Ordering::Relaxed);
            if lock(&self.state).nodes[node].stuck {
                lock(&self.context.stuck.0).leave(&self.path_of(node));
            }
            let mut state = lock(&self.state);
            let Node { parent, stuck, .. } = state.nodes[node];
            state.nodes[node].name = OsString::new();
            if node == ROOT {
                state.outcome = if stuck { Outcome::Stuck } else { Outcome::Gone };
                return Ok(ControlFlow::Continue(()));
            }
            state.nodes[parent].stuck |= stuck;
            state.nodes[parent].unfinished -= 1;
            if state.nodes[parent].unfinished > 0 {
                return Ok(ControlFlow::Continue(()));
            }
            node = parent;
        }
    }

    fn remove_directory(&self, node: usize, here: &mut Here) -> rustix::io::Result<()> {
        let (parent, name) = {
            let state = lock(&self.state);
            (state.nodes[node].parent, state.nodes[node].name.clone())
        };
        let is_root = node == ROOT;
        let directory = if is_root { self.parent } else { self.open(parent, here)? };
        fault::before(Step::Unlink);
        match unlinkat(directory, &*name, AtFlags::REMOVEDIR) {
            Err(Errno::PERM | Errno::ACCESS) => {
                let unprotected = open(directory, name.as_bytes(), DIRECTORY).map(unprotect)?;
                // Around the tree nothing is changed.
                let around = if is_root { None } else { unprotect(directory) };
                if unprotected.or(around).is_none() {
                    return Err(Errno::PERM);
                }
                unlinkat(directory, &*name, AtFlags::REMOVEDIR)
            }
            other => other,
        }
    }

    fn begin_again(&self, node: usize) -> bool {
        let mut state = lock(&self.state);
        state.nodes[node].tries += 1;
        let again = state.nodes[node].tries <= RETRIES;
        if again {
            state.ready.push(node);
        }
        again
    }

    /// Opens a directory, from where the thread is or was if that is on the way.
    fn open<'h>(&self, node: usize, here: &'h mut Here) -> rustix::io::Result<&'h OwnedFd> {
        let mut way = Vec::new();
        let mut at = node;
        {
            let state = lock(&self.state);
            while at != ROOT && !here.is_at(at) {
                way.push((at, state.nodes[at].name.clone()));
                at = state.nodes[at].parent;
            }
        }
        let Here { directory, above } = here;
        let begin = match (directory.take(), &above) {
            (Some((number, directory)), _) if number == at => directory,
            (_, Some((number, above))) if *number == at => open(above, b".", DIRECTORY)?,
            _ => open(&self.root, b".", DIRECTORY)?,
        };
        let (last, first) = way.split_at(way.len().min(STEP));
        let begin = match first {
            [(number, _), ..] if first.len() > STEP => {
                let begin = descend(begin, first)?;
                *above = Some((*number, open(&begin, b".", DIRECTORY)?));
                begin
            }
            _ => descend(begin, first)?,
        };
        Ok(&directory.insert((node, descend(begin, last)?)).1)
    }

    fn path_of(&self, node: usize) -> PathBuf {
        let state = lock(&self.state);
        let mut names = Vec::new();
        let mut at = node;
        while at != ROOT {
            names.push(&state.nodes[at].name);
            at = state.nodes[at].parent;
        }
        let mut path = self.path.as_os_str().as_bytes().to_vec();
        for name in names.into_iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name.as_bytes());
        }
        PathBuf::from(OsString::from_vec(path))
    }

    /// Whether the slice is over.
    fn is_over(&self) -> Result<bool> {
        self.context.control.check()?;
        let is_over = self.context.crew.pace.ends_slice(self.context.deadline);
        Ok(self.progressed.load(Ordering::Relaxed) && is_over)
    }
}

/// Goes from a directory down a way that is given from its end.
fn descend(mut directory: OwnedFd, way: &[(usize, OsString)]) -> rustix::io::Result<OwnedFd> {
    let mut path = Vec::new();
    for (_, name) in way.iter().rev() {
        if path.len() + name.len() >= LONGEST_PATH {
            directory = open(&directory, &path, DIRECTORY)?;
            path.clear();
        }
        path.extend_from_slice(name.as_bytes());
        path.push(b'/');
    }
    if path.is_empty() {
        Ok(directory)
    } else {
        open(&directory, &path, DIRECTORY)
    }
}

/// Deletes a file, if need be against its attributes, and those of the directory that is to go with it.
fn unlink(directory: &OwnedFd, name: &[u8], doomed: Option<&OwnedFd>) -> rustix::io::Result<()> {
    fault::before(Step::Unlink);
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS) => {
            doomed.map(unprotect);
            unlink_protected(directory, name)
        }
        Err(error) => Err(error),
    }
}

/// Deletes a file against its attributes.
pub(super) fn unlink_protected(directory: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    let file = open_regular(directory, name);
    let forbade = file.as_ref().and_then(unprotect);
    let removed = unlinkat(directory, name, AtFlags::empty());
    if let (Some(file), Some(flags)) = (file, forbade) {
        // Other links are no business of ours: they may lie in a deployment that stays.
        if removed.is_err() || fstat(&file).is_ok_and(|stat| stat.st_nlink > 0) {
            let _ = ioctl_setflags(&file, flags);
        }
    }
    removed
}

/// Opens a file for its attributes: only a regular one, as opening others may do something.
fn open_regular(directory: &OwnedFd, name: &[u8]) -> Option<OwnedFd> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    is_regular.then(|| open(directory, name, OFlags::RDONLY | OFlags::NONBLOCK).ok()).flatten()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
