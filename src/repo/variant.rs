//! The bytes of commits, dirtrees and dirmetas.
//!
//! The formats are those of `ostree-core.h`: `OSTREE_COMMIT_GVARIANT_FORMAT`, `OSTREE_TREE_GVARIANT_FORMAT`,
//! `OSTREE_DIRMETA_GVARIANT_FORMAT`. A serialised `GVariant` that is not in normal form reads as default values,
//! an array as empty: children would be hidden, and deleted. So every piece must lie exactly where normal form
//! puts it, or the object counts as malformed.

use gvariant::aligned_bytes::{copy_to_align, AlignedSlice, AsAligned, A8};
use gvariant::{gv, Marker, Structure};

use super::object::Checksum;
use crate::libglib::{Type, Variant};

/// Why an object can't be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What a crawl needs of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The commit before it.
    pub parent: Option<Checksum>,
    /// When it was made, in seconds since 1970.
    pub timestamp: u64,
    /// The root directory.
    pub root_tree: Checksum,
    /// The root directory's metadata.
    pub root_meta: Checksum,
}

/// What a dirtree lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// A file.
    File(Checksum),
    /// A directory: its content and its metadata.
    Directory(Checksum, Checksum),
}

/// Decodes a commit.
pub fn commit(bytes: &[u8]) -> Result<Commit, Malformed> {
    end_of_commit(bytes, bytes.len())
}

/// Decodes the last bytes of a commit that has `length`: all that follow its metadata.
pub(crate) fn end_of_commit(bytes: &[u8], length: usize) -> Result<Commit, Malformed> {
    let malformed = Malformed("commit is not in normal form");
    let framing = Framing::of(length).ok_or(malformed)?;
    let missing = length.checked_sub(bytes.len()).ok_or(malformed)?;
    let part = |from: usize, to: usize| {
        from.checked_sub(missing).zip(to.checked_sub(missing)).and_then(|(from, to)| bytes.get(from..to))
    };
    let mut ends = [0; Framing::COUNT];
    for (child, end) in ends.iter_mut().enumerate() {
        let (from, to) = framing.place(child);
        *end = part(from, to).and_then(number).ok_or(malformed)?;
    }
    let [before_parent, parent, related, subject, body, tree] = ends;
    let timestamp = body.checked_next_multiple_of(TIMESTAMP).ok_or(malformed)?;
    let is_text = |from, to| part(from, to).is_some_and(|text| text.last() == Some(&0));
    if parent > related || !is_text(related, subject) || !is_text(subject, body) {
        return Err(malformed);
    }
    let parent = part(before_parent, parent).ok_or(malformed)?;
    let time = part(timestamp, timestamp.saturating_add(TIMESTAMP)).and_then(|time| time.try_into().ok());
    Ok(Commit {
        parent: if parent.is_empty() { None } else { Some(checksum(parent)?) },
        timestamp: u64::from_be_bytes(time.ok_or(malformed)?),
        root_tree: checksum(part(timestamp + TIMESTAMP, tree).ok_or(malformed)?)?,
        root_meta: checksum(part(tree, framing.start).ok_or(malformed)?)?,
    })
}

/// Where the metadata of a commit ends that has `length` and these last bytes, [`LAST`] of them or all.
pub(crate) fn end_of_metadata(last: &[u8], length: usize) -> Option<usize> {
    let (from, to) = Framing::of(length)?.place(0);
    let missing = length.checked_sub(last.len())?;
    number(last.get(from.checked_sub(missing)?..to.checked_sub(missing)?)?).filter(|end| *end <= length)
}

/// So many of a commit's last bytes say where its metadata ends.
pub(crate) const LAST: usize = 8;

/// The size and the alignment of a timestamp.
const TIMESTAMP: usize = 8;

/// The framing offsets of a commit: where each of its children ends, but for the timestamp and the last one. They are its
/// last bytes, those of the first child behind all others.
struct Framing {
    start: usize,
    width: usize,
}

impl Framing {
    const COUNT: usize = 6;

    /// None where a commit is too short for them.
    fn of(length: usize) -> Option<Self> {
        let width = [1, 2, 4].into_iter().find(|width| length < 1 << (8 * width)).unwrap_or(8);
        Some(Self { start: length.checked_sub(Self::COUNT * width)?, width })
    }

