//! Which layers nothing needs.
//!
//! Mirrors `gc_image_layers` of ostree-ext: a layer is needed if a manifest lists it, of an image, or of a commit that
//! a deployment stands on. Differs where that would stop: an image that can't be read is named, and the others are
//! still looked at. It keeps more, too: what the manifest of any deployment lists, the staged one included, and a layer
//! so new that a pull may be under way which will need it.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{statat, AtFlags};
use rustix::io::Errno;
use serde::Deserialize;

use super::escape::{below, layer_of, IMAGES, LAYERS};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::mark::RootSource;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::refs::{self, Ref};
use crate::repo::{variant, Repo};
use crate::report::Failure;

/// A pull writes a layer's ref before the image's; no pull of a layer and those after it takes longer.
const PULLED_WITHIN: Duration = Duration::from_secs(3600);

/// Where ostree-ext looks for commits of deployments and of images that they are made from.
const BASES: [&str; 4] = ["ostree/0", "ostree/1", "rpmostree/base", "ostree/container/baseimage"];

/// The images in a repository.
#[derive(Debug, Default)]
pub(crate) struct Images {
    /// Refs of images, and the digests of the layers that their manifests list.
    pub layers: BTreeMap<String, Vec<String>>,
    /// Refs of layers that no image and no deployment needs.
    pub unneeded: Vec<Ref>,
    /// Refs of images that can't be read, and why: the host's own tool stops at them.
    pub unreadable: Vec<(String, String)>,
}

/// What is read of an image's manifest.
#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

/// Looks for layers that nothing needs among the refs of `repo`; what `sources` have for roots are deployments.
pub(crate) fn find(repo: &Repo, sources: &mut dyn RootSource, control: &Control) -> Result<Images> {
    // Refs first: a deployment made meanwhile is among the roots.
    let mut refs = refs::list(repo, control)?;
    refs.retain(|reference| !sources.outdates(reference));
    let mut images = Images::default();
    let mut needed = HashSet::new();
    let mut bases: HashSet<Checksum> = sources.roots()?.into_iter().map(|start| start.commit).collect();
    for reference in &refs {
        let Some(name) = local_name(reference) else { continue };
        if below(name, IMAGES).is_some() {
            match manifest(repo, reference.target)? {
                Ok(Some(layers)) => {
                    needed.extend(layers.iter().cloned());
                    images.layers.insert(name.to_owned(), layers);
                }
                Ok(None) => images.unreadable.push((name.to_owned(), "its commit has no manifest".into())),
                Err(reason) => images.unreadable.push((name.to_owned(), reason)),
            }
        } else if BASES.iter().any(|base| name == *base || below(name, base).is_some()) {
            bases.insert(reference.target);
        }
    }
    for commit in bases {
        match manifest(repo, commit)? {
            Ok(layers) => needed.extend(layers.into_iter().flatten()),
            Err(reason) => images.unreadable.push((commit.to_string(), reason)),
        }
    }
    for reference in refs {
        if digest(&reference).is_some_and(|digest| !needed.contains(&digest)) && !is_new(repo, &reference)? {
            images.unneeded.push(reference);
        }
    }
    Ok(images)
}

/// The layers that the manifest in a commit's metadata lists; None without one. The inner error is for people.
fn manifest(repo: &Repo, commit: Checksum) -> Result<std::result::Result<Option<Vec<String>>, String>> {
    let mut buffer = Vec::new();
    if !repo.read_metadata(ObjectName::new(commit, ObjectType::Commit), &mut buffer)? {
        return Ok(Err(format!("its commit {commit} is missing")));
    }
    Ok(match variant::image_manifest(&buffer)? {
        None => Ok(None),
        Some(text) => match serde_json::from_str::<Manifest>(&text) {
            Ok(manifest) => Ok(Some(manifest.layers.into_iter().map(|layer| layer.digest).collect())),
            Err(error) => Err(format!("the manifest in its commit can't be read: {error}")),
        },
    })
}

/// A ref's name, if it is no remote's.
fn local_name(reference: &Ref) -> Option<&str> {
    reference.path.strip_prefix("refs/heads").ok()?.to_str()
}

/// The digest of the layer that a ref stands for.
pub(crate) fn digest(reference: &Ref) -> Option<String> {
    local_name(reference).and_then(layer_of)
}

fn is_new(repo: &Repo, reference: &Ref) -> Result<bool> {
    let age = match statat(repo.directory(), &reference.path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let written = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
            SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().checked_sub(written)
        }
        Err(Errno::NOENT) => return Ok(true),
        Err(error) => return Err(Error::io(repo.path().join(&reference.path), error)),
    };
    // One from the future is new, too.
    Ok(age.is_none_or(|age| age < PULLED_WITHIN))
}

/// Deletes the refs of layers; returns the digests of those that are gone, and what could not be deleted.
///
/// # Locking
/// To be called with the exclusive lock held. [`sync`] makes it durable, without.
pub(crate) fn remove(repo: &Repo, layers: &[Ref]) -> (Vec<String>, Vec<Failure>) {
    let (mut removed, mut failures) = (Vec::new(), Vec::new());
    for layer in layers {
        match refs::delete(repo, layer) {
            Ok(()) => removed.extend(digest(layer)),
            Err(error) => failures.push(Failure { path: layer.path.clone(), error: error.into() }),
        }
    }
    (removed, failures)
}

/// Makes the deletion of layers' refs durable: a ref that came back after a power cut would lead to a commit that is
/// gone by then.
pub(crate) fn sync(repo: &Repo) -> Result<()> {
    let path = Path::new("refs/heads").join(LAYERS);
    repo.part(&path)?.map_or(Ok(()), |directory| {
        directory.sync().map_err(|error| Error::io(repo.path().join(path), error))
    })
}
