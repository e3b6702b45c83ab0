//! The refs of a repository, kept up to date.
//!
//! A writer may lead a ref to a commit that was garbage whenever we don't hold the exclusive lock. Reading all refs each
//! time we take the lock again would take as long as they are many, so a directory of refs is listed again only if its
//! [stamp](super::stamps) says that it changed, or can't say that it did not: libostree writes a ref by a rename in its
//! directory.
//!
//! Somebody may write into a ref's file in place, which shows in no directory's stamp. So now and then, without a lock,
//! all is read anew, which takes a tenth of the time at most.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::stamps::{Clock, Known, Stamp};
use crate::control::Control;
use crate::error::Result;
use crate::repo::refs::{Kinds, Ref};
use crate::repo::Repo;

/// All is read anew once so many times as long has passed as that took.
const SHARE: u32 = 10;

/// What a repository's refs are, as of the last look.
#[derive(Debug)]
pub(crate) struct Names {
    /// By path relative to the repository: parents first.
    directories: BTreeMap<PathBuf, Directory>,
    clock: Clock,
    /// When all were read anew, and how long that took.
    read: Option<(Instant, Duration)>,
}

/// A directory of refs.
#[derive(Debug, Default)]
struct Directory {
    known: Known,
    refs: Vec<Ref>,
}

/// What has become of refs since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// They are the same.
    None,
    /// Some may be others.
    Some,
    /// There was no time to read them all.
    Unread,
}

impl Names {
    /// Nothing is known yet.
    pub fn new(repo: &Repo) -> Result<Self> {
        Ok(Self { directories: BTreeMap::new(), clock: Clock::new(repo)?, read: None })
    }

    /// All refs, as of the last look.
    pub fn refs(&self) -> impl Iterator<Item = &Ref> {
        self.directories.values().flat_map(|directory| &directory.refs)
    }

    /// Reads what may have changed, until `deadline`. Where there is none, and no lock is held, changes of this very tick
    /// of the clock are waited for, so that the next update need not read them again.
    pub fn update(&mut self, repo: &Repo, control: &Control, deadline: Option<Instant>) -> Result<Change> {
        let begin = Instant::now();
        let has_time = deadline.is_none() && !control.has_lock();
        let reads_all = has_time && self.read.is_none_or(|(last, took)| last.elapsed() >= took * SHARE);
        let kinds = Kinds::open(repo, control)?;
        let is_trusted = self.clock.is_trustworthy();
        if !is_trusted || reads_all {
            self.directories.values_mut().for_each(|directory| directory.known = Known::Nothing);
        }
        let mut stale = self.find_stale(&kinds, control)?;
        let is_settled =
            |(_, stamp): &(PathBuf, Option<Stamp>)| Known::at(*stamp, Clock::coarse()) != Known::Nothing;
        if has_time && is_trusted && !stale.iter().all(is_settled) {
            control.sleep(Clock::tick())?;
            stale = self.find_stale(&kinds, control)?;
        }
        if stale.is_empty() {
            return Ok(Change::None);
        }
        while let Some((path, stamp)) = stale.pop() {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Change::Unread);
            }
            let known = if is_trusted { Known::at(stamp, Clock::coarse()) } else { Known::Nothing };
            let Some(listed) = stamp.map_or(Ok(None), |_| kinds.list(&path))? else {
                self.directories.remove(&path);
                continue;
            };
            for below in listed.below {
                if !self.directories.contains_key(&below) {
                    // Not to be forgotten if there is no time for it.
                    self.directories.insert(below.clone(), Directory::default());
                    let stamp = stamp_of(&kinds, &below)?;
                    stale.push((below, stamp));
                }
            }
            self.directories.insert(path, Directory { known, refs: listed.refs });
        }
        if reads_all {
            self.read = Some((Instant::now(), begin.elapsed()));
        }
        Ok(Change::Some)
    }

    /// The directories that have to be listed again, the first one last, and their stamps: None for one that is gone.
    fn find_stale(&self, kinds: &Kinds, control: &Control) -> Result<Vec<(PathBuf, Option<Stamp>)>> {
        let mut stale = Vec::new();
        for path in kinds.paths().into_iter().filter(|path| !self.directories.contains_key(path)) {
            let stamp = stamp_of(kinds, &path)?;
            stale.push((path, stamp));
        }
        for (path, directory) in &self.directories {
            control.check()?;
            let stamp = stamp_of(kinds, path)?;
            if stamp.is_none() || directory.known != Known::AsOf(stamp) {
                stale.push((path.clone(), stamp));
            }
        }
        if !stale.is_empty() {
            // An alias is what the ref is that it leads to.
            let listed: HashSet<_> = stale.iter().map(|(path, _)| path.clone()).collect();
            for (path, directory) in &self.directories {
                if directory.refs.iter().any(|reference| reference.is_alias) && !listed.contains(path) {
                    stale.push((path.clone(), stamp_of(kinds, path)?));
                }
            }
        }
        stale.reverse();
        Ok(stale)
    }
}

fn stamp_of(kinds: &Kinds, path: &Path) -> Result<Option<Stamp>> {
    Ok(kinds.look_at(path)?.as_ref().map(Stamp::of))
}

#[cfg(test)]
mod tests;
