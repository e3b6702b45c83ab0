//! Objects by the beginnings of their checksums.

use std::collections::BTreeSet;

use super::listing::each_entry;
use super::object::{Checksum, ObjectName, ObjectType};
use super::Repo;
use crate::error::{Error, Result};

/// A shorter beginning would list more than one object directory.
pub(crate) const SHORTEST: usize = 2;

/// How many objects are named when there are several.
const NAMED: usize = 4;

/// A commit's checksum, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abbreviation(String);

impl Abbreviation {
    /// Takes what may be one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = is_hex(text) && (SHORTEST..=64).contains(&text.len());
        is_one.then(|| Self(text.to_owned()))
    }

    /// The commit that it stands for, in `repo` or in a parent. A full checksum needs not be there.
    pub fn commit(&self, repo: &Repo) -> Result<Checksum> {
        if let Some(checksum) = Checksum::from_hex(self.0.as_bytes()) {
            return Ok(checksum);
        }
        let found: Vec<_> = begin_with(repo, &self.0, Some(ObjectType::Commit))?.into_iter().collect();
        match &found[..] {
            [commit] => Ok(commit.checksum),
            [] => Err(Error::unknown(&self.0, format!("no commit's checksum begins with '{}'", self.0))),
            several => Err(ambiguous(&self.0, several)),
        }
    }
}

/// Whether a text can be a part of a checksum.
pub(crate) fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The error for a beginning that several objects share.
pub(crate) fn ambiguous(text: &str, several: &[ObjectName]) -> Error {
    let names: Vec<_> = several.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if several.len() > NAMED { ", …" } else { "" };
    Error::Refused(format!("'{text}' could be {}{more}", names.join(", ")))
}

/// The objects in `repo` and its parents whose checksums begin with `hex`, of one kind or of all.
pub(crate) fn begin_with(repo: &Repo, hex: &str, kind: Option<ObjectType>) -> Result<BTreeSet<ObjectName>> {
    let mut found = repo.parent().map_or(Ok(BTreeSet::new()), |parent| begin_with(parent, hex, kind))?;
    let Some((Ok(number), rest)) =
        hex.split_at_checked(SHORTEST).map(|(number, rest)| (u8::from_str_radix(number, 16), rest))
    else {
        return Ok(found);
    };
    let Some(directory) = repo.open_object_directory(number)? else { return Ok(found) };
    each_entry(&directory, &repo.object_directory_path(number), |entry| {
        if entry.name.starts_with(rest.as_bytes()) {
            let object = ObjectName::from_entry(number, entry.name, repo.config().mode);
            found.extend(object.filter(|object| kind.is_none_or(|kind| kind == object.kind)));
        }
        Ok(())
    })?;
    Ok(found)
}
