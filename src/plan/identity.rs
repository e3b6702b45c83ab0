//! The identity of a repository, which another one at the same place does not have.

use std::path::PathBuf;

use rustix::fs::{statx, AtFlags, StatxFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::repo::mode::Mode;
use crate::repo::Repo;

/// What a repository does not share with a copy of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RepoIdentity {
    /// The inode of its directory `objects`.
    inode: u64,
    /// When that was made; zero where the file system does not tell.
    born: (i64, u32),
    /// The mode decides what objects' files are called.
    mode: Mode,
    /// Where it takes from what it has not.
    parent: Option<PathBuf>,
}

impl RepoIdentity {
    pub fn of(repo: &Repo) -> Result<Self> {
        let stat =
            statx(repo.objects(), "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
                .map_err(|error| Error::io(repo.path().join("objects"), error))?;
        Ok(Self {
            inode: stat.stx_ino,
            born: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
            mode: repo.config().mode,
            parent: repo.config().parent.clone(),
        })
    }
}
