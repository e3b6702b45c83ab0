//! A plan as a file.
//!
//! | bytes | |
//! |---|---|
//! | 8 | `OSTSWEEP` |
//! | 4 | version of the format |
//! | 4 | length of the header |
//! | … | header: JSON |
//! | 256 × 4 | number of candidates in each object directory |
//! | 40 each | candidates, sorted by name: checksum without its first byte (31), type (1), number of the set of commits that reach it (2), identity of the file (6) |
//! | 32 | SHA-256 of all before |
//!
//! Numbers are little-endian. Deleting by a plan needs no more trust than deleting by hand, and no less: it must belong
//! to root or to the caller, nobody else may be able to write to it, and a symlink is not followed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{fsync, openat, unlinkat, AtFlags, Mode, OFlags, CWD};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::candidate::{Candidate, Entry};
use super::{Header, Plan, MAX_FILE};
use crate::error::{Error, Result};
use crate::mark::census::DIRECTORIES;
use crate::repo::directory::replace;

const MAGIC: &[u8; 8] = b"OSTSWEEP";
const VERSION: u32 = 1;
const CHECKSUM: usize = 32;

const TRUNCATED: &str = "it is truncated";

impl Plan {
    /// `entries` are sorted by name, with the numbers in `counts` telling how many each directory has.
    fn new(header: Header, counts: &[usize], entries: Vec<Entry>) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        for count in counts {
            end += count;
            starts.push(end);
        }
        Self { header, starts, entries }
    }

    pub(super) fn from_candidates(header: Header, candidates: &[Candidate], sets: &[u16]) -> Self {
        let mut counts = vec![0; DIRECTORIES];
        for candidate in candidates {
            counts[usize::from(candidate.object.checksum.directory())] += 1;
        }
        let entries =
            candidates.iter().zip(sets).map(|(candidate, set)| Entry::new(candidate, *set)).collect();
        Self::new(header, &counts, entries)
    }

    /// Writes it to `path` durably, in place of what was there.
    pub fn write(&self, path: &Path) -> Result<()> {
        let io = |error| Error::io(path, error);
        let name = path.file_name().ok_or_else(|| io(std::io::ErrorKind::IsADirectory.into()))?;
        let mut bytes = Vec::with_capacity(self.entries.len() * Entry::LEN);
        self.encode(&mut bytes).map_err(io)?;
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        let directory = open_parent(path)?;
        // Others may be at the same.
        let mut scratch = name.to_owned();
        scratch.push(format!(".{}", std::process::id()));
        replace(&directory, name, &scratch, Mode::from_raw_mode(0o644), &bytes, |_| Ok(())).map_err(io)?;
        fsync(&directory).map_err(|error| io(error.into()))
    }

    fn encode(&self, out: &mut impl Write) -> std::io::Result<()> {
        let header = serde_json::to_vec(&self.header)?;
        let too_large = |_| std::io::Error::from(std::io::ErrorKind::FileTooLarge);
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&u32::try_from(header.len()).map_err(too_large)?.to_le_bytes())?;
        out.write_all(&header)?;
        for range in self.starts.windows(2) {
            out.write_all(&u32::try_from(range[1] - range[0]).map_err(too_large)?.to_le_bytes())?;
        }
        self.entries.iter().try_for_each(|entry| out.write_all(&entry.encode()))
    }

    /// Reads a plan.
    ///
    /// [`Error::StalePlan`] for a file that is no plan, was changed, or can't be trusted.
    pub fn read(path: &Path) -> Result<Self> {
        let io = |error: std::io::Error| Error::io(path, error);
        let refused = |reason: &str| Error::StalePlan(format!("{}: {reason}", path.display()));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = match openat(CWD, path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::LOOP) => return Err(refused("it is a symlink")),
            Err(error) => return Err(io(error.into())),
        };
        let stat = file.metadata().map_err(io)?;
        if !stat.is_file() {
            return Err(refused("it is not a regular file"));
        }
        if stat.uid() != 0 && stat.uid() != rustix::process::geteuid().as_raw() {
            return Err(refused("it belongs to somebody else"));
        }
        if stat.mode() & 0o022 != 0 {
            return Err(refused("others than its owner can write to it"));
        }
        if stat.size() > MAX_FILE {
            return Err(refused("it is too large"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        Self::decode(&bytes).map_err(refused)
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Self, &'static str> {
        check_format(&mut &*bytes)?;
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(TRUNCATED)?;
        if Sha256::digest(content).as_slice() != checksum {
            return Err("its checksum is wrong: it is truncated or was changed");
        }
        Self::from_content(content)
    }

    /// Decodes what a plan's checksum covers; fails with what is wrong.
    pub fn from_content(content: &[u8]) -> std::result::Result<Self, &'static str> {
        let mut rest = content;
        check_format(&mut rest)?;
        let length = number(&mut rest).ok_or(TRUNCATED)?;
        let header = take(&mut rest, length as usize).ok_or(TRUNCATED)?;
        let header: Header = serde_json::from_slice(header).map_err(|_| "its header can't be read")?;
        let counts: Option<Vec<usize>> =
            (0..DIRECTORIES).map(|_| number(&mut rest).map(|count| count as usize)).collect();
        let counts = counts.ok_or(TRUNCATED)?;
        let (entries, excess) = rest.as_chunks::<{ Entry::LEN }>();
        if !excess.is_empty() || counts.iter().sum::<usize>() != entries.len() {
            return Err("its candidates are not as many as it says");
        }
        let entries: Option<Vec<Entry>> = entries.iter().map(Entry::decode).collect();
        let plan = Self::new(header, &counts, entries.ok_or("it has candidates of an unknown type")?);
        // Searches depend on the order.
        let sorted = (0..=u8::MAX).all(|directory| plan.candidates(directory).is_sorted_by(|a, b| a < b));
        if !sorted || !plan.header.dropped.is_sorted_by(|a, b| a.commit < b.commit) {
            return Err("its candidates are not sorted");
        }
        Ok(plan)
    }
}

/// Removes plans durably, as far as they are there; returns warnings of those that stay. A plan that stays may hide
/// garbage from later runs that go by it, which is no reason to free nothing now.
#[allow(clippy::disallowed_methods)] // Outside of a repository.
pub(crate) fn discard(paths: &[PathBuf]) -> Vec<String> {
    let discard = |path: &PathBuf| match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) => fsync(open_parent(path)?).map_err(|error| Error::io(path, error)),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io(path, error)),
    };
    let failed = paths.iter().filter_map(|path| discard(path).err());
    failed.map(|error| format!("cannot remove the plan: {error}")).collect()
}

fn open_parent(path: &Path) -> Result<OwnedFd> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    openat(CWD, parent, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Error::io(parent, error))
}

/// Takes the magic number and the version.
fn check_format(bytes: &mut &[u8]) -> std::result::Result<(), &'static str> {
    if take(bytes, MAGIC.len()) != Some(MAGIC) {
        return Err("it is not a plan");
    }
    match number(bytes).ok_or(TRUNCATED)? {
        VERSION => Ok(()),
        _ => Err("it is of another version"),
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*taken))
}
