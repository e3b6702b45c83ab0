//! Why an object is kept: the ways that lead to it from roots.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::readlinkat;

use super::name::resolve;
use super::{look_until_certain, roots, Root, RootKind, ViewOptions};
use crate::control::{Control, Phase};
use crate::error::{Error, Result};
use crate::mark::census::Census;
use crate::mark::RootSource;
use crate::repo::listing::each_entry;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::seen::Seen;
use crate::repo::variant::{self, Child, Commit};
use crate::repo::Repo;
use crate::workers::Crew;

/// Why an object is there, or is not.
#[derive(Debug)]
pub struct Explanation {
    /// The object.
    pub object: ObjectName,
    /// Where it is.
    pub place: Place,
    /// One way for each root that leads to it.
    pub kept_by: Vec<Way>,
    /// Of an object that nothing keeps: the commits that lead to it, and are to go as well.
    pub dropped_with: Vec<Checksum>,
    /// Of a commit that nothing keeps: the refs that have it in their history, beyond the depth that is kept.
    pub beyond_depth_of: Vec<String>,
    /// Commits, dirtrees and dirmetas that were missing on the way: what they lead to is not known.
    pub missing: Vec<ObjectName>,
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the repository, with so many bytes.
    Here(u64),
    /// Not in the repository, but in a parent.
    Parent(PathBuf),
    /// Nowhere.
    Nowhere,
}

/// A way from a root to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// What the root is.
    pub kind: RootKind,
    /// Its name.
    pub name: String,
    /// The first commit in its history that leads to the object.
    pub commit: Checksum,
    /// How many generations that is behind the root's own.
    pub generation: u64,
    /// Where the object is in that commit's tree; None for the commit itself.
    pub path: Option<PathBuf>,
}

/// Finds out why the object that `text` stands for is kept, or that it is not.
///
/// # Locking
/// The shared lock for a moment, if something is missing.
pub(crate) fn why(
    repo: &Repo,
    sources: &mut dyn RootSource,
    text: &str,
    options: ViewOptions,
    crew: Crew,
    control: &Control,
) -> Result<Explanation> {
    let look = || why_now(repo, sources, text, options, crew, control);
    look_until_certain(repo, options, control, look, |found| match found {
        Ok(explanation) => explanation.missing.iter().map(ToString::to_string).collect(),
        Err(Error::Corrupt { object, .. }) => [object.clone()].into(),
        Err(_) => BTreeSet::new(),
    })
}

fn why_now(
    repo: &Repo,
    sources: &mut dyn RootSource,
    text: &str,
    options: ViewOptions,
    crew: Crew,
    control: &Control,
) -> Result<Explanation> {
    let (roots, _) = roots(repo, sources, options, control)?;
    let object = resolve(repo, &roots, text)?;
    let mut search = Search {
        repo,
        control,
        targets: targets(repo, object, control)?,
        leads: HashMap::new(),
        commits: HashMap::new(),
        missing: HashSet::new(),
        buffer: Vec::new(),
    };
    control.enter(Phase::Crawl, 0);
    let (mut kept_by, mut kept) = (Vec::new(), HashSet::new());
    for root in &roots {
        kept_by.extend(search.way(root, &mut kept)?);
    }
    let place = place(repo, object)?;
    let (mut dropped_with, mut beyond_depth_of) = (Vec::new(), Vec::new());
    if kept_by.is_empty() {
        if object.kind == ObjectType::Commit {
            for root in roots.iter().filter(|root| root.depth.is_some()) {
                let whole = Root { depth: None, name: root.name.clone(), spec: None, remote: None, ..*root };
                if search.way(&whole, &mut HashSet::new())?.is_some() {
                    beyond_depth_of.push(whole.name);
                }
            }
        } else {
            let census = Census::take(repo, crew, control)?;
            let others: Vec<_> = census.commits().filter(|commit| !kept.contains(*commit)).copied().collect();
            for commit in others {
                if search.path_in(commit)?.is_some() {
                    dropped_with.push(commit);
                }
            }
            dropped_with.sort_unstable();
        }
    }
    let mut missing: Vec<_> = search.missing.into_iter().collect();
    missing.sort_unstable();
    Ok(Explanation { object, place, kept_by, dropped_with, beyond_depth_of, missing })
}

