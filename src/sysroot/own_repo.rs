//! The running system's own repository, pruned by itself: without its sysroot's lock, and without loading it.

use std::path::{Path, PathBuf};

use super::checkouts;
use super::host::{self, Host};
use super::listing::Listing;
use crate::control::Control;
use crate::error::Result;
use crate::mark::keep::Keep;
use crate::mark::roots::Start;
use crate::mark::RootSource;
use crate::plan::{self, Plan, PlanOptions};
use crate::prune::{ended, prune_within, PruneOptions, Surroundings};
use crate::repo::refs::Ref;
use crate::repo::Repo;
use crate::report::PruneReport;

/// Prunes `repo`, as [`crate::prune::prune`] does. If it is the running system's own, the staged deployment's commit
/// is kept, which no ref may lead to, and a commit that the system stands on is never deleted.
///
/// # Locking
/// As [`crate::prune::prune`].
///
/// # Cancellation
/// As [`crate::prune::prune`].
pub fn prune(repo: &Repo, options: &PruneOptions, control: &Control) -> Result<PruneReport> {
    if host::owns(repo)? {
        ended(prune_within(repo, &mut OwnRepo, options, control), control)
    } else {
        crate::prune::prune(repo, options, control)
    }
}

/// Plans what [`prune`] would delete.
///
/// # Locking
/// The shared lock, for a moment.
pub fn plan_repo(repo: &Repo, options: &PlanOptions, control: &Control) -> Result<Plan> {
    if host::owns(repo)? {
        plan::make(repo, None, &mut OwnRepo, &|_| Vec::new(), options, control)
    } else {
        plan::plan(repo, options, control)
    }
}

pub(super) struct OwnRepo;

impl RootSource for OwnRepo {
    fn roots(&mut self) -> Result<Vec<Start>> {
        Ok(staged(&Host::read()?).into_iter().collect())
    }

    fn in_use(&mut self) -> Result<Vec<Start>> {
        in_use(&Host::read()?)
    }

    fn outdates(&self, _: &Ref) -> bool {
        false
    }
}

impl Surroundings for OwnRepo {
    fn try_lock(&mut self) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    fn unlock(&mut self) {}

    fn unprotects(&self) -> bool {
        false
    }
}

/// The commits that the running system stands on, and those that it is to stand on after the next boot.
pub(super) fn in_use(host: &Host) -> Result<Vec<Start>> {
    let booted = checkouts::commits_in_use(Path::new("/"), &Listing::default(), host)?;
    let booted = booted.into_iter().map(|commit| start(commit, "the running system"));
    Ok(booted.chain(staged(host)).collect())
}

fn staged(host: &Host) -> Option<Start> {
    host.staged.as_ref().map(|staged| start(staged.commit, "the staged deployment"))
}

fn start(commit: crate::repo::object::Checksum, required_by: &str) -> Start {
    Start { commit, keep: Keep::ALONE, required_by: Some(required_by.into()) }
}
