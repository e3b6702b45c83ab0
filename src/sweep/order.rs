//! In which order objects are deleted, and which of them by several threads at once.
//!
//! What takes time is to free inodes. ext4 and xfs keep them in blocks of 16 to 64, and a transaction's objects lie in
//! neighbouring ones, but in all object directories: gone through by directory, a block is changed as often as it has
//! inodes; by inode, all at once. xfs lets only one thread at a time free inodes in an allocation group: two that try
//! are slower than one. btrfs, which has inode and name in one tree, and others are best gone through by directory.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::process::{getrlimit, Resource};

use crate::repo::directory::Directory;
use crate::repo::file_system::FileSystem;
use crate::repo::object::ObjectName;

/// Directories that are gone through together, unless they have many candidates. Each takes a file descriptor, of which
/// the process may need others: so it is a sixteenth of what it may have at most.
const TOGETHER: u64 = 64;
const SHARE: u64 = 16;

/// So many candidates are enough in any case, which take 6 MiB.
const MANY: usize = 1 << 17;

/// So many are enough to begin with.
const PLENTY: usize = 1 << 14;

/// What one thread takes at a time, where it is not a directory or an allocation group.
const PORTION: usize = 4096;

/// In what order a file system's files are best deleted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    /// One directory after the other, as listed.
    Directories,
    /// By inode.
    Inodes,
    /// By inode, and one thread in each allocation group. An inode's number is its group's, and so many more bits.
    AllocationGroups { bits: u32 },
}

/// Candidates of directories that are gone through together.
#[derive(Default)]
pub(super) struct Gathered {
    directories: BTreeMap<u8, Directory>,
    /// With their inodes, as far as they are known: what a plan names goes by name, and on xfs by one thread.
    candidates: Vec<(u64, ObjectName)>,
}

/// Candidates that one thread goes through.
pub(super) struct Chunk {
    /// The directories that they are in.
    pub directories: Arc<BTreeMap<u8, Directory>>,
    /// The next one last.
    pub candidates: Vec<ObjectName>,
    /// Where nobody else may work at the same time.
    pub region: Option<u64>,
    /// So many directories are done when this is.
    pub weight: u64,
}

impl Order {
    /// The one for the file system that `directory` is on.
    pub fn of(directory: impl AsFd) -> Self {
        match FileSystem::of(&directory) {
            FileSystem::Ext4 => Self::Inodes,
            // If it can't be told, it is all one group.
            FileSystem::Xfs => {
                Self::AllocationGroups { bits: xfs::inode_bits(directory).unwrap_or(u64::BITS) }
            }
            FileSystem::Other => Self::Directories,
        }
    }

    /// Whether it is time to put in order what was gathered.
    pub fn is_enough(self, gathered: &Gathered) -> bool {
        let most = match self {
            Self::Directories => 1,
            _ => most_open(),
        };
        gathered.directories.len() as u64 >= most || gathered.candidates.len() >= MANY
    }

    /// Puts in order what was gathered; the first chunk last.
    pub fn chunks(self, gathered: Gathered) -> Vec<Chunk> {
        let Gathered { directories, mut candidates } = gathered;
        let region = |inode: u64| match self {
            Self::AllocationGroups { bits } => Some(inode.checked_shr(bits).unwrap_or(0)),
            Self::Directories | Self::Inodes => None,
        };
        let parts: Vec<&[(u64, ObjectName)]> = match self {
            Self::Directories => vec![&candidates],
            Self::Inodes => {
                candidates.sort_unstable();
                candidates.chunks(PORTION).collect()
            }
            Self::AllocationGroups { .. } => {
                candidates.sort_unstable();
                candidates.chunk_by(|(a, _), (b, _)| region(*a) == region(*b)).collect()
            }
        };
        let directories = Arc::new(directories);
        let done_before = |part: usize| (directories.len() * part / parts.len()) as u64;
        let chunks = parts.iter().enumerate().map(|(index, part)| Chunk {
            directories: Arc::clone(&directories),
            candidates: part.iter().rev().map(|(_, object)| *object).collect(),
            region: part.first().and_then(|(inode, _)| region(*inode)),
            weight: done_before(index + 1) - done_before(index),
        });
        chunks.rev().collect()
    }
}

/// Whether candidates are enough for a slice.
pub(super) fn is_plenty(chunks: &[Chunk]) -> bool {
    let directories = |chunk: &Chunk| chunk.directories.len() as u64;
    // Those that follow each other may have theirs in common.
    let together = chunks.chunk_by(|one, next| Arc::ptr_eq(&one.directories, &next.directories));
    let open: u64 = together.filter_map(|chunks| chunks.first().map(directories)).sum();
    let candidates: usize = chunks.iter().map(|chunk| chunk.candidates.len()).sum();
    candidates >= PLENTY || open > 0 && open >= most_open()
}

