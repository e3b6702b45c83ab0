//! The sysroot around a system's repository.
//!
//! A [`cleanup`](fn@cleanup) here is `ostree_sysroot_cleanup`: [`leftovers`] that belong to no deployment go, which are
//! [`checkouts`] and [`boot`] files, libostree writes the deployment refs anew, and then [`prune`](crate::prune) takes
//! the place of its prune, with refs at depth 0 and all deployments as roots.

mod boot;
mod checkouts;
mod cleanup;
mod future;
mod host;
mod leftovers;
mod libostree;
mod library;
mod listing;
mod mounts;
mod own_repo;
mod status;
mod undeletable;
mod view;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::cleanup::{cleanup, CleanupOptions};
pub use self::future::plan;
use self::host::Host;
use self::libostree::Sysroot;
pub use self::listing::DeploymentStatus;
use self::listing::Listing;
pub use self::own_repo::{plan_repo, prune};
pub use self::status::{status, SysrootStatus};
pub use self::view::{check_policy, usage, why, Place};
use crate::container::layers;
use crate::control::Control;
use crate::error::Result;
use crate::holds::{Hold, Lockable};
use crate::mark::keep::Keep;
use crate::mark::roots::Start;
use crate::mark::RootSource;
use crate::prune::Surroundings;
use crate::repo::refs::Ref;
use crate::repo::Repo;
use crate::report::Failure;
use crate::sweep::links::Links;

/// The sysroot that a repository belongs to.
struct Owner<'a> {
    path: &'a Path,
    /// What locks it; None if it is only looked at.
    sysroot: Option<Sysroot>,
    /// What the running system has stood on at any time.
    host: Host,
    /// What there was at the last look.
    listing: Listing,
    /// Whether the system was booted from it.
    own: bool,
    /// Refs that a real run drops, and so protect nothing in a dry one.
    dropped: HashSet<PathBuf>,
    /// Names that a real run deletes before it prunes.
    links: Arc<Links>,
    control: &'a Control,
    /// While its lock is held.
    hold: Option<Hold<'a>>,
}

impl<'a> Owner<'a> {
    /// Looks at the sysroot at `path`, to change it if `sysroot` is given.
    fn open(path: &'a Path, sysroot: Option<Sysroot>, control: &'a Control) -> Result<Self> {
        let mut owner = Self::new(path, sysroot, control);
        owner.look()?;
        Ok(owner)
    }

    fn new(path: &'a Path, sysroot: Option<Sysroot>, control: &'a Control) -> Self {
        let (host, listing) = (Host::default(), Listing::default());
        Self {
            path,
            sysroot,
            host,
            listing,
            own: false,
            dropped: HashSet::new(),
            links: Arc::default(),
            control,
            hold: None,
        }
    }

    /// Looks again. The host comes first, as libostree's load may delete what it is known by.
    fn look(&mut self) -> Result<()> {
        self.host.read_again()?;
        self.listing = libostree::list(self.path)?;
        boot::check_mounted(self.path, &self.listing)
    }

    /// Refs of container layers that no image and no deployment needs.
    fn unneeded_layers(&mut self, repo: &Repo, control: &Control) -> Result<Vec<Ref>> {
        Ok(layers::find(repo, self, control)?.unneeded)
    }
}

/// A failure of the repository's as one of the sysroot's.
fn in_repo(failure: Failure) -> Failure {
    Failure { path: Path::new("ostree/repo").join(failure.path), ..failure }
}

impl RootSource for Owner<'_> {
    fn roots(&mut self) -> Result<Vec<Start>> {
        self.look()?;
        let keep = Keep::ALONE;
        let listed = self.listing.named()?.into_iter();
        let listed = listed.map(|(name, commit)| Start { commit, keep, required_by: Some(name) });
        // What a checkout without a deployment is named by need not be a commit.
        let in_use = checkouts::commits_in_use(self.path, &self.listing, &self.host)?.into_iter();
        let in_use = in_use.map(|commit| Start { commit, keep, required_by: None });
        Ok(listed.chain(in_use).collect())
    }

    fn in_use(&mut self) -> Result<Vec<Start>> {
        if self.own {
            own_repo::in_use(&self.host)
        } else {
            Ok(Vec::new())
        }
    }

    /// A cleanup writes the deployment refs anew; a dry run has to do without.
    fn outdates(&self, reference: &Ref) -> bool {
        self.sysroot.is_none()
            && (self.listing.rewrites_ref(&reference.path) || self.dropped.contains(&reference.path))
    }
}

impl Surroundings for Owner<'_> {
    fn try_lock(&mut self) -> Result<Option<PathBuf>> {
        let Some(sysroot) = &self.sysroot else { return Ok(None) };
        if !sysroot.try_lock(self.path)? {
            return Ok(Some(self.path.join(libostree::LOCK_FILE)));
        }
        self.hold = Some(self.control.hold(Lockable::Sysroot));
        Ok(None)
    }

    fn unlock(&mut self) {
        self.sysroot.iter().for_each(Sysroot::unlock);
        self.hold = None;
    }

    /// Files that are marked in a checkout are marked in the repository: they are the same.
    fn unprotects(&self) -> bool {
        true
    }

    fn links(&self) -> Arc<Links> {
        Arc::clone(&self.links)
    }
}
