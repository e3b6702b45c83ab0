//! Which candidates each commit that is to go reaches.
//!
//! It has what every dropped deployment accounts for, and lets one that is kept after all take back what it needs
//! without a crawl. Commits share most of what they reach, so a candidate holds the number of a set, and a set is
//! another one and one more commit.

use std::collections::HashMap;

use super::candidate::Candidate;
use super::{Dropped, Total};
use crate::control::Control;
use crate::error::Result;
use crate::mark::live_set::LiveSet;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::variant::{self, Child};
use crate::repo::Repo;

/// The set of a candidate that more sets would be needed for than there are numbers: any commit may reach it.
const ANY: u16 = u16::MAX;

/// All numbers but zero and `ANY`; in tests few enough to run out of.
const MOST_SETS: usize = if cfg!(test) { 24 } else { ANY as usize - 1 };

pub(super) struct Owners {
    /// For each candidate the number of its set; zero is the empty one.
    pub set_of: Vec<u16>,
    /// Set `n` is set `sets[n - 1].0` and commit `sets[n - 1].1`.
    pub sets: Vec<(u16, u32)>,
    /// For each commit, whether all the directories that it reaches could be read.
    pub whole: Vec<bool>,
}

impl Owners {
    /// Follows each of `commits` through what is not live. `candidates` are sorted by name.
    ///
    /// What is missing or malformed below them is no error: they are garbage.
    pub fn find(
        repo: &Repo,
        live: &LiveSet,
        candidates: &[Candidate],
        commits: &[Checksum],
        control: &Control,
    ) -> Result<Self> {
        let mut walk = Walk {
            repo,
            live,
            control,
            candidates,
            directories: HashMap::new(),
            seen_by: vec![u32::MAX; candidates.len()],
            buffer: Vec::new(),
        };
        let mut owners = Self { set_of: vec![0; candidates.len()], sets: Vec::new(), whole: Vec::new() };
        let mut numbers = HashMap::new();
        for (index, commit) in (0..).zip(commits) {
            let whole = walk.visit(index, *commit, |candidate| {
                let set = &mut owners.set_of[candidate];
                if *set != ANY {
                    *set = *numbers.entry((*set, index)).or_insert_with(|| {
                        match u16::try_from(owners.sets.len() + 1) {
                            Ok(number) if owners.sets.len() < MOST_SETS => {
                                owners.sets.push((*set, index));
                                number
                            }
                            _ => ANY,
                        }
                    });
                }
            })?;
            owners.whole.push(whole);
        }
        Ok(owners)
    }

    /// Adds up what each of `dropped` accounts for.
    pub fn account(&self, candidates: &[Candidate], dropped: &mut [Dropped]) {
        let mut totals = vec![Total::default(); self.sets.len() + 1];
        for (candidate, set) in candidates.iter().zip(&self.set_of) {
            if let Some(total) = totals.get_mut(usize::from(*set)) {
                total.add(candidate.size);
            }
        }
        for (number, total) in totals.iter().enumerate().skip(1) {
            let members = self.members(number);
            for member in &members {
                let dropped = &mut dropped[*member as usize];
                let sum = if members.len() == 1 { &mut dropped.alone } else { &mut dropped.shared };
                sum.objects += total.objects;
                sum.bytes = sum.bytes.saturating_add(total.bytes);
            }
        }
    }

    fn members(&self, mut number: usize) -> Vec<u32> {
        let mut members = Vec::new();
        while number > 0 {
            let (base, added) = self.sets[number - 1];
            members.push(added);
            number = usize::from(base);
        }
        members
    }
}

/// What a directory reaches among the candidates, and whether that is all.
struct Directory {
    children: Box<[u32]>,
    whole: bool,
}

struct Walk<'a> {
    repo: &'a Repo,
    live: &'a LiveSet,
    control: &'a Control,
    candidates: &'a [Candidate],
    /// Dirtrees that were read, by the number of the candidate.
    directories: HashMap<u32, Directory>,
    /// For each candidate the last commit that was seen to reach it.
    seen_by: Vec<u32>,
    buffer: Vec<u8>,
}

impl Walk<'_> {
    /// Calls `each` for all candidates that `commit` reaches; false if there may be more.
    fn visit(&mut self, index: u32, commit: Checksum, mut each: impl FnMut(usize)) -> Result<bool> {
        let object = ObjectName::new(commit, ObjectType::Commit);
        let mut stack: Vec<u32> = self.number(object).into_iter().collect();
        let mut whole = false;
        if let Ok(Some(commit)) = self.repo.read_commit(commit, &mut self.buffer) {
            let mut children = Vec::new();
            whole = self.add_directory(commit.root_tree, commit.root_meta, &mut children);
            stack.extend(children);
        }
        while let Some(number) = stack.pop() {
            if std::mem::replace(&mut self.seen_by[number as usize], index) == index {
                continue;
            }
            each(number as usize);
            if self.candidates[number as usize].object.kind == ObjectType::DirTree {
                self.control.check()?;
                if !self.directories.contains_key(&number) {
                    let directory = self.read(self.candidates[number as usize].object);
                    self.directories.insert(number, directory);
                }
                let Directory { children, whole: is_whole } = &self.directories[&number];
                stack.extend(children);
                whole &= is_whole;
            }
        }
        Ok(whole)
    }

    fn read(&mut self, dirtree: ObjectName) -> Directory {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut children = Vec::new();
        let mut whole = self.repo.read_metadata(dirtree, &mut buffer).unwrap_or(false);
        if whole {
            let decoded = variant::dirtree(&buffer, |_, child| match child {
                Child::File(file) => children.extend(self.number(ObjectName::new(file, ObjectType::File))),
                Child::Directory(tree, meta) => whole &= self.add_directory(tree, meta, &mut children),
            });
            whole &= decoded.is_ok();
        }
        self.buffer = buffer;
        Directory { children: children.into(), whole }
    }

    /// Adds a directory's dirtree and dirmeta where they are candidates; false if the dirtree is not there.
    fn add_directory(&self, tree: Checksum, meta: Checksum, children: &mut Vec<u32>) -> bool {
        let tree = ObjectName::new(tree, ObjectType::DirTree);
        let number = self.number(tree);
        children.extend(number);
        children.extend(self.number(ObjectName::new(meta, ObjectType::DirMeta)));
        number.is_some() || self.live.contains(tree)
    }

    fn number(&self, object: ObjectName) -> Option<u32> {
        let found = self.candidates.binary_search_by_key(&object, |candidate| candidate.object);
        found.ok().and_then(|index| u32::try_from(index).ok())
    }
}

#[cfg(test)]
mod tests;
