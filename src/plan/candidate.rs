//! An object that is to go, and what a plan holds of it.

use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::seen::Identity;

/// Something that is to go.
pub(super) struct Candidate {
    pub object: ObjectName,
    pub identity: Identity,
    pub size: u64,
}

/// A candidate, but for its directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    rest: [u8; Entry::REST],
    kind: ObjectType,
    pub set: u16,
    pub identity: Identity,
}

impl Entry {
    const REST: usize = 31;
    pub const LEN: usize = Self::REST + 1 + 2 + Identity::LEN;

    pub fn new(candidate: &Candidate, set: u16) -> Self {
        let Candidate { object: ObjectName { checksum, kind }, identity, .. } = *candidate;
        let mut rest = [0; Self::REST];
        rest.copy_from_slice(&checksum.0[1..]);
        Self { rest, kind, set, identity }
    }

    pub fn name(&self, directory: u8) -> ObjectName {
        let mut checksum = [directory; 32];
        checksum[1..].copy_from_slice(&self.rest);
        ObjectName::new(Checksum(checksum), self.kind)
    }

    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..31].copy_from_slice(&self.rest);
        bytes[31] = self.kind as u8;
        bytes[32..34].copy_from_slice(&self.set.to_le_bytes());
        bytes[34..].copy_from_slice(&self.identity.0);
        bytes
    }

    pub fn decode(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let mut entry = Self {
            rest: [0; Self::REST],
            kind: *ObjectType::ALL.get(usize::from(bytes[31]))?,
            set: u16::from_le_bytes([bytes[32], bytes[33]]),
            identity: Identity([0; Identity::LEN]),
        };
        entry.rest.copy_from_slice(&bytes[..31]);
        entry.identity.0.copy_from_slice(&bytes[34..]);
        Some(entry)
    }
}
