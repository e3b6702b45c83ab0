//! Which boot this is.

use crate::error::{Error, Result};

/// Where the kernel shows it.
const PATH: &str = "/proc/sys/kernel/random/boot_id";

/// The kernel's id of this boot, as a line.
pub(crate) fn boot_id() -> Result<String> {
    std::fs::read_to_string(PATH).map_err(|error| Error::io(PATH, error))
}