    /// Begin and end of an offset.
    fn place(&self, child: usize) -> (usize, usize) {
        let from = self.start + (Self::COUNT - 1 - child) * self.width;
        (from, from + self.width)
    }
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> Option<usize> {
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    usize::try_from(u64::from_le_bytes(wide)).ok()
}

/// How many names of a commit's own are taken, and how many bytes of each: anybody may write millions into a commit.
const MAX_NAMES: usize = 16;
const MAX_NAME: usize = 256;

/// The refs that a commit was made for, from its metadata `ostree.ref-binding`: the first [`MAX_NAMES`], none if it does
/// not say.
pub fn ref_binding(bytes: &[u8]) -> crate::Result<Vec<String>> {
    let Some(names) = metadata(bytes, "ostree.ref-binding")?.filter(|value| value.is(Type::TEXTS)) else {
        return Ok(Vec::new());
    };
    let names = (0..names.len()).take(MAX_NAMES).filter_map(|index| names.child(index));
    Ok(names.filter_map(|name| name.text().map(shortened)).collect())
}

/// What people call the version of a commit's tree, from its metadata `version`.
pub fn version(bytes: &[u8]) -> crate::Result<Option<String>> {
    Ok(metadata(bytes, "version")?.and_then(|value| value.text().map(shortened)))
}

/// The manifest of the container image that a commit was made from, from its metadata `ostree.manifest`.
pub fn image_manifest(bytes: &[u8]) -> crate::Result<Option<String>> {
    Ok(metadata(bytes, "ostree.manifest")?.and_then(|value| value.text().map(str::to_owned)))
}

/// A value of a commit's metadata, if the commit is in normal form.
fn metadata(bytes: &[u8], key: &str) -> crate::Result<Option<Variant>> {
    let commit = Variant::parse(bytes, Type::COMMIT)?;
    Ok(commit.and_then(|commit| commit.child(0)?.lookup(key)))
}

/// A name for people, cut where it is too long.
fn shortened(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let end = (0..=MAX_NAME).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
    format!("{}…", &name[..end])
}

/// Decodes a dirtree and hands each child to `each`, with its name.
pub fn dirtree(bytes: &[u8], mut each: impl FnMut(&[u8], Child)) -> Result<(), Malformed> {
    let (files, directories) = gv!("(a(say)a(sayay))").cast(bytes.as_aligned()).to_tuple();
    let mut walk = NormalForm { bytes, at: 0 };

    for file in files {
        let (name, content) = file.to_tuple();
        let start = walk.at;
        walk.name(name)?;
        let child = Child::File(walk.checksum(content)?);
        each(name.as_bytes_non_conformant(), child);
        walk.framing(start, 1);
    }
    walk.framing(0, files.len());

    let start_of_directories = walk.at;
    for directory in directories {
        let (name, tree, meta) = directory.to_tuple();
        let start = walk.at;
        walk.name(name)?;
        let child = Child::Directory(walk.checksum(tree)?, walk.checksum(meta)?);
        each(name.as_bytes_non_conformant(), child);
        walk.framing(start, 2);
    }
    walk.framing(start_of_directories, directories.len());
    let end_of_directories = walk.at;
    walk.framing(0, 1);

    // Without files their array has no place to be compared, only its end, which is the last framing offset.
    let last_offset = bytes.get(end_of_directories..).unwrap_or_default();
    let expected = start_of_directories.to_le_bytes();
    if walk.at == bytes.len() && last_offset == &expected[..last_offset.len().min(expected.len())] {
        Ok(())
    } else {
        Err(NOT_NORMAL)
    }
}

/// Checks that `bytes` can be a dirmeta: owner, group and mode are there.
pub fn dirmeta(bytes: &[u8]) -> Result<(), Malformed> {
    /// Bits of `st_mode` that say what a file is, and their value for a directory.
    const FORMAT: u32 = 0o170_000;
    const DIRECTORY: u32 = 0o040_000;
    let aligned = copy_to_align::<A8>(bytes);
    let data: &AlignedSlice<A8> = &aligned;
    let (_, _, mode, _) = gv!("(uuua(ayay))").cast(data.as_aligned()).to_tuple();
    if u32::from_be(*mode) & FORMAT == DIRECTORY {
        Ok(())
    } else {
        Err(Malformed("dirmeta does not describe a directory"))
    }
}

const NOT_NORMAL: Malformed = Malformed("dirtree is not in normal form");

fn checksum(bytes: &[u8]) -> Result<Checksum, Malformed> {
    Checksum::from_bytes(bytes).ok_or(Malformed("a checksum is not 32 bytes long"))
}

/// Where `part` starts in `whole`; None where it lies outside.
fn offset_in(whole: &[u8], part: &[u8]) -> Option<usize> {
    let offset = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (offset + part.len() <= whole.len()).then_some(offset)
}

/// Walks along the only serialisation that normal form allows for what was read.
struct NormalForm<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl NormalForm<'_> {
    fn name(&mut self, name: &gvariant::Str) -> Result<(), Malformed> {
        let name = name.as_bytes_non_conformant();
        if name.is_empty() || name == b"." || name == b".." || name.iter().any(|b| matches!(b, b'/' | 0)) {
            return Err(Malformed("dirtree holds an invalid file name"));
        }
        self.here(name)?;
        self.at += name.len() + 1;
        Ok(())
    }

