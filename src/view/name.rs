//! What people call an object: its name, the beginning of it, a ref or image, or a path in a commit.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use super::Root;
use crate::error::{Error, Result};
use crate::mark::rules::nearest;
use crate::repo::abbreviation::{ambiguous, begin_with, is_hex, SHORTEST};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::variant::{self, Child};
use crate::repo::Repo;

/// Finds the object that `text` stands for: `CHECKSUM.TYPE`, `CHECKSUM`, the beginning of a checksum with or without a
/// type, a ref, or one of these with the path of a file or directory in its tree, `COMMIT:/PATH`. Without a type commits
/// come first. A full checksum needs not be there.
pub(super) fn resolve(repo: &Repo, roots: &[Root], text: &str) -> Result<ObjectName> {
    let is_root = |text| roots.iter().any(|root| is_called(root, text));
    if is_root(text) {
        return named(repo, roots, text);
    }
    // An image's name has `:/` in it, too: docker://HOST/NAME.
    let splits =
        || text.match_indices(":/").map(|(at, separator)| (&text[..at], &text[at + separator.len()..]));
    // `ostree ls` takes paths without the slash, too.
    let bare = || text.split_once(':').filter(|(commit, _)| is_root(commit));
    match splits().find(|(commit, _)| is_root(commit)).or_else(bare).or_else(|| splits().next()) {
        Some((commit, path)) => at_path(repo, named(repo, roots, commit)?, Path::new(path)),
        None => named(repo, roots, text),
    }
}

fn named(repo: &Repo, roots: &[Root], text: &str) -> Result<ObjectName> {
    if let Some(root) = roots.iter().find(|root| is_called(root, text)) {
        return Ok(ObjectName::new(root.commit, ObjectType::Commit));
    }
    let (hex, suffix) = match text.split_once('.') {
        Some((hex, suffix)) => (hex, Some(suffix)),
        None => (text, None),
    };
    let unknown = || {
        let names: Vec<_> = roots.iter().map(|root| root.name.clone()).collect();
        let meant = nearest(text, &names).map(|name| format!("; did you mean '{name}'?"));
        let meant = meant.as_deref().unwrap_or(": give a ref, a checksum or its beginning, CHECKSUM.TYPE, COMMIT:/PATH, or a deployed file's path");
        Error::unknown(text, format!("'{text}' is neither a ref nor an object{meant}"))
    };
    if !is_hex(hex) || hex.len() < SHORTEST {
        return Err(unknown());
    }
    let kind = match suffix {
        None => None,
        // As a compressed file is called on disk.
        Some("filez") => Some(ObjectType::File),
        Some(suffix) => {
            Some(ObjectType::ALL.into_iter().find(|kind| kind.as_str() == suffix).ok_or_else(unknown)?)
        }
    };
    let mut found = begin_with(repo, hex, kind)?;
    if kind.is_none() && found.iter().any(|object| object.kind == ObjectType::Commit) {
        found.retain(|object| object.kind == ObjectType::Commit);
    }
    let found: Vec<_> = found.into_iter().collect();
    match (&found[..], Checksum::from_hex(hex.as_bytes())) {
        ([object], _) => Ok(*object),
        ([], Some(checksum)) => Ok(ObjectName::new(checksum, kind.unwrap_or(ObjectType::Commit))),
        ([], None) => Err(unknown()),
        (several, _) => Err(ambiguous(text, several)),
    }
}

/// The file or directory at `path` in the tree of `commit`.
fn at_path(repo: &Repo, commit: ObjectName, path: &Path) -> Result<ObjectName> {
    let mut buffer = Vec::new();
    let missing = |object| Error::corrupt(object, "it is missing");
    if commit.kind != ObjectType::Commit {
        return Err(Error::Refused(format!("{commit} is no commit, and has no paths")));
    }
    let decoded = repo.read_commit(commit.checksum, &mut buffer)?.ok_or_else(|| missing(commit))?;
    let mut at = ObjectName::new(decoded.root_tree, ObjectType::DirTree);
    for component in path.components().filter(|component| *component != Component::CurDir) {
        let entry = match at.kind {
            ObjectType::DirTree => entry(repo, at, component.as_os_str(), &mut buffer)?,
            _ => None,
        };
        let absent = || Error::unknown(path.display(), format!("{commit} has no '/{}'", path.display()));
        at = match entry.ok_or_else(absent)? {
            Child::File(file) => ObjectName::new(file, ObjectType::File),
            Child::Directory(tree, _) => ObjectName::new(tree, ObjectType::DirTree),
        };
    }
    Ok(at)
}

/// What a directory has by this name.
fn entry(repo: &Repo, tree: ObjectName, wanted: &OsStr, buffer: &mut Vec<u8>) -> Result<Option<Child>> {
    if !repo.read_metadata(tree, buffer)? {
        return Err(Error::corrupt(tree, "it is missing"));
    }
    let mut found = None;
    variant::dirtree(buffer, |name, child| {
        if name == wanted.as_bytes() {
            found = Some(child);
        }
    })
    .map_err(|error| Error::corrupt(tree, error.0))?;
    Ok(found)
}

/// Whether people call a root so: by its name, its ref as libostree writes it, or `COLLECTION:REF`.
fn is_called(root: &Root, text: &str) -> bool {
    let in_collection = || {
        let (collection, name) =
            root.spec.as_deref()?.strip_prefix('(')?.strip_suffix(')')?.split_once(", ")?;
        Some(text.strip_prefix(collection)?.strip_prefix(':')? == name)
    };
    root.name == text || root.spec.as_deref() == Some(text) || in_collection().unwrap_or(false)
}