fn place(repo: &Repo, object: ObjectName) -> Result<Place> {
    let path = object.loose_path(repo.config().mode);
    let seen = Seen::at(repo.objects(), &path);
    if let Some(seen) = seen.map_err(|error| Error::io(repo.path().join("objects").join(path), error))? {
        return Ok(Place::Here(seen.size()));
    }
    let Some(parent) = repo.parent() else { return Ok(Place::Nowhere) };
    Ok(match place(parent, object)? {
        Place::Here(_) => Place::Parent(parent.path().to_owned()),
        other => other,
    })
}

/// What has to be reached for `object` to be kept: itself, or a file that it lives and dies with.
fn targets(repo: &Repo, object: ObjectName, control: &Control) -> Result<HashSet<ObjectName>> {
    let file = |checksum| ObjectName::new(checksum, ObjectType::File);
    let mut found = HashSet::new();
    match object.kind {
        ObjectType::PayloadLink => {
            let path = object.loose_path(repo.config().mode);
            if let Ok(target) = readlinkat(repo.objects(), path, Vec::new()) {
                let target = ObjectName::from_payload_link(target.as_bytes());
                let threshold = repo.config().payload_link_threshold;
                if let Some(target) = target {
                    if matches!(place(repo, target)?, Place::Here(size) if size >= threshold) {
                        found.insert(target);
                    }
                }
            }
        }
        ObjectType::FileXattrsLink => {
            found.insert(file(object.checksum));
        }
        ObjectType::FileXattrs => {
            for number in 0..=u8::MAX {
                control.check_or_rest()?;
                let Some(directory) = repo.open_object_directory(number)? else { continue };
                each_entry(&directory, &repo.object_directory_path(number), |entry| {
                    let link = ObjectName::from_entry(number, entry.name, repo.config().mode);
                    if let Some(link) = link.filter(|link| link.kind == ObjectType::FileXattrsLink) {
                        if repo.checksum_of(link)? == Some(object.checksum) {
                            found.insert(file(link.checksum));
                        }
                    }
                    Ok(())
                })?;
            }
        }
        _ => {
            found.insert(object);
        }
    }
    Ok(found)
}

/// A directory on the way down, and what is left to look at in it.
type Open = (Checksum, Vec<Checksum>);

struct Search<'a> {
    repo: &'a Repo,
    control: &'a Control,
    targets: HashSet<ObjectName>,
    /// Dirtrees that were looked into, and whether they lead to a target.
    leads: HashMap<Checksum, bool>,
    /// Commits that were read; None: they are missing.
    commits: HashMap<Checksum, Option<Commit>>,
    missing: HashSet<ObjectName>,
    buffer: Vec<u8>,
}