    fn checksum(&mut self, bytes: &[u8]) -> Result<Checksum, Malformed> {
        self.here(bytes)?;
        self.at += bytes.len();
        checksum(bytes)
    }

    fn here(&self, part: &[u8]) -> Result<(), Malformed> {
        if offset_in(self.bytes, part) == Some(self.at) {
            Ok(())
        } else {
            Err(NOT_NORMAL)
        }
    }

    /// Steps over the `count` framing offsets that end the container which began at `start`. Each is as wide as
    /// the container's whole length needs, its offsets included.
    fn framing(&mut self, start: usize, count: usize) {
        let content = self.at - start;
        let width =
            [1, 2, 4].into_iter().find(|width| content + count * width < 1 << (8 * width)).unwrap_or(8);
        self.at += count * width;
    }
}

#[cfg(test)]
mod tests {
    use glib::prelude::*;
    use glib::{Bytes, Variant, VariantTy};

    use super::{
        commit, dirmeta, dirtree, end_of_commit, end_of_metadata, Checksum, Child, Commit, Malformed, LAST,
    };

    /// GLib's own serialiser makes the samples.
    fn tree(files: &[(&str, u8)], directories: &[(&str, u8, u8)]) -> Vec<u8> {
        let sum = |byte: u8| vec![byte; 32];
        let files: Vec<_> = files.iter().map(|(name, f)| ((*name).to_owned(), sum(*f))).collect();
        let directories: Vec<_> =
            directories.iter().map(|(name, t, m)| ((*name).to_owned(), sum(*t), sum(*m))).collect();
        (files, directories).to_variant().data().to_vec()
    }

    fn children(bytes: &[u8]) -> Result<Vec<Child>, Malformed> {
        let mut found = Vec::new();
        dirtree(bytes, |_, child| found.push(child))?;
        Ok(found)
    }

    #[test]
    fn a_dirtree_gives_its_children() {
        let bytes = tree(&[("a", 1), ("b", 2)], &[("c", 3, 4)]);
        let sum = |byte| Checksum([byte; 32]);
        assert_eq!(
            children(&bytes),
            Ok(vec![Child::File(sum(1)), Child::File(sum(2)), Child::Directory(sum(3), sum(4))])
        );
        assert_eq!(children(&tree(&[], &[])), Ok(vec![]));
    }

    #[test]
    fn framing_offsets_of_every_width_are_understood() {
        for count in [1, 5, 6, 7, 8, 200, 2000, 5000] {
            let names: Vec<_> = (0..count).map(|i| format!("{i:0>20}")).collect();
            let files: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
            let directories: Vec<_> = names.iter().map(|name| (name.as_str(), 1, 2)).collect();
            assert_eq!(children(&tree(&files, &directories)).unwrap().len(), 2 * count, "{count}");
        }
        let long = "n".repeat(70_000);
        assert_eq!(children(&tree(&[(&long, 1)], &[])).unwrap().len(), 1);
    }

