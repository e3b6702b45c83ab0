//! What tells a file, or a repository, from another one of the same name.

use std::path::PathBuf;

use rustix::fs::{statx, AtFlags, Statx, StatxFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::repo::mode::Mode;
use crate::repo::Repo;

/// What tells an object's file from a later one of the same name: a hash of inode, size, and the times at which it was
/// made and last written. The time of its last change of status is not part of it: that changes when a checkout that
/// shares the file is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(pub(super) [u8; Identity::LEN]);

impl Identity {
    pub(super) const LEN: usize = 6;

    pub fn of(stat: &Statx) -> Self {
        let mut hash = Sha256::new();
        hash.update(stat.stx_ino.to_le_bytes());
        hash.update(stat.stx_size.to_le_bytes());
        for time in [&stat.stx_btime, &stat.stx_mtime] {
            hash.update(time.tv_sec.to_le_bytes());
            hash.update(time.tv_nsec.to_le_bytes());
        }
        let mut short = [0; Self::LEN];
        short.copy_from_slice(&hash.finalize()[..Self::LEN]);
        Self(short)
    }
}

/// What tells a repository from a copy of it.
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
