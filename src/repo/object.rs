//! Names of objects and the paths they are stored under.
//!
//! Mirrors `ostree-core.c`: an object is named by a SHA-256 checksum and a type, and a loose object lies in
//! `objects/XX/YYYY….TYPE`, where `XX` are the checksum's first two hexadecimal digits.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::mode::Mode;

/// Length of a checksum in hexadecimal digits.
const HEX_LEN: usize = 64;

/// Length of an object directory's name and the slash behind it.
const DIRECTORY_LEN: usize = 3;

/// What a commit's detached metadata, its tombstone and what flatpak knows of it are called, behind its checksum.
pub(crate) const DETACHED: &str = "commitmeta";
pub(crate) const TOMBSTONE: &str = "tombstone-commit";

/// A SHA-256 checksum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Checksum(pub(crate) [u8; 32]);

impl Checksum {
    /// Reads 64 lower-case hexadecimal digits, the only form libostree accepts.
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        if hex.len() != HEX_LEN {
            return None;
        }
        let mut bytes = [0; 32];
        HEXLOWER.decode_mut(hex, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Takes the 32 bytes as they stand in a commit or dirtree.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// Reads the part of a checksum that a file's name has in object directory `directory`.
    pub(crate) fn from_entry(directory: u8, hex: &[u8]) -> Option<Self> {
        let mut bytes = [directory; 32];
        if hex.len() != HEX_LEN - 2 {
            return None;
        }
        HEXLOWER.decode_mut(hex, &mut bytes[1..]).ok()?;
        Some(Self(bytes))
    }

    /// The name in its object directory of a file that belongs to it.
    pub(crate) fn file_name(&self, suffix: &str) -> String {
        let mut path = loose_path(self, suffix);
        path.drain(..DIRECTORY_LEN);
        path
    }

    /// The number of the object directory it lies in.
    pub(crate) fn directory(&self) -> u8 {
        self.0[0]
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> Self {
        checksum.to_string()
    }
}

impl TryFrom<String> for Checksum {
    type Error = &'static str;
    fn try_from(hex: String) -> Result<Self, Self::Error> {
        Self::from_hex(hex.as_bytes()).ok_or("it is no checksum")
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hex = [0; HEX_LEN];
        HEXLOWER.encode_mut(&self.0, &mut hex);
        f.write_str(std::str::from_utf8(&hex).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The types of object that prune looks at: those that `list_loose_objects_at` lists, and split attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectType {
    /// A commit: its tree, its parent, when and by whom.
    Commit,
    /// A directory: names and checksums of what is in it.
    DirTree,
    /// A directory's owner, mode and extended attributes.
    DirMeta,
    /// A file's content and metadata.
    File,
    /// A link from a payload's checksum to a file that holds it.
    PayloadLink,
    /// Extended attributes, in mode `bare-split-xattrs`.
    FileXattrs,
    /// The extended attributes of the file with the same checksum, in that mode.
    FileXattrsLink,
}

impl ObjectType {
    /// All types.
    pub const ALL: [ObjectType; 7] = [
        ObjectType::Commit,
        ObjectType::DirTree,
        ObjectType::DirMeta,
        ObjectType::File,
        ObjectType::PayloadLink,
        ObjectType::FileXattrs,
        ObjectType::FileXattrsLink,
    ];

    /// The name used in messages, the same in every repository mode.
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectType::Commit => "commit",
            ObjectType::DirTree => "dirtree",
            ObjectType::DirMeta => "dirmeta",
            ObjectType::File => "file",
            ObjectType::PayloadLink => "payload-link",
            ObjectType::FileXattrs => "file-xattrs",
            ObjectType::FileXattrsLink => "file-xattrs-link",
        }
    }

    fn suffix(self, mode: Mode) -> &'static str {
        match self {
            ObjectType::File if mode == Mode::Archive => "filez",
            other => other.as_str(),
        }
    }
}

/// An object's full name; prints as `CHECKSUM.TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The checksum.
    pub checksum: Checksum,
    /// The type.
    pub kind: ObjectType,
}

impl ObjectName {
    /// The name of `checksum` as a `kind`.
    pub fn new(checksum: Checksum, kind: ObjectType) -> Self {
        Self { checksum, kind }
    }

