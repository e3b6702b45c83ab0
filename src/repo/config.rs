//! The repository's `config` file.
//!
//! It is a `GKeyFile`, and what libostree takes for true, for a group or for a comment is what GLib's parser
//! says; so GLib reads it here too. Mirrors `reload_core_config` in `ostree-repo.c`.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mode::Mode;
use crate::error::{Error, Result};
use crate::libglib::KeyFile;

/// How long to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LockTimeout {
    /// As long as it takes.
    Never,
    /// At most this long; zero tries once.
    After(Duration),
}

impl LockTimeout {
    /// No longer than the default, unless the owner of the setting is trusted.
    pub(crate) fn bounded(self, is_trusted: bool) -> Self {
        match self {
            own if is_trusted => own,
            LockTimeout::Never => LockTimeout::After(DEFAULT_LOCK_TIME),
            LockTimeout::After(time) => LockTimeout::After(time.min(DEFAULT_LOCK_TIME)),
        }
    }
}

/// libostree's default for `core.lock-timeout-secs`.
const DEFAULT_LOCK_TIME: Duration = Duration::from_secs(300);

/// libostree's default for `core.tmp-expiry-secs`: a day.
const DEFAULT_TMP_EXPIRY: u64 = 24 * 60 * 60;

/// The settings that matter to a prune.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `core.mode`.
    pub mode: Mode,
    /// `core.parent`: where objects are looked up that are not here.
    pub parent: Option<PathBuf>,
    /// `core.locking`.
    pub locking: bool,
    /// `core.lock-timeout-secs`.
    pub lock_timeout: LockTimeout,
    /// `core.payload-link-threshold`, in bytes: a link to a live file at least this long is kept.
    pub payload_link_threshold: u64,
    /// `core.tmp-expiry-secs`: what is older goes from `tmp`. Where it is no number, nothing is.
    pub tmp_expiry: u64,
    /// `core.tombstone-commits`: a deleted commit leaves a tombstone.
    pub tombstones: bool,
    /// Names of the remotes configured here.
    pub remotes: BTreeSet<String>,
}

impl Config {
    /// Parses the text of a `config` file; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let unsupported = |reason: String| Error::Unsupported { path: path.to_owned(), reason };
        let file =
            key_file(text)?.map_err(|reason| unsupported(format!("Couldn't parse config file: {reason}")))?;
        let core = Section { file: &file, path };

        match core.value(c"repo_version")?.as_deref() {
            Some("1") => {}
            Some(other) => return Err(unsupported(format!("Invalid repository version '{other}'"))),
            None => return Err(unsupported("core.repo_version is missing".into())),
        }
        let mode = match core.value(c"mode")?.as_deref() {
            None | Some("bare") => Mode::Bare,
            Some("bare-user") => Mode::BareUser,
            Some("bare-user-only") => Mode::BareUserOnly,
            Some("bare-split-xattrs") => Mode::BareSplitXattrs,
            Some("archive" | "archive-z2") => Mode::Archive,
            Some(other) => {
                return Err(unsupported(format!("Invalid mode '{other}' in repository configuration")))
            }
        };
        let lock_timeout = match core.integer(c"lock-timeout-secs")? {
            None => LockTimeout::After(DEFAULT_LOCK_TIME),
            Some(seconds) => u64::try_from(seconds)
                .map_or(LockTimeout::Never, |seconds| LockTimeout::After(Duration::from_secs(seconds))),
        };
        // libostree reads the default of -1 as an unsigned number: no file is that long.
        let payload_link_threshold = match core.integer(c"payload-link-threshold")? {
            Some(bytes) => u64::try_from(bytes).unwrap_or(u64::MAX),
            None => u64::MAX,
        };
        // A negative one libostree reads as a very large one.
        let tmp_expiry = match core.value(c"tmp-expiry-secs")? {
            Some(text) => text.parse().unwrap_or(u64::MAX),
            None => DEFAULT_TMP_EXPIRY,
        };
        Ok(Self {
            mode,
            parent: core.value(c"parent")?.filter(|p| !p.is_empty()).map(PathBuf::from),
            locking: core.boolean(c"locking", true)?,
            lock_timeout,
            payload_link_threshold,
            tmp_expiry,
            tombstones: core.boolean(c"tombstone-commits", false)?,
            remotes: remotes(&file),
        })
    }
}

impl Config {
    /// Whether the same objects are kept and deleted by the one as by the other, in the same way.
    pub(crate) fn decides_as(&self, other: &Self) -> bool {
        let Self { mode, parent, locking, payload_link_threshold, .. } = self;
        *mode == other.mode
            && *parent == other.parent
            && *locking == other.locking
            && *payload_link_threshold == other.payload_link_threshold
    }
}

