//! Tombstones: what a deleted commit leaves behind where `core.tombstone-commits` asks for it, so that who mirrors
//! the repository knows it was deleted on purpose.
//!
//! Mirrors the end of `ostree_repo_delete_object`: an object of type `tombstone-commit`, named by the commit's
//! checksum, that holds a dictionary with that checksum.

use glib::Variant;

use crate::repo::directory::Directory;
use crate::repo::object::{Checksum, TOMBSTONE};

/// Writes the tombstone of `commit` to its object directory; an older one is replaced by the same.
pub(crate) fn write(directory: &Directory, commit: &Checksum) -> std::io::Result<()> {
    let content = glib::VariantDict::new(None);
    let mut text = commit.to_string().into_bytes();
    text.push(0);
    content.insert_value("commit", &Variant::array_from_fixed_array(&text));
    let name = commit.file_name(TOMBSTONE);
    directory.replace(&name, &format!("{name}.ostree-sweep"), content.end().data())
}
