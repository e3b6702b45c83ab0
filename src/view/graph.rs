//! All objects of a repository as numbers, and what each leads to.
//!
//! Numbers make it cheap to walk the graph once for each of thousands of roots. An object takes about 60 bytes, and
//! each entry of a dirtree four.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use rustix::fs::readlinkat;

use crate::control::{Control, Phase};
use crate::error::{Error, Result};
use crate::mark::census::DIRECTORIES;
use crate::repo::listing::each_entry;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::variant::{self, Child};
use crate::repo::Repo;
use crate::workers::Crew;

use super::space::Size;

/// An object's number.
pub(super) type Number = u32;

/// Objects, and what they lead to as far as somebody asked.
pub(super) struct Graph<'a> {
    repo: &'a Repo,
    control: &'a Control,
    /// Sorted: what was in this repository when it was listed.
    names: Vec<ObjectName>,
    sizes: Vec<Size>,
    /// What came since, lies in a parent, or is missing.
    others: HashMap<ObjectName, Number>,
    /// Of those their names, sizes, and whether they are anywhere.
    late: Vec<(ObjectName, Size, bool)>,
    children: HashMap<Number, Box<[Number]>>,
    /// Dirtrees and commits that no repository has.
    missing: HashSet<Number>,
    parents: HashMap<Number, Option<Number>>,
    buffer: Vec<u8>,
}

impl<'a> Graph<'a> {
    /// Lists all objects.
    pub fn list(repo: &'a Repo, crew: Crew, control: &'a Control) -> Result<Self> {
        control.enter(Phase::Roots, DIRECTORIES as u64);
        let listed = Mutex::new(Vec::new());
        crew.for_each(DIRECTORIES, |number| {
            let Ok(number) = u8::try_from(number) else { return Ok(()) };
            let found = list_directory(repo, number, control)?;
            listed.lock().unwrap_or_else(PoisonError::into_inner).push((number, found));
            control.advance(1);
            Ok(())
        })?;
        let mut listed = listed.into_inner().unwrap_or_else(PoisonError::into_inner);
        listed.sort_unstable_by_key(|(number, _)| *number);
        let count = listed.iter().map(|(_, found)| found.len()).sum();
        let (mut names, mut sizes) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (_, found) in listed {
            for (name, size) in found {
                names.push(name);
                sizes.push(size);
            }
        }
        let mut graph = Self {
            repo,
            control,
            names,
            sizes,
            others: HashMap::new(),
            late: Vec::new(),
            children: HashMap::new(),
            missing: HashSet::new(),
            parents: HashMap::new(),
            buffer: Vec::new(),
        };
        graph.attach()?;
        Ok(graph)
    }

    /// How many objects this repository holds. Numbers below that are theirs.
    pub fn listed(&self) -> usize {
        self.names.len()
    }

    /// How many objects can be read for what they lead to. Each that is makes progress by one.
    pub fn readable(&self) -> usize {
        let leads = |name: &&ObjectName| matches!(name.kind, ObjectType::Commit | ObjectType::DirTree);
        self.names.iter().filter(leads).count()
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.names.len() + self.late.len()
    }

    /// An object's name.
    pub fn name(&self, number: Number) -> ObjectName {
        let index = number as usize;
        self.names.get(index).copied().unwrap_or_else(|| self.late[index - self.names.len()].0)
    }

    /// What an object takes in this repository.
    pub fn size(&self, number: Number) -> Size {
        let index = number as usize;
        self.sizes.get(index).copied().unwrap_or_else(|| self.late[index - self.names.len()].1)
    }

    /// Whether an object that ought to be there is in no repository.
    pub fn is_missing(&self, number: Number) -> bool {
        let index = number as usize;
        self.missing.contains(&number)
            || (index >= self.names.len() && !self.late[index - self.names.len()].2)
    }

    /// The number of an object.
    pub fn number(&mut self, name: ObjectName) -> Result<Number> {
        if let Ok(index) = self.names.binary_search(&name) {
            return narrow(index);
        }
        if let Some(number) = self.others.get(&name) {
            return Ok(*number);
        }
        let path = name.loose_path(self.repo.config().mode);
        let size = Size::at(self.repo.objects(), path.as_bytes());
        let size = size.map_err(|error| Error::io(self.repo.path().join("objects").join(path), error))?;
        // A file may be missing, for all that prune cares.
        let is_there = size.is_some() || name.kind == ObjectType::File || self.repo.has(name)?;
        let number = narrow(self.len())?;
        self.late.push((name, size.unwrap_or_default(), is_there));
        self.others.insert(name, number);
        Ok(number)
    }

    /// A commit's parent.
    pub fn parent(&mut self, commit: Number) -> Result<Option<Number>> {
        self.read(commit)?;
        Ok(self.parents.get(&commit).copied().flatten())
    }