/// The text of a `config` file with `core.tombstone-commits` switched on.
pub(crate) fn with_tombstones(text: &str, path: &Path) -> Result<String> {
    let unsupported = |reason| Error::Unsupported { path: path.to_owned(), reason };
    let mut file = key_file(text)?.map_err(unsupported)?;
    file.set_boolean(CORE, c"tombstone-commits", true);
    file.to_text().map_err(unsupported)
}

/// Parses a key file; the inner error is for people.
fn key_file(text: &str) -> Result<std::result::Result<KeyFile, String>> {
    // GLib takes text that ends with the first NUL.
    if text.contains('\0') {
        return Ok(Err("it is not text".into()));
    }
    KeyFile::parse(text)
}

/// The names of the remotes that the text of a key file defines; None if it is no key file.
pub(crate) fn remotes_in(text: &str) -> Result<Option<BTreeSet<String>>> {
    Ok(key_file(text)?.ok().map(|file| remotes(&file)))
}

fn remotes(file: &KeyFile) -> BTreeSet<String> {
    file.groups()
        .iter()
        .filter_map(|group| group.strip_prefix("remote \"")?.strip_suffix('"').map(str::to_owned))
        .collect()
}

const CORE: &CStr = c"core";

/// The group `[core]`.
struct Section<'a> {
    file: &'a KeyFile,
    path: &'a Path,
}

impl Section<'_> {
    fn unsupported(&self, key: &CStr, reason: impl std::fmt::Display) -> Error {
        let reason = format!("core.{}: {reason}", key.to_string_lossy());
        Error::Unsupported { path: self.path.to_owned(), reason }
    }

    fn value(&self, key: &CStr) -> Result<Option<String>> {
        self.file.value(CORE, key).map_err(|reason| self.unsupported(key, reason))
    }

    fn boolean(&self, key: &CStr, default: bool) -> Result<bool> {
        let value = self.file.boolean(CORE, key).map_err(|reason| self.unsupported(key, reason))?;
        Ok(value.unwrap_or(default))
    }

    fn integer(&self, key: &CStr) -> Result<Option<i64>> {
        self.value(key)?
            .map(|text| text.parse().map_err(|_| self.unsupported(key, format!("'{text}' is no number"))))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(core: &str) -> Result<Config> {
        Config::parse(&format!("[core]\nrepo_version=1\n{core}"), Path::new("config"))
    }

    #[test]
    fn defaults_are_those_of_libostree() {
        let config = parse("").unwrap();
        assert_eq!(config.mode, Mode::Bare);
        assert_eq!(config.parent, None);
        assert!(config.locking);
        assert_eq!(config.lock_timeout, LockTimeout::After(DEFAULT_LOCK_TIME));
        assert_eq!(config.payload_link_threshold, u64::MAX);
        assert_eq!(config.tmp_expiry, 86400);
    }

    #[test]
    fn an_expiry_that_is_no_number_lets_nothing_expire() {
        for (text, expiry) in [("7", 7), ("0", 0), ("-1", u64::MAX), ("1 day", u64::MAX), ("", u64::MAX)] {
            assert_eq!(parse(&format!("tmp-expiry-secs={text}\n")).unwrap().tmp_expiry, expiry, "{text}");
        }
    }

    #[test]
    fn a_strangers_settings_make_nobody_wait_without_an_end() {
        let after = |seconds| LockTimeout::After(Duration::from_secs(seconds));
        for (set, bounded) in
            [(LockTimeout::Never, after(300)), (after(1 << 40), after(300)), (after(5), after(5))]
        {
            assert_eq!(set.bounded(false), bounded);
            assert_eq!(set.bounded(true), set);
        }
    }

    #[test]
    fn settings_are_read() {
        let config = parse(
            "mode=archive-z2\nparent=/p\nlock-timeout-secs=-1\npayload-link-threshold=10\n[remote \"r\"]\nurl=x\n",
        )
        .unwrap();
        assert_eq!(config.mode, Mode::Archive);
        assert_eq!(config.parent, Some("/p".into()));
        assert_eq!(config.lock_timeout, LockTimeout::Never);
        assert_eq!(config.payload_link_threshold, 10);
        assert_eq!(config.remotes, BTreeSet::from(["r".to_owned()]));
        assert!(!parse("locking=false").unwrap().locking);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in ["mode=wrong", "locking=perhaps", "lock-timeout-secs=soon", "mode", "repo_version=2"] {
            assert!(matches!(parse(bad), Err(Error::Unsupported { .. })), "{bad}");
        }
        for bad in ["", "[core]\nrepo_version=1\0\n"] {
            assert!(
                matches!(Config::parse(bad, Path::new("config")), Err(Error::Unsupported { .. })),
                "{bad}"
            );
        }
    }
}
