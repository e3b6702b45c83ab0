//! Extended attributes in repositories of mode `bare-split-xattrs`.
//!
//! There a file's attributes are an object of their own, `XATTRS.file-xattrs`, and `FILE.file-xattrs-link` is a hard
//! link to it, named by the file. The link lives as long as its file; the attributes live as long as a live link has
//! their content, which is what their checksum names. libostree never prunes either.

use std::sync::Mutex;
use std::sync::PoisonError;

use super::census::DIRECTORIES;
use super::live_set::LiveSet;
use crate::control::Control;
use crate::error::Result;
use crate::repo::listing::each_entry;
use crate::repo::object::{ObjectName, ObjectType};
use crate::repo::Repo;
use crate::workers::Crew;

/// Marks the links of live files, and the attributes that they lead to, as live.
pub(crate) fn mark(repo: &Repo, live: &LiveSet, crew: Crew, control: &Control) -> Result<()> {
    let new_links = Mutex::new(Vec::new());
    crew.for_each(DIRECTORIES, |number| {
        control.check()?;
        let Ok(number) = u8::try_from(number) else { return Ok(()) };
        let Some(directory) = repo.open_object_directory(number)? else { return Ok(()) };
        let mut found = Vec::new();
        each_entry(&directory, &repo.object_directory_path(number), |entry| {
            let object = ObjectName::from_entry(number, entry.name, repo.config().mode);
            if let Some(link) = object.filter(|object| object.kind == ObjectType::FileXattrsLink) {
                if live.contains(ObjectName::new(link.checksum, ObjectType::File)) && live.insert(link) {
                    found.push(link);
                }
            }
            Ok(())
        })?;
        new_links.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        Ok(())
    })?;
    let new_links = new_links.into_inner().unwrap_or_else(PoisonError::into_inner);
    crew.for_each(new_links.len(), |index| {
        control.check()?;
        if let Some(checksum) = repo.checksum_of(new_links[index])? {
            live.insert(ObjectName::new(checksum, ObjectType::FileXattrs));
        }
        Ok(())
    })
}
