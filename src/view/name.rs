//! What people call an object: its name, the beginning of it, or a ref or image.

use super::Root;
use crate::error::{Error, Result};
use crate::repo::abbreviation::{ambiguous, begin_with, is_hex, SHORTEST};
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::Repo;

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

/// Whether people call a root so: by its name, its ref as libostree writes it, or `COLLECTION:REF`.
fn is_called(root: &Root, text: &str) -> bool {
    let in_collection = || {
        let (collection, name) =
            root.spec.as_deref()?.strip_prefix('(')?.strip_suffix(')')?.split_once(", ")?;
        Some(text.strip_prefix(collection)?.strip_prefix(':')? == name)
    };
    root.name == text || root.spec.as_deref() == Some(text) || in_collection().unwrap_or(false)
}
