//! Roots besides the repository's own refs.

use super::roots::Start;
use crate::error::Result;
use crate::repo::refs::Ref;

/// Roots besides the repository's own refs.
pub(crate) trait RootSource {
    /// Commits that must stay whatever refs say, as of now.
    fn roots(&mut self) -> Result<Vec<Start>>;

    /// Commits that the running system stands on, as far as that shows without asking for roots.
    fn in_use(&mut self) -> Result<Vec<Start>>;

    /// Whether a ref is about to be deleted by the cleanup that a dry run stands for, and so protects nothing.
    fn outdates(&self, reference: &Ref) -> bool;
}

/// A repository that stands alone.
pub(crate) struct Alone;

impl RootSource for Alone {
    fn roots(&mut self) -> Result<Vec<Start>> {
        Ok(Vec::new())
    }
    fn in_use(&mut self) -> Result<Vec<Start>> {
        Ok(Vec::new())
    }
    fn outdates(&self, _: &Ref) -> bool {
        false
    }
}
