//! The sysroot around a system's repository.
//!
//! A [`cleanup`](fn@cleanup) here is `ostree_sysroot_cleanup`: [`checkouts`] that belong to no deployment go,
//! libostree's own `prepare_cleanup` removes what else belongs to none (boot files, deployment refs), and then
//! [`prune`](crate::prune) takes the place of its prune, with refs at depth 0 and all deployments as roots.

mod checkouts;
mod cleanup;
mod future;
mod host;
mod libostree;
mod own_repo;
mod status;
mod view;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

pub use self::cleanup::{cleanup, CleanupOptions};
pub use self::future::plan;
use self::libostree::Sysroot;
pub use self::own_repo::{plan_repo, prune};
pub use self::status::{status, DeploymentStatus, SysrootStatus};
pub use self::view::{check_policy, usage, why, Place};
use crate::container::layers;
use crate::control::Control;
use crate::error::Result;
use crate::mark::retention::Keep;
use crate::mark::roots::Start;
use crate::mark::RootSource;
use crate::prune::Surroundings;
use crate::repo::refs::Ref;
use crate::repo::Repo;

/// The sysroot that a repository belongs to.
struct Owner<'a> {
    path: &'a Path,
    sysroot: Sysroot,
    dry_run: bool,
    /// Whether the system was booted from it.
    own: bool,
    /// Refs that a real run drops, and so protect nothing in a dry one.
    dropped: HashSet<PathBuf>,
}

impl<'a> Owner<'a> {
    fn new(path: &'a Path, sysroot: Sysroot, dry_run: bool) -> Self {
        Self { path, sysroot, dry_run, own: false, dropped: HashSet::new() }
    }

    /// Refs of container layers that no image and no deployment needs.
    fn unneeded_layers(&mut self, repo: &Repo, control: &Control) -> Result<Vec<Ref>> {
        Ok(layers::find(repo, self, control)?.unneeded)
    }
}

impl RootSource for Owner<'_> {
    fn roots(&mut self) -> Result<Vec<Start>> {
        // libostree reloads only if a timestamp changed; a new object always looks.
        Sysroot::open(self.path)?
            .deployments()?
            .into_iter()
            .map(|(deployment, commit)| {
                Ok(Start { commit, keep: Keep::ALONE, required_by: Some(deployment) })
            })
            .collect()
    }

    fn in_use(&mut self) -> Result<Vec<Start>> {
        if self.own {
            own_repo::in_use()
        } else {
            Ok(Vec::new())
        }
    }

    /// `prepare_cleanup` writes the deployment refs anew; a dry run has to do without.
    fn outdates(&self, reference: &Ref) -> bool {
        self.dry_run && (self.sysroot.rewrites_ref(&reference.path) || self.dropped.contains(&reference.path))
    }
}

impl Surroundings for Owner<'_> {
    fn try_lock(&mut self) -> Result<Option<PathBuf>> {
        Ok((!self.sysroot.try_lock(self.path)?).then(|| self.path.join(libostree::LOCK_FILE)))
    }

    fn unlock(&mut self) {
        self.sysroot.unlock();
    }

    /// Files that are marked in a checkout are marked in the repository: they are the same.
    fn unprotects(&self) -> bool {
        true
    }
}