/// How many directories may be open at a time.
fn most_open() -> u64 {
    getrlimit(Resource::Nofile).current.map_or(TOGETHER, |limit| TOGETHER.min(limit / SHARE))
}

impl Gathered {
    /// Adds a directory's candidates, each with its inode, or zero.
    pub fn add(&mut self, number: u8, directory: Directory, mut candidates: Vec<(u64, ObjectName)>) {
        self.directories.insert(number, directory);
        self.candidates.append(&mut candidates);
    }

    pub fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }
}

mod xfs {
    use std::os::fd::AsFd;

    use rustix::ioctl::{ioctl, opcode, Getter};

    /// `struct xfs_fsop_geom_v1` of `xfs_fs.h`.
    #[repr(C)]
    struct Geometry {
        block_size: u32,
        _realtime_extent_size: u32,
        blocks_in_group: u32,
        _groups_and_log: [u32; 3],
        inode_size: u32,
        _others: [u32; 1],
        _sizes: [u64; 4],
        _uuid: [u8; 16],
        _units_and_sizes: [u32; 7],
    }

    /// `XFS_IOC_FSGEOMETRY_V1`.
    const GEOMETRY: rustix::ioctl::Opcode = opcode::read::<Geometry>(b'X', 100);

    /// How many bits number the inodes in one allocation group, as `sb_agblklog` and `sb_inopblog` say.
    pub fn inode_bits(directory: impl AsFd) -> Option<u32> {
        #[allow(unsafe_code)]
        // SAFETY: the kernel fills this structure, of which every content is valid, and nothing else.
        let geometry = unsafe { ioctl(directory, Getter::<GEOMETRY, Geometry>::new()) }.ok()?;
        let in_group = geometry.blocks_in_group.checked_next_power_of_two()?;
        let in_block = geometry.block_size.checked_div(geometry.inode_size)?;
        Some(in_group.ilog2() + in_block.checked_ilog2()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::object::{Checksum, ObjectType};

    const GROUP: u32 = 20;

    fn root() -> Directory {
        Directory::at(std::path::Path::new("/")).unwrap()
    }

    /// Objects of ten directories, whose inodes go to and fro over three allocation groups.
    fn gathered() -> Gathered {
        let mut gathered = Gathered::default();
        for number in 0..10u8 {
            let object = |at: u16| {
                let mut checksum = [number; 32];
                checksum[1..3].copy_from_slice(&at.to_be_bytes());
                ObjectName::new(Checksum(checksum), ObjectType::File)
            };
            let inode = |at: u16| (u64::from(at % 3) << GROUP) + u64::from(at) * 10 + u64::from(number);
            gathered.add(number, root(), (0..1000).map(|at| (inode(at), object(at))).collect());
        }
        gathered
    }

    #[test]
    fn each_candidate_is_in_one_portion_and_neighbours_stay_together() {
        for order in [Order::Directories, Order::Inodes, Order::AllocationGroups { bits: GROUP }] {
            let mut expected = gathered().candidates;
            if !matches!(order, Order::Directories) {
                expected.sort_unstable();
            }
            let mut found = Vec::new();
            let chunks = order.chunks(gathered());
            assert_eq!(chunks.iter().map(|chunk| chunk.weight).sum::<u64>(), 10);
            for chunk in chunks.into_iter().rev() {
                assert!(!chunk.candidates.is_empty());
                found.extend(chunk.candidates.into_iter().rev());
            }
            assert_eq!(
                found,
                expected.into_iter().map(|(_, object)| object).collect::<Vec<_>>(),
                "{order:?}"
            );
        }
    }

    #[test]
    fn an_allocation_group_is_one_threads_and_elsewhere_all_can_help() {
        let regions =
            |order: Order| order.chunks(gathered()).iter().map(|chunk| chunk.region).collect::<Vec<_>>();
        assert_eq!(regions(Order::AllocationGroups { bits: GROUP }), [Some(2), Some(1), Some(0)]);
        assert_eq!(regions(Order::AllocationGroups { bits: u64::BITS }), [Some(0)]);
        assert_eq!(regions(Order::Inodes), [None; 10_000_usize.div_ceil(PORTION)]);
    }

    #[test]
    fn other_file_systems_are_gone_through_by_directory() {
        let proc =
            rustix::fs::open("/proc", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        assert!(matches!(Order::of(&proc), Order::Directories));
    }
}
