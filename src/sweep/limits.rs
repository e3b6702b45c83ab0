//! When a run has freed enough.

use std::os::fd::AsFd;

use crate::control::Control;
use crate::repo::file_system::free_bytes;
use crate::repo::Repo;

/// Why a run stopped at [`Limits::max_freed`].
pub const FREED_ENOUGH: &str = "as much was freed as was asked for";

/// Why a run stopped at [`Limits::free_until`].
pub const FREE_ENOUGH: &str = "as much is free as was asked for";

/// What stops a run before all that is to go is gone. The default is nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Stop after this many bytes were freed, at an object's end.
    pub max_freed: Option<u64>,
    /// Stop when the repository's file system has this many bytes free for ordinary users.
    pub free_until: Option<u64>,
}

impl Limits {
    /// Why a run has freed enough; None if it has not.
    pub(crate) fn reached(self, repo: &Repo, control: &Control) -> Option<&'static str> {
        if self.max_freed.is_some_and(|limit| control.bytes_freed() >= limit) {
            return Some(FREED_ENOUGH);
        }
        let is_free = |wanted| free_bytes(repo.objects().as_fd()).is_some_and(|free| free >= wanted);
        self.free_until.is_some_and(is_free).then_some(FREE_ENOUGH)
    }

    /// Why a real run stops before it has freed `bytes`; None if it does not.
    pub(crate) fn foretell(self, repo: &Repo, bytes: u64) -> Option<&'static str> {
        let is_free = |wanted| free_bytes(repo.objects().as_fd()).is_some_and(|free| free + bytes > wanted);
        let stops = self.max_freed.is_some_and(|limit| bytes > limit) || self.free_until.is_some_and(is_free);
        stops.then_some("a real run stops at the bound that was given; these figures are those without it")
    }
}
