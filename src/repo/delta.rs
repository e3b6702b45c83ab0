//! Names of static deltas.
//!
//! A delta lies in `deltas/XX/YYYY…`, where `XXYYYY…` is `FROM-TO`, or `TO` alone for one from scratch: checksums of
//! commits in base64. The index of all deltas to a commit is `delta-indexes/XX/YYYY….index`.

use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};

use super::object::Checksum;

/// Base64 as libostree uses it in file names: `_` in place of `/`, and no padding.
static BASE64: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_");
    spec.encoding().ok()
});

/// The commit that a delta of this name leads to; None where that is no delta's name.
pub fn target(name: &[u8]) -> Option<Checksum> {
    let to = name.split(|b| *b == b'-').next_back()?;
    Checksum::from_bytes(&BASE64.as_ref()?.decode(to).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_named_by_its_target() {
        // 32 bytes of 0xff, and of zero.
        let (ones, zeros) = (format!("{}8", "_".repeat(42)), "A".repeat(43));
        let target = |name: &str| target(name.as_bytes()).map(|checksum| checksum.0);
        assert_eq!(target(&ones), Some([0xff; 32]));
        assert_eq!(target(&format!("{ones}-{zeros}")), Some([0; 32]));
        for bad in ["", "-", "AA", &format!("{zeros}="), &format!("{zeros}-")] {
            assert_eq!(target(bad), None, "{bad}");
        }
    }
}
