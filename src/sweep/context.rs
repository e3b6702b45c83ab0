//! What stays the same during a sweep.

use super::links::Links;
use super::Limits;
use crate::control::Control;
use crate::plan::Plan;
use crate::pruned::{Item, Reason};
use crate::repo::object::{Checksum, ObjectName};
use crate::repo::seen::Seen;
use crate::repo::Repo;
use crate::workers::Crew;

/// An item that is deleted.
pub(crate) enum Gone<'a> {
    Object(ObjectName, &'a Seen),
    Leftover(Item, Reason),
}

/// Receives everything that is pruned.
pub(crate) type Notice<'a> = &'a (dyn Fn(Gone) + Sync);

/// What stays the same during a sweep.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub repo: &'a Repo,
    pub control: &'a Control,
    pub crew: Crew<'a>,
    pub dry_run: bool,
    pub limits: Limits,
    /// Static deltas that lead to this commit go in any case.
    pub deltas_of: Option<Checksum>,
    pub observer: Option<Notice<'a>>,
    /// Where candidates come from, if not from listing directories.
    pub plan: Option<&'a Plan>,
    /// Whether a file that is marked as immutable goes all the same.
    pub unprotects: bool,
    /// What a dry run of a cleanup has found to go before.
    pub links: &'a Links,
}

impl Context<'_> {
    /// Why this run has freed enough; None if it has not, and for a dry run, which has no order to stop in.
    pub fn exhausted(&self) -> Option<&'static str> {
        if self.dry_run {
            return None;
        }
        self.limits.reached(self.repo, self.control)
    }

    /// Whether this run has freed enough.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted().is_some()
    }
}
