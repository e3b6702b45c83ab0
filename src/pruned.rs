//! Items that are deleted, and why: callers that pass an observer get each of them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::mark::keep::Keep;
use crate::repo::object::{Checksum, ObjectName};

/// Receives everything that is pruned, or would be.
pub type Observer<'a> = &'a (dyn Fn(Pruned) + Sync);

/// Something that is pruned, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// What it is.
    pub item: Item,
    /// Why it goes.
    pub reason: Reason,
}

/// What can go. Paths are relative to the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An object.
    Object(ObjectName),
    /// A static delta's directory.
    Delta(PathBuf),
    /// An index of static deltas.
    DeltaIndex(PathBuf),
    /// A remote's cached summary.
    Summary(PathBuf),
    /// What flatpak keeps of a commit, `CHECKSUM.commitmeta2`.
    Cache(PathBuf),
    /// What is in `tmp`.
    Tmp(PathBuf),
    /// A commit's detached metadata.
    Detached(PathBuf),
    /// A mark that makes a commit a partial one.
    Mark(PathBuf),
    /// A file's uncompressed copy, from which checkouts are linked.
    Copy(PathBuf),
}

impl Item {
    /// What kind of thing it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Item::Object(object) => object.kind.as_str(),
            Item::Delta(_) => "static-delta",
            Item::DeltaIndex(_) => "delta-index",
            Item::Summary(_) => "summary",
            Item::Cache(_) => "commitmeta2",
            Item::Tmp(_) => "tmp",
            Item::Detached(_) => "commitmeta",
            Item::Mark(_) => "commitpartial",
            Item::Copy(_) => "uncompressed-copy",
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Object(object) => object.fmt(f),
            Item::Delta(path)
            | Item::DeltaIndex(path)
            | Item::Summary(path)
            | Item::Cache(path)
            | Item::Tmp(path)
            | Item::Detached(path)
            | Item::Mark(path)
            | Item::Copy(path) => path.display().fmt(f),
        }
    }
}

/// Why something goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Nothing that is kept leads to it.
    Unreachable,
    /// A commit: no ref or deployment leads to it.
    Unreferenced,
    /// A commit: it is further back in this ref's or deployment's history than is kept of it.
    Behind(Arc<str>, Keep),
    /// The caller asked for that.
    Asked,
    /// A delta or an index of deltas: the commit that it leads to goes, or is not there.
    WithoutCommit(Checksum),
    /// A summary: its remote is no longer configured.
    WithoutRemote,
    /// In `tmp`: an interrupted transaction left it.
    Stale,
    /// Detached metadata or a partial mark: its commit is not there.
    Ownerless(Checksum),
    /// A copy: no checkout is linked to it.
    Unused,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unreachable => f.write_str("nothing that is kept leads to it"),
            Reason::Unreferenced => f.write_str("no ref or deployment leads to it"),
            Reason::Behind(name, Keep { since: Some(_), .. }) => {
                write!(f, "older than what is kept of {name}")
            }
            Reason::Behind(name, Keep { depth, .. }) => {
                write!(f, "beyond depth {} of {name}", depth.unwrap_or_default())
            }
            Reason::Asked => f.write_str("as asked"),
            Reason::WithoutCommit(commit) => write!(f, "it leads to {commit}, which is not kept"),
            Reason::WithoutRemote => f.write_str("its remote is not configured"),
            Reason::Stale => f.write_str("an interrupted transaction left it"),
            Reason::Ownerless(commit) => write!(f, "its commit {commit} is not there"),
            Reason::Unused => f.write_str("no checkout is linked to it"),
        }
    }
}