impl Search<'_> {
    /// The first way from a root; `seen` takes the commits that were looked at, all of the root's if there is no way.
    fn way(&mut self, root: &Root, seen: &mut HashSet<Checksum>) -> Result<Option<Way>> {
        let mut next = Some(root.commit);
        let mut generation = 0;
        while let Some(commit) = next {
            self.control.check_or_rest()?;
            seen.insert(commit);
            let way = |path| Way { kind: root.kind, name: root.name.clone(), commit, generation, path };
            let Some(decoded) = self.commit(commit)? else {
                if generation == 0 {
                    self.missing.insert(ObjectName::new(commit, ObjectType::Commit));
                    // What a root asks for is wanted even if it is not there.
                    return Ok(self.is_target(commit, ObjectType::Commit).then(|| way(None)));
                }
                break;
            };
            if self.is_target(commit, ObjectType::Commit) {
                return Ok(Some(way(None)));
            }
            if let Some(path) = self.path_in(commit)? {
                return Ok(Some(way(Some(path))));
            }
            if root.depth.is_some_and(|depth| generation >= u64::from(depth)) {
                break;
            }
            generation += 1;
            next = decoded.parent;
        }
        Ok(None)
    }

    fn is_target(&self, checksum: Checksum, kind: ObjectType) -> bool {
        self.targets.contains(&ObjectName::new(checksum, kind))
    }

    fn commit(&mut self, commit: Checksum) -> Result<Option<Commit>> {
        if let Some(known) = self.commits.get(&commit) {
            return Ok(*known);
        }
        let decoded = self.repo.read_commit(commit, &mut self.buffer)?;
        self.commits.insert(commit, decoded);
        Ok(decoded)
    }

    /// Where a target is in a commit's tree.
    fn path_in(&mut self, commit: Checksum) -> Result<Option<PathBuf>> {
        let Some(Commit { root_tree: mut tree, root_meta, .. }) = self.commit(commit)? else {
            return Ok(None);
        };
        let mut path = PathBuf::from("/");
        if self.is_target(tree, ObjectType::DirTree) || self.is_target(root_meta, ObjectType::DirMeta) {
            return Ok(Some(path));
        }
        if !self.leads_to_target(tree)? {
            return Ok(None);
        }
        loop {
            let entries = self.entries(tree)?;
            let hit = entries.iter().find(|(_, child)| self.is_hit(*child));
            if let Some((name, _)) = hit {
                path.push(name);
                return Ok(Some(path));
            }
            let mut below = None;
            for (name, child) in &entries {
                if let Child::Directory(subtree, _) = child {
                    if self.leads_to_target(*subtree)? {
                        below = Some((name, *subtree));
                        break;
                    }
                }
            }
            // A writer can't have taken it away: objects don't change.
            let Some((name, subtree)) = below else { return Ok(None) };
            path.push(name);
            tree = subtree;
        }
    }

    fn is_hit(&self, child: Child) -> bool {
        match child {
            Child::File(file) => self.is_target(file, ObjectType::File),
            Child::Directory(tree, meta) => {
                self.is_target(tree, ObjectType::DirTree) || self.is_target(meta, ObjectType::DirMeta)
            }
        }
    }

    /// Whether a target is anywhere below a directory.
    fn leads_to_target(&mut self, top: Checksum) -> Result<bool> {
        if let Some(known) = self.leads.get(&top) {
            return Ok(*known);
        }
        let mut open: Vec<Open> = Vec::new();
        let mut next = Some(top);
        loop {
            let mut found = false;
            if let Some(tree) = next.take() {
                self.control.check_or_rest()?;
                self.control.advance(1);
                let (mut subtrees, mut hit) = (Vec::new(), false);
                for (_, child) in self.entries(tree)? {
                    hit |= self.is_hit(child);
                    if let Child::Directory(subtree, _) = child {
                        subtrees.push(subtree);
                    }
                }
                open.push((tree, subtrees));
                found = hit;
            }
            while let Some((tree, subtrees)) = open.last_mut() {
                let known = subtrees.pop().map(|subtree| (subtree, self.leads.get(&subtree).copied()));
                match known {
                    _ if found => {}
                    Some((_, Some(true))) => found = true,
                    Some((_, Some(false))) => {}
                    Some((subtree, None)) => {
                        next = Some(subtree);
                        break;
                    }
                    None => {
                        self.leads.insert(*tree, false);
                        open.pop();
                    }
                }
                if found {
                    // Whatever is left to look at in them, all that are open lead here.
                    self.leads.extend(open.drain(..).map(|(tree, _)| (tree, true)));
                }
            }
            if next.is_none() {
                return Ok(self.leads.get(&top).copied().unwrap_or(false));
            }
        }
    }

    /// What a dirtree lists; nothing if it is missing.
    fn entries(&mut self, tree: Checksum) -> Result<Vec<(OsString, Child)>> {
        let object = ObjectName::new(tree, ObjectType::DirTree);
        let mut entries = Vec::new();
        if self.repo.read_metadata(object, &mut self.buffer)? {
            variant::dirtree(&self.buffer, |name, child| {
                entries.push((OsString::from_vec(name.to_owned()), child));
            })
            .map_err(|error| Error::corrupt(object, error.0))?;
        } else {
            self.missing.insert(object);
        }
        Ok(entries)
    }
}
