//! Tombstones: what a deleted commit leaves behind where `core.tombstone-commits` asks for it, so that who mirrors
//! the repository knows it was deleted on purpose.
//!
//! Mirrors the end of `ostree_repo_delete_object`: an object of type `tombstone-commit`, named by the commit's
//! checksum, that holds a dictionary with that checksum.

use gvariant::{gv, Marker, VariantWrap};

use crate::repo::directory::Directory;
use crate::repo::object::{Checksum, TOMBSTONE};

/// Writes the tombstone of `commit` to its object directory; an older one is replaced by the same.
pub(crate) fn write(directory: &Directory, commit: &Checksum) -> std::io::Result<()> {
    let name = commit.file_name(TOMBSTONE);
    directory.replace(&name, &format!("{name}.ostree-sweep"), &content(commit))
}

fn content(commit: &Checksum) -> Vec<u8> {
    let mut text = commit.to_string().into_bytes();
    text.push(0);
    gv!("a{sv}").serialize_to_vec(&[("commit", VariantWrap(gv!("ay"), text.as_slice()))])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GLib's own serialiser makes the same.
    #[test]
    fn a_tombstone_is_a_dictionary_in_normal_form() {
        let commit = Checksum([0xab; 32]);
        let expected = glib::VariantDict::new(None);
        let text = format!("{commit}\0");
        expected.insert_value("commit", &glib::Variant::array_from_fixed_array(text.as_bytes()));
        assert_eq!(content(&commit), expected.end().data());
    }
}
