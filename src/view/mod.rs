//! What holds space, for people to look at: which roots keep an object, and what each root holds alone.
//!
//! Roots are those of a prune that goes by refs, and of a cleanup: every ref with so much of its history, every
//! deployment. Nothing is written.
//!
//! [`fold`] has one name for refs that people know as one thing, [`graph`] knows all objects and what they lead to, [`usage`](fn@usage) adds up what each root reaches, and
//! [`why`](fn@why) looks for the ways from roots to one object.

mod fold;
mod graph;
mod name;
mod policy;
mod space;
mod usage;
mod why;

use std::collections::BTreeSet;

use crate::container::escape::{image_of, readable};
use crate::control::{Control, Phase};
use crate::effort::Effort;
use crate::error::Result;
use crate::mark::RootSource;
use crate::repo::lock::LockKind;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::refs::{self, Ref};
use crate::repo::Repo;

pub use self::policy::{PolicyCheck, RuledRef};
pub use self::space::Space;
pub use self::usage::{Holder, Usage};
pub use self::why::{Explanation, Place, Way};
pub(crate) use self::{policy::check_policy, usage::usage, why::why};

/// How to look.
#[derive(Debug, Clone, Copy)]
pub struct ViewOptions {
    /// How many generations of parents refs keep; None: all.
    pub depth: Option<u32>,
    /// Go on where a ref's commit is missing.
    pub ignore_missing_commits: bool,
    /// How to go about it.
    pub effort: Effort,
}

/// Looks without a lock, and again if something is missing that others may have deleted meanwhile: after a moment at
/// which nobody deleted, it would be missing once more.
///
/// # Locking
/// The repository's shared lock for that moment.
fn look_until_certain<T>(
    repo: &Repo,
    options: ViewOptions,
    control: &Control,
    mut look: impl FnMut() -> Result<T>,
    missing: impl Fn(&Result<T>) -> BTreeSet<String>,
) -> Result<T> {
    let mut found = look();
    let mut before = missing(&found);
    while !before.is_empty() {
        drop(repo.lock_for_reading(options.effort.lock_timeout).acquire(LockKind::Shared, control)?);
        found = look();
        let now = missing(&found);
        if !now.is_disjoint(&before) {
            break;
        }
        before = now;
    }
    found
}

/// What kind of thing keeps objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RootKind {
    /// A deployment.
    Deployment,
    /// All refs of a remote together.
    Remote,
    /// A container image, with its layers.
    Image,
    /// The container layers that no image and no deployment needs.
    UnneededLayers,
    /// A ref of any other kind.
    Ref,
}

impl RootKind {
    /// The name used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            RootKind::Deployment => "deployment",
            RootKind::Remote => "remote",
            RootKind::Image => "image",
            RootKind::UnneededLayers => "unneeded-layers",
            RootKind::Ref => "ref",
        }
    }
}

/// Something that keeps a commit.
#[derive(Debug)]
struct Root {
    kind: RootKind,
    /// As people know it.
    name: String,
    /// The ref as libostree writes it; None for a deployment.
    spec: Option<String>,
    /// The remote whose ref it is.
    remote: Option<String>,
    commit: Checksum,
    depth: Option<u32>,
}

/// All roots as of now: deployments and the like first, then refs, each by name. And refs that are none, for their
/// commits are missing, if `options` say to ignore that.
fn roots(
    repo: &Repo,
    sources: &mut dyn RootSource,
    options: ViewOptions,
    control: &Control,
) -> Result<(Vec<Root>, Vec<Ref>)> {
    control.enter(Phase::Roots, 0);
    let (mut found, mut dangling) = (Vec::new(), Vec::new());
    let is_missing = |commit| repo.has(ObjectName::new(commit, ObjectType::Commit)).map(|found| !found);
    for start in sources.roots()? {
        if start.required_by.is_none() && is_missing(start.commit)? {
            continue;
        }
        let name = start.required_by.unwrap_or_else(|| "the running system".into());
        let name = name.strip_prefix("deployment ").unwrap_or(&name).to_owned();
        let (commit, depth) = (start.commit, start.keep.depth);
        found.push(Root { kind: RootKind::Deployment, name, spec: None, remote: None, commit, depth });
    }
    let mut refs = refs::list(repo, control)?;
    refs.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    for reference in refs.iter().filter(|reference| !sources.outdates(reference)) {
        if options.ignore_missing_commits && is_missing(reference.target)? {
            dangling.push(reference.clone());
            continue;
        }
        let below = reference.path.strip_prefix("refs/remotes").ok();
        let remote = below.and_then(|below| below.iter().next());
        let spec = reference.spec();
        found.push(Root {
            kind: if image_of(&spec).is_some() { RootKind::Image } else { RootKind::Ref },
            name: readable(&spec).unwrap_or_else(|| spec.clone()),
            spec: Some(spec),
            remote: remote.map(|remote| remote.to_string_lossy().into_owned()),
            commit: reference.target,
            depth: options.depth,
        });
    }
    Ok((found, dangling))
}
