//! Refs that people know as one thing.
//!
//! An image is its merge commit and its layers, each of which has a ref of its own. What flatpak has deployed has a ref
//! `deploy/REF` beside the remote's `REMOTE:REF`. Counted one by one, none of them would hold anything alone.

use std::collections::{HashMap, HashSet};

use super::{Root, RootKind};
use crate::container::escape::layer_of;
use crate::container::layers::Images;
use crate::repo::refs::Ref;

/// Roots that are counted together.
pub(super) struct Group<'a> {
    pub kind: RootKind,
    pub name: String,
    /// The first one is what it is named by.
    pub roots: Vec<&'a Root>,
}

/// Groups `roots`; each is in one group at least, a layer in those of all images that need it.
pub(super) fn fold<'a>(roots: &'a [Root], images: &Images) -> Vec<Group<'a>> {
    let by_spec: HashMap<&str, &Root> =
        roots.iter().filter_map(|root| Some((root.spec.as_deref()?, root))).collect();
    let layers: HashMap<String, &Root> =
        by_spec.iter().filter_map(|(spec, root)| Some((layer_of(spec)?, *root))).collect();
    let unneeded: HashSet<String> = images.unneeded.iter().map(Ref::spec).collect();
    let mut remotes_with: HashMap<&str, usize> = HashMap::new();
    for name in roots.iter().filter_map(name_at_remote) {
        *remotes_with.entry(name).or_default() += 1;
    }
    // Those that are counted with another.
    let mut folded: HashSet<&str> = HashSet::new();
    let mut groups = Vec::new();
    for root in roots {
        let mut members = vec![root];
        for digest in root.spec.iter().filter_map(|spec| images.layers.get(spec)).flatten() {
            members.extend(layers.get(digest.as_str()));
        }
        // If several remotes have it, it can't be told whose is deployed.
        let deployed = name_at_remote(root).filter(|name| remotes_with[name] == 1);
        members.extend(deployed.and_then(|name| by_spec.get(format!("deploy/{name}").as_str())));
        folded.extend(members[1..].iter().filter_map(|member| member.spec.as_deref()));
        groups.push(Group { kind: root.kind, name: root.name.clone(), roots: members });
    }
    let is_unneeded = |root: &Root| root.spec.as_ref().is_some_and(|spec| unneeded.contains(spec));
    groups.retain(|group| {
        let spec = group.roots[0].spec.as_deref();
        !spec.is_some_and(|spec| folded.contains(spec)) && !is_unneeded(group.roots[0])
    });
    let unneeded: Vec<_> = roots.iter().filter(|root| is_unneeded(root)).collect();
    if !unneeded.is_empty() {
        let name = "layers that no image needs".into();
        groups.push(Group { kind: RootKind::UnneededLayers, name, roots: unneeded });
    }
    groups
}

/// The name of a remote's ref there.
fn name_at_remote(root: &Root) -> Option<&str> {
    root.spec.as_deref()?.strip_prefix(root.remote.as_deref()?)?.strip_prefix(':')
}