    /// Reads a file's name found in object directory `directory`. None for all that prune must not touch:
    /// detached metadata, tombstones, the other mode's files, anything not written by libostree.
    pub fn from_entry(directory: u8, entry: &[u8], mode: Mode) -> Option<Self> {
        let (hex, suffix) = entry.split_at_checked(HEX_LEN - 2)?;
        let kind = match (suffix, mode) {
            (b".file", Mode::Bare | Mode::BareUser | Mode::BareUserOnly | Mode::BareSplitXattrs)
            | (b".filez", Mode::Archive) => ObjectType::File,
            (b".dirtree", _) => ObjectType::DirTree,
            (b".dirmeta", _) => ObjectType::DirMeta,
            (b".commit", _) => ObjectType::Commit,
            (b".payload-link", _) => ObjectType::PayloadLink,
            (b".file-xattrs", Mode::BareSplitXattrs) => ObjectType::FileXattrs,
            (b".file-xattrs-link", Mode::BareSplitXattrs) => ObjectType::FileXattrsLink,
            _ => return None,
        };
        Checksum::from_entry(directory, hex).map(|checksum| Self::new(checksum, kind))
    }

    /// Reads where a payload link leads: `../XX/YYYY….file`.
    pub fn from_payload_link(target: &[u8]) -> Option<Self> {
        let (directory, entry) = target.strip_prefix(b"../")?.split_at_checked(2)?;
        let hex = entry.strip_prefix(b"/")?.split(|b| *b == b'.').next()?;
        Checksum::from_hex(&[directory, hex].concat()).map(|checksum| Self::new(checksum, ObjectType::File))
    }

    /// The name in its object directory.
    pub(crate) fn file_name(&self, mode: Mode) -> String {
        self.checksum.file_name(self.kind.suffix(mode))
    }

    /// The path below `objects/`.
    pub fn loose_path(&self, mode: Mode) -> String {
        loose_path(&self.checksum, self.kind.suffix(mode))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.checksum, self.kind.as_str())
    }
}

/// The path below `objects/` of a file that belongs to `checksum`.
pub(crate) fn loose_path(checksum: &Checksum, suffix: &str) -> String {
    let mut path = String::with_capacity(HEX_LEN + 2 + suffix.len());
    HEXLOWER.encode_append(&checksum.0[..1], &mut path);
    path.push('/');
    HEXLOWER.encode_append(&checksum.0[1..], &mut path);
    path.push('.');
    path.push_str(suffix);
    path
}

/// The name of object directory number `directory`.
pub(crate) fn directory_name(directory: u8) -> String {
    HEXLOWER.encode(&[directory])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn a_checksum_survives_the_round_trip() {
        assert_eq!(Checksum::from_hex(HEX.as_bytes()).unwrap().to_string(), HEX);
    }

    #[test]
    fn only_64_lower_case_digits_are_a_checksum() {
        for bad in ["", "00", &HEX[1..], &HEX.to_uppercase(), &HEX.replace('a', "g"), &format!("{HEX}0")] {
            assert_eq!(Checksum::from_hex(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn entries_are_read_by_mode() {
        let name = |suffix: &str| format!("{}{suffix}", &HEX[2..]);
        let kind = |suffix: &str, mode| {
            ObjectName::from_entry(0, name(suffix).as_bytes(), mode).map(|object| object.kind)
        };
        for (suffix, bare, archive) in [
            (".file", Some(ObjectType::File), None),
            (".filez", None, Some(ObjectType::File)),
            (".commit", Some(ObjectType::Commit), Some(ObjectType::Commit)),
            (".dirtree", Some(ObjectType::DirTree), Some(ObjectType::DirTree)),
            (".dirmeta", Some(ObjectType::DirMeta), Some(ObjectType::DirMeta)),
            (".payload-link", Some(ObjectType::PayloadLink), Some(ObjectType::PayloadLink)),
            (".commitmeta", None, None),
            (".tombstone-commit", None, None),
            (".file-xattrs", None, None),
            (".dirtree.tmp", None, None),
            ("", None, None),
        ] {
            assert_eq!(kind(suffix, Mode::BareUser), bare, "{suffix}");
            assert_eq!(kind(suffix, Mode::Archive), archive, "{suffix}");
        }
    }

    #[test]
    fn a_payload_link_names_its_file() {
        let target = format!("../{}/{}.file", &HEX[..2], &HEX[2..]);
        let file = ObjectName::from_payload_link(target.as_bytes()).unwrap();
        assert_eq!(file.to_string(), format!("{HEX}.file"));
        for bad in ["", "../", "../ab", "/etc/passwd", &target[1..], &target[..40]] {
            assert_eq!(ObjectName::from_payload_link(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn an_entry_and_its_path_agree() {
        let object = ObjectName::new(Checksum::from_hex(HEX.as_bytes()).unwrap(), ObjectType::File);
        let path = object.loose_path(Mode::Archive);
        assert_eq!(path, format!("00/{}.filez", &HEX[2..]));
        assert_eq!(ObjectName::from_entry(0, &path.as_bytes()[3..], Mode::Archive), Some(object));
    }
}