    /// Whatever is cut off or changed in its framing, no child disappears unseen.
    #[test]
    fn a_damaged_dirtree_never_reads_as_a_smaller_one() {
        let bytes = tree(&[("a", 1), ("b", 2)], &[("c", 3, 4), ("d", 5, 6)]);
        for length in 0..bytes.len() {
            assert!(children(&bytes[..length]).is_err(), "cut to {length}");
        }
        for position in 0..bytes.len() {
            for value in 0..=255 {
                let mut damaged = bytes.clone();
                damaged[position] = value;
                if let Ok(found) = children(&damaged) {
                    assert_eq!(found.len(), 4, "byte {position} set to {value}");
                }
            }
        }
    }

    fn commit_with(version: &str, parent: &[u8]) -> Vec<u8> {
        commit_of(version, parent, &[8; 32], &[9; 32])
    }

    fn commit_bytes(parent: &[u8], tree: &[u8], meta: &[u8]) -> Vec<u8> {
        commit_of("1", parent, tree, meta)
    }

    fn commit_of(version: &str, parent: &[u8], tree: &[u8], meta: &[u8]) -> Vec<u8> {
        let metadata = glib::VariantDict::new(None);
        metadata.insert("version", version);
        let related: Vec<(String, Vec<u8>)> = Vec::new();
        let value = Variant::tuple_from_iter([
            metadata.end(),
            parent.to_vec().to_variant(),
            related.to_variant(),
            "subject".to_variant(),
            "body".to_variant(),
            1_u64.to_be().to_variant(),
            tree.to_vec().to_variant(),
            meta.to_vec().to_variant(),
        ]);
        assert_eq!(value.type_().as_str(), "(a{sv}aya(say)sstayay)");
        value.data().to_vec()
    }

    #[test]
    fn a_commit_gives_its_parent_and_root() {
        let sum = |byte| Checksum([byte; 32]);
        let decoded = commit(&commit_bytes(&[7; 32], &[8; 32], &[9; 32])).unwrap();
        assert_eq!(
            decoded,
            Commit { parent: Some(sum(7)), timestamp: 1, root_tree: sum(8), root_meta: sum(9) }
        );
        assert_eq!(commit(&commit_bytes(&[], &[8; 32], &[9; 32])).unwrap().parent, None);
        assert!(commit(&commit_bytes(&[7; 31], &[8; 32], &[9; 32])).is_err());
    }

    /// However wide the framing offsets are.
    #[test]
    fn the_end_of_a_commit_is_enough() {
        for size in [0, 10, 100, 300, 70_000] {
            let bytes = commit_with(&"x".repeat(size), &[7; 32]);
            let end = end_of_metadata(&bytes[bytes.len() - LAST..], bytes.len()).unwrap();
            assert!(end >= size && end < bytes.len());
            assert_eq!(end_of_commit(&bytes[end..], bytes.len()).unwrap(), commit(&bytes).unwrap());
            for missing in [end + 1, bytes.len()] {
                assert!(end_of_commit(&bytes[missing..], bytes.len()).is_err());
            }
        }
    }

    #[test]
    fn a_commit_cut_short_is_malformed() {
        let bytes = commit_bytes(&[7; 32], &[8; 32], &[9; 32]);
        for length in 0..bytes.len() {
            let cut = commit(&bytes[..length]);
            assert!(cut.is_err() || cut.unwrap().parent.is_some(), "cut to {length}");
        }
    }

    #[test]
    fn a_dirmeta_is_that_of_a_directory() {
        let meta = |mode: u32| {
            let xattrs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            (0_u32, 0_u32, mode.to_be(), xattrs).to_variant().data().to_vec()
        };
        assert_eq!(dirmeta(&meta(0o040_755)), Ok(()));
        assert!(dirmeta(&meta(0o100_644)).is_err());
        assert!(dirmeta(b"").is_err());
        assert!(dirmeta(&[0; 5]).is_err());
    }

    /// The crate that decodes agrees with GLib on what it decodes.
    #[test]
    fn a_value_read_by_glib_reads_the_same_here() {
        let bytes = tree(&[("x", 9)], &[]);
        let ty = VariantTy::new("(a(say)a(sayay))").unwrap();
        let value = Variant::from_bytes_with_type(&Bytes::from(&bytes), ty);
        assert!(value.is_normal_form());
        assert_eq!(value.child_value(0).n_children(), 1);
        assert_eq!(children(&bytes).unwrap().len(), 1);
    }
}
