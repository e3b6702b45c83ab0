//! Where something is mounted.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const MOUNT_INFO: &str = "/proc/self/mountinfo";

/// The mount points that this process sees.
pub(super) struct Mounts(Vec<PathBuf>);

impl Mounts {
    pub fn read() -> Result<Self> {
        let text = std::fs::read(MOUNT_INFO).map_err(|error| Error::io(MOUNT_INFO, error))?;
        let mut points: Vec<_> = text.split(|byte| *byte == b'\n').filter_map(mount_point).collect();
        points.sort_unstable();
        points.dedup();
        Ok(Self(points))
    }

    /// The outermost mount points at or below `item`, both relative to `base`.
    pub fn at_or_below(&self, base: &Path, item: &Path) -> Result<Vec<PathBuf>> {
        let full_path = base.join(item);
        let (Some(parent), Some(name)) = (full_path.parent(), full_path.file_name()) else {
            return Ok(Vec::new());
        };
        let real = match parent.canonicalize() {
            Ok(parent) => parent.join(name),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(parent, error)),
        };
        let mut found: Vec<&Path> = Vec::new();
        for point in self.0.iter().filter(|point| point.starts_with(&real)) {
            // What is mounted below another mount comes after it.
            if !found.last().is_some_and(|outer| point.starts_with(outer)) {
                found.push(point);
            }
        }
        let relative =
            |point: &Path| point.strip_prefix(&real).map_or(item.to_owned(), |rest| join(item, rest));
        Ok(found.into_iter().map(relative).collect())
    }
}

/// Unlike [`Path::join`] adds no slash for nothing.
fn join(item: &Path, rest: &Path) -> PathBuf {
    item.components().chain(rest.components()).collect()
}

/// The fifth field of a line; in it, spaces and the like are written as `\040`.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let mut path = Vec::new();
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                path.push(byte);
                rest = &after[3..];
            }
            _ => {
                path.push(*first);
                rest = after;
            }
        }
    }
    Some(OsString::from_vec(path).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_read_whatever_its_name() {
        let line = b"36 35 98:0 /mnt1 /a\\040b/c\\134d rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line), Some(PathBuf::from("/a b/c\\d")));
        assert_eq!(mount_point(b""), None);
        assert_eq!(mount_point(b"1 2 3 4 /end\\04"), Some(PathBuf::from("/end\\04")));
    }

    #[test]
    fn only_the_outermost_mounts_below_an_item_count() {
        let base = tempfile::tempdir().unwrap();
        let real = base.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("in")).unwrap();
        let mut points: Vec<_> =
            ["in/a", "in/a/b", "in/a b", "in/ab", "in"].iter().map(|point| real.join(point)).collect();
        points.sort_unstable();
        let below = |item: &str, points: &[PathBuf]| {
            Mounts(points.to_vec()).at_or_below(base.path(), Path::new(item)).unwrap()
        };
        assert_eq!(below("in/a", &points), [PathBuf::from("in/a")]);
        assert_eq!(below("in", &points), [PathBuf::from("in")]);
        let mut inner: Vec<_> = ["a", "a/b", "ab"].iter().map(|point| real.join("in").join(point)).collect();
        inner.sort_unstable();
        assert_eq!(below("in", &inner), [PathBuf::from("in/a"), PathBuf::from("in/ab")]);
        assert!(below("in/c", &inner).is_empty());
    }
}
