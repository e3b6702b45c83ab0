//! What people call an object: its name, the beginning of it, or a ref or image.

use std::collections::BTreeSet;

use super::Root;
use crate::error::{Error, Result};
use crate::repo::listing::each_entry;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::Repo;

/// A shorter beginning would list more than one object directory.
const SHORTEST: usize = 2;

/// How many objects are named when there are several.
const NAMED: usize = 4;

/// Finds the object that `text` stands for: `CHECKSUM.TYPE`, `CHECKSUM`, the beginning of a checksum with or without a
/// type, or a ref. Without a type commits come first. A full checksum needs not be there.
pub(super) fn resolve(repo: &Repo, roots: &[Root], text: &str) -> Result<ObjectName> {
    if let Some(root) = roots.iter().find(|root| is_called(root, text)) {
        return Ok(ObjectName::new(root.commit, ObjectType::Commit));
    }
    let (hex, suffix) = match text.split_once('.') {
        Some((hex, suffix)) => (hex, Some(suffix)),
        None => (text, None),
    };
    let unknown = || {
        Error::Refused(format!("'{text}' is neither a ref nor an object: give a ref, a checksum or its beginning, or CHECKSUM.TYPE"))
    };
    let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hex || hex.len() < SHORTEST {
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
    let mut found = BTreeSet::new();
    let mut place = Some(repo);
    while let Some(repo) = place {
        list(repo, hex, kind, &mut found)?;
        place = repo.parent();
    }
    if kind.is_none() && found.iter().any(|object| object.kind == ObjectType::Commit) {
        found.retain(|object| object.kind == ObjectType::Commit);
    }
    let found: Vec<_> = found.into_iter().collect();
    match (&found[..], Checksum::from_hex(hex.as_bytes())) {
        ([object], _) => Ok(*object),
        ([], Some(checksum)) => Ok(ObjectName::new(checksum, kind.unwrap_or(ObjectType::Commit))),
        ([], None) => Err(unknown()),
        (several, _) => {
            let names: Vec<_> = several.iter().take(NAMED).map(ToString::to_string).collect();
            let more = if several.len() > NAMED { ", …" } else { "" };
            Err(Error::Refused(format!("'{text}' could be {}{more}", names.join(", "))))
        }
    }
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

/// Adds the objects whose checksums begin with `hex`.
fn list(repo: &Repo, hex: &str, kind: Option<ObjectType>, found: &mut BTreeSet<ObjectName>) -> Result<()> {
    let Ok(number) = u8::from_str_radix(&hex[..SHORTEST], 16) else { return Ok(()) };
    let Some(directory) = repo.open_object_directory(number)? else { return Ok(()) };
    each_entry(&directory, &repo.object_directory_path(number), |entry| {
        if entry.name.starts_with(&hex.as_bytes()[SHORTEST..]) {
            let object = ObjectName::from_entry(number, entry.name, repo.config().mode);
            found.extend(object.filter(|object| kind.is_none_or(|kind| kind == object.kind)));
        }
        Ok(())
    })
}
