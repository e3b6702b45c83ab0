//! Deleting what is not live.
//!
//! [`verdict`] decides, for dry and real runs alike; [`objects`] goes through the object directories, in the [`order`]
//! that suits the file system; [`commits`] and [`leftovers`] take care of what belongs to a commit: detached metadata, partial marks, static deltas, cached
//! summaries. [`checkout`] removes directory trees, [`extent`] measures what that gives back, [`tmp`] finds what
//! interrupted transactions left, and [`uncollected`] what libostree never deletes.

pub(crate) mod caches;
pub(crate) mod checkout;
pub(crate) mod commits;
pub(crate) mod context;
mod expiry;
pub(crate) mod extent;
pub(crate) mod leftovers;
pub(crate) mod limits;
pub(crate) mod links;
pub(crate) mod objects;
mod order;
mod removal;
mod staging;
pub(crate) mod tmp;
mod tombstone;
pub(crate) mod uncollected;
pub(crate) mod verdict;

pub use self::limits::Limits;
