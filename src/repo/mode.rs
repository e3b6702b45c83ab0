//! The modes of a repository.

use serde::{Deserialize, Serialize};

/// How a repository stores files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// As they are, owned by whom they say.
    Bare,
    /// Owner, mode and attributes in an extended attribute.
    BareUser,
    /// Without owner and attributes.
    BareUserOnly,
    /// Extended attributes in objects of their own.
    BareSplitXattrs,
    /// Compressed, for serving.
    Archive,
}
