//! A garbage collector for OSTree repositories and sysroots.
//!
//! Data flows one way:
//!
//! ```text
//! refs, deployments → roots → commits → crawl → live set → verdict → sweep → report
//! ```
//!
//! * [`repo`] reads a repository on disk: objects, refs, settings, the lock.
//! * [`mark`] finds out what is live.
//! * [`sweep`] deletes the rest.
//! * [`prune`](mod@prune) is the one file that knows the order of phases and locks.
//! * [`plan`] keeps the objects to delete, so that they can be swept later without a crawl.
//! * [`view`] measures what holds space: which roots keep an object, and what each of them holds alone.
//! * [`container`] knows how container images are stored, and which of their layers nothing needs.
//! * [`sysroot`] does for a whole sysroot what `ostree admin cleanup` does.
//! * [`control`], [`effort`], [`report`] and [`error`] are inputs and outputs of these steps.
//!
//! Nothing points back, and nothing but `python` knows of Python.

#[cfg(feature = "python")]
mod python;

pub mod container;
pub mod control;
pub mod date;
pub mod effort;
pub mod error;
mod fault;
#[cfg(feature = "test-util")]
pub mod generate;
pub mod holds;
mod libglib;
pub mod mark;
mod pace;
pub mod plan;
pub mod prune;
pub mod pruned;
pub mod repo;
pub mod report;
mod sweep;
pub mod sysroot;
#[cfg(test)]
mod test_repo;
pub mod view;
mod workers;

pub use control::Control;
pub use error::{Error, Result};
