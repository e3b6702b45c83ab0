//! Where pulls collect objects before they get their place: `tmp/staging-…`.

use rustix::fs::{statat, AtFlags, FileType};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::repo::directory::Directory;
use crate::repo::listing::each_entry;
use crate::repo::object::ObjectName;
use crate::repo::Repo;

/// The staging directories of a repository.
pub(crate) struct Staging<'a> {
    repo: &'a Repo,
    directories: Vec<Directory>,
}

impl<'a> Staging<'a> {
    /// Opens those that there are.
    pub fn open(repo: &'a Repo) -> Result<Self> {
        let path = repo.path().join("tmp");
        let mut directories = Vec::new();
        let Some(tmp) = repo.part("tmp")? else { return Ok(Self { repo, directories }) };
        each_entry(&tmp, &path, |entry| {
            let io = |error| Error::io(&path, error);
            if entry.name.starts_with(b"staging-")
                && entry.file_type().map_err(io)? == Some(FileType::Directory)
            {
                directories.extend(tmp.child(entry.name).map_err(io)?);
            }
            Ok(())
        })?;
        Ok(Self { repo, directories })
    }

    /// Whether a pull has `object`, and may be going to complete it; true where that can't be seen.
    pub fn has(&self, object: ObjectName) -> bool {
        let path = object.loose_path(self.repo.config().mode);
        self.directories
            .iter()
            .any(|directory| statat(directory, &path, AtFlags::SYMLINK_NOFOLLOW).err() != Some(Errno::NOENT))
    }
}
