//! Container images as ostree-ext, bootc and rpm-ostree store them in a repository.
//!
//! An image is a ref below `ostree/container/image` to a merge commit, each of its layers a ref below
//! `ostree/container/blob` to a commit of its own. The merge commit's metadata holds the image's manifest, which lists
//! the layers. [`escape`] translates the refs' names, [`layers`] finds the layers that nothing needs.

pub mod escape;
pub(crate) mod layers;