    /// Adds what an object leads to, but for a commit's parent, to `found`.
    pub fn children(&mut self, number: Number, found: &mut Vec<Number>) -> Result<()> {
        if matches!(self.name(number).kind, ObjectType::Commit | ObjectType::DirTree) {
            self.read(number)?;
        }
        found.extend(self.children.get(&number).into_iter().flatten());
        Ok(())
    }

    /// Reads a commit or dirtree, unless that was done before.
    fn read(&mut self, number: Number) -> Result<()> {
        if self.children.contains_key(&number) || self.missing.contains(&number) {
            return Ok(());
        }
        let object = self.name(number);
        let mut buffer = std::mem::take(&mut self.buffer);
        let found = self.repo.read_metadata(object, &mut buffer);
        let mut leads_to = Vec::new();
        let mut parent = None;
        if found? {
            if object.kind == ObjectType::Commit {
                let decoded = variant::commit(&buffer).map_err(|error| Error::corrupt(object, error.0))?;
                leads_to.push(ObjectName::new(decoded.root_tree, ObjectType::DirTree));
                leads_to.push(ObjectName::new(decoded.root_meta, ObjectType::DirMeta));
                parent = decoded.parent;
            } else {
                variant::dirtree(&buffer, |_, child| match child {
                    Child::File(file) => leads_to.push(ObjectName::new(file, ObjectType::File)),
                    Child::Directory(tree, meta) => {
                        leads_to.push(ObjectName::new(tree, ObjectType::DirTree));
                        leads_to.push(ObjectName::new(meta, ObjectType::DirMeta));
                    }
                })
                .map_err(|error| Error::corrupt(object, error.0))?;
            }
        } else {
            self.missing.insert(number);
            self.buffer = buffer;
            return Ok(());
        }
        self.buffer = buffer;
        if let Some(parent) = parent {
            let parent = self.number(ObjectName::new(parent, ObjectType::Commit))?;
            self.parents.insert(number, Some(parent));
        }
        let numbers = leads_to.into_iter().map(|name| self.number(name)).collect::<Result<_>>()?;
        self.children.insert(number, numbers);
        // Those that others hold were not counted.
        self.control.advance(u64::from((number as usize) < self.listed()));
        Ok(())
    }

    /// Has files lead to what lives and dies with them: payload links, and attributes that are objects of their own.
    ///
    /// Mirrors the verdict on payload links, and `mark/xattrs.rs`.
    fn attach(&mut self) -> Result<()> {
        let mut attached: HashMap<Number, Vec<Number>> = HashMap::new();
        for index in 0..self.names.len() {
            let object = self.names[index];
            let path = || self.repo.path().join("objects").join(object.loose_path(self.repo.config().mode));
            let (file, also) = match object.kind {
                ObjectType::PayloadLink => {
                    let relative = object.loose_path(self.repo.config().mode);
                    let target = readlinkat(self.repo.objects(), relative, Vec::new())
                        .map_err(|error| Error::io(path(), error))?;
                    let Some(file) = ObjectName::from_payload_link(target.as_bytes()) else { continue };
                    (file, None)
                }
                ObjectType::FileXattrsLink => {
                    let content = self.repo.checksum_of(object)?;
                    (ObjectName::new(object.checksum, ObjectType::File), content)
                }
                _ => continue,
            };
            let Ok(file) = self.names.binary_search(&file) else { continue };
            if object.kind == ObjectType::PayloadLink
                && self.sizes[file].content < self.repo.config().payload_link_threshold
            {
                continue;
            }
            let with_it = attached.entry(narrow(file)?).or_default();
            with_it.push(narrow(index)?);
            let xattrs = also.map(|content: Checksum| ObjectName::new(content, ObjectType::FileXattrs));
            if let Some(Ok(xattrs)) = xattrs.map(|xattrs| self.names.binary_search(&xattrs)) {
                with_it.push(narrow(xattrs)?);
            }
        }
        self.children.extend(attached.into_iter().map(|(file, with_it)| (file, with_it.into())));
        Ok(())
    }
}

fn list_directory(repo: &Repo, number: u8, control: &Control) -> Result<Vec<(ObjectName, Size)>> {
    control.check_or_rest()?;
    let mut found = Vec::new();
    let Some(directory) = repo.open_object_directory(number)? else { return Ok(found) };
    let path = repo.object_directory_path(number);
    each_entry(&directory, &path, |entry| {
        let Some(object) = ObjectName::from_entry(number, entry.name, repo.config().mode) else {
            return Ok(());
        };
        let name = object.file_name(repo.config().mode);
        let size =
            Size::at(&directory, name.as_bytes()).map_err(|error| Error::io(path.join(&name), error))?;
        found.extend(size.map(|size| (object, size)));
        Ok(())
    })?;
    found.sort_unstable_by_key(|(object, _)| *object);
    Ok(found)
}

fn narrow(index: usize) -> Result<Number> {
    Number::try_from(index).map_err(|_| Error::Internal("too many objects to number".into()))
}
