//! The set of objects that must stay.
//!
//! Commits, dirtrees and dirmetas are held with all 32 bytes: the set is also the crawl's record of what it has
//! visited, and a collision would hide live children. Of a file only six bytes are held, beside the one that is its
//! directory's; a collision there can only keep garbage. Checksums are uniform, so their bytes serve as hash as they
//! are.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;

use crate::repo::object::{Checksum, ObjectName, ObjectType};

/// Checksums of live objects, one shard for each object directory.
#[derive(Debug)]
pub struct LiveSet {
    shards: Vec<RwLock<Shard>>,
}

/// What is held of a file's checksum. Beside ten million live files one garbage file in seven billion is kept for it.
type Fingerprint = [u8; 6];

/// The live objects of one object directory.
#[derive(Debug, Default)]
pub struct Shard {
    commits: HashTable<Checksum>,
    dirtrees: HashTable<Checksum>,
    dirmetas: HashTable<Checksum>,
    files: HashTable<Fingerprint>,
    xattrs: HashTable<Checksum>,
    xattrs_links: HashTable<Checksum>,
}

impl Default for LiveSet {
    fn default() -> Self {
        Self { shards: (0..=u8::MAX).map(|_| RwLock::default()).collect() }
    }
}

impl LiveSet {
    /// Adds an object; true if it is new. A payload link is never live by itself and is not added.
    pub fn insert(&self, object: ObjectName) -> bool {
        let ObjectName { checksum, kind } = object;
        let mut shard = self.write(checksum.directory());
        let full = match kind {
            ObjectType::Commit => &mut shard.commits,
            ObjectType::DirTree => &mut shard.dirtrees,
            ObjectType::DirMeta => &mut shard.dirmetas,
            ObjectType::FileXattrs => &mut shard.xattrs,
            ObjectType::FileXattrsLink => &mut shard.xattrs_links,
            ObjectType::File => {
                let fingerprint = fingerprint(&checksum);
                return insert(&mut shard.files, fingerprint, |other| spread(*other), spread(fingerprint));
            }
            ObjectType::PayloadLink => return false,
        };
        insert(full, checksum, hash, hash(&checksum))
    }

    /// Whether an object is live.
    pub fn contains(&self, object: ObjectName) -> bool {
        self.shard(object.checksum.directory()).contains(object)
    }

    /// Number of live objects.
    pub fn len(&self) -> usize {
        (0..=u8::MAX).map(|directory| self.shard(directory).len()).sum()
    }

    /// Whether nothing is live.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The live objects of one object directory, for many questions in a row.
    pub fn shard(&self, directory: u8) -> RwLockReadGuard<'_, Shard> {
        // A panic elsewhere can't leave a table half changed: `insert` either happens or does not.
        self.shards[usize::from(directory)].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, directory: u8) -> RwLockWriteGuard<'_, Shard> {
        self.shards[usize::from(directory)].write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn len(&self) -> usize {
        let Self { commits, dirtrees, dirmetas, files, xattrs, xattrs_links } = self;
        let full: usize =
            [commits, dirtrees, dirmetas, xattrs, xattrs_links].map(HashTable::len).iter().sum();
        full + files.len()
    }

    /// Whether an object of this directory is live.
    pub fn contains(&self, object: ObjectName) -> bool {
        let ObjectName { checksum, kind } = object;
        let full = match kind {
            ObjectType::Commit => &self.commits,
            ObjectType::DirTree => &self.dirtrees,
            ObjectType::DirMeta => &self.dirmetas,
            ObjectType::FileXattrs => &self.xattrs,
            ObjectType::FileXattrsLink => &self.xattrs_links,
            ObjectType::File => {
                let fingerprint = fingerprint(&checksum);
                return self.files.find(spread(fingerprint), |found| *found == fingerprint).is_some();
            }
            ObjectType::PayloadLink => return false,
        };
        full.find(hash(&checksum), |found| *found == checksum).is_some()
    }
}

fn hash(checksum: &Checksum) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&checksum.0[8..16]);
    u64::from_le_bytes(bytes)
}

fn fingerprint(checksum: &Checksum) -> Fingerprint {
    let mut bytes = Fingerprint::default();
    bytes.copy_from_slice(&checksum.0[8..14]);
    bytes
}

/// A table finds its slots by the lowest bits of a hash, and distinguishes their contents by the highest.
fn spread(fingerprint: Fingerprint) -> u64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&fingerprint);
    bytes[6..].copy_from_slice(&fingerprint[4..]);
    u64::from_le_bytes(bytes)
}

fn insert<T: PartialEq>(table: &mut HashTable<T>, value: T, hasher: impl Fn(&T) -> u64, hash: u64) -> bool {
    match table.entry(hash, |found| *found == value, hasher) {
        hashbrown::hash_table::Entry::Occupied(_) => false,
        hashbrown::hash_table::Entry::Vacant(slot) => {
            slot.insert(value);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(byte: u8, last: u8, kind: ObjectType) -> ObjectName {
        let mut bytes = [byte; 32];
        bytes[31] = last;
        ObjectName::new(Checksum(bytes), kind)
    }

    #[test]
    fn types_are_kept_apart() {
        let live = LiveSet::default();
        let commit = name(1, 0, ObjectType::Commit);
        assert!(live.insert(commit));
        assert!(!live.insert(commit));
        assert!(live.contains(commit));
        for other in [ObjectType::DirTree, ObjectType::DirMeta, ObjectType::File, ObjectType::PayloadLink] {
            assert!(!live.contains(name(1, 0, other)));
        }
    }

    /// Two checksums with the same fingerprint: trees stay apart, of files both are kept.
    #[test]
    fn only_files_are_held_by_fingerprint() {
        let live = LiveSet::default();
        for kind in [ObjectType::Commit, ObjectType::DirTree, ObjectType::DirMeta] {
            assert!(live.insert(name(2, 0, kind)));
            assert!(!live.contains(name(2, 1, kind)));
            assert!(live.insert(name(2, 1, kind)));
        }
        assert!(live.insert(name(2, 0, ObjectType::File)));
        assert!(live.contains(name(2, 1, ObjectType::File)));
    }
}
