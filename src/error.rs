//! The one error type of the crate.

use std::io;
use std::path::{Path, PathBuf};

use crate::report::{Cause, PruneReport};

/// Why a run stopped at the end of its time budget.
pub const OUT_OF_TIME: &str = "the time budget is used up";

/// What can stop a run. Nothing more is deleted after one of these was raised.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path holds no OSTree repository.
    #[error("opening repo: {}: {reason}", .path.display())]
    NotARepo {
        /// The path that was given.
        path: PathBuf,
        /// What is missing there.
        reason: String,
    },
    /// The repository's configuration asks for something this version does not know.
    #[error("{}: {reason}", .path.display())]
    Unsupported {
        /// The repository's configuration file.
        path: PathBuf,
        /// The setting and its value.
        reason: String,
    },
    /// Reachable data is missing or can't be decoded.
    #[error("{object}: {reason}")]
    Corrupt {
        /// An object's name (`CHECKSUM.TYPE`) or a ref's.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The options ask for what can't be done with what is there.
    #[error("{0}")]
    Refused(String),
    /// The caller named a ref or an object that the repository hasn't.
    #[error("{message}")]
    Unknown {
        /// The name, as it was given.
        name: String,
        /// What is said of it.
        message: String,
    },
    /// A plan can't be used: it was made for other circumstances, or can't be trusted.
    #[error("plan: {0}")]
    StalePlan(String),
    /// A lock stayed busy for as long as we were told to wait.
    #[error("cannot lock {}: still locked after {waited_s:.1} s", .path.display())]
    LockTimeout {
        /// The lock file.
        path: PathBuf,
        /// How long we waited, in seconds.
        waited_s: f64,
    },
    /// libostree found a lock busy for as long as the repository's settings have it wait.
    #[error("{0}")]
    Busy(String),
    /// The caller cancelled the run; the report says what was done before.
    #[error("Operation was cancelled")]
    Cancelled(Option<Box<PruneReport>>),
    /// The run was stopped by `error`, after it had done what the report says.
    #[error("{error}")]
    Stopped {
        /// What stopped it.
        error: Box<Error>,
        /// What was done before.
        report: Box<PruneReport>,
    },
    /// The time that the run was given is over.
    #[error("{}", OUT_OF_TIME)]
    OutOfTime,
    /// A system call failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory it failed on.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A fault of this crate's own, or of a decoder it uses.
    #[error("internal error: {0}")]
    Internal(String),
    /// libostree met an error of the kernel's, and did not say on which file.
    #[error("{message}")]
    Libostree {
        /// The kernel's number.
        errno: i32,
        /// libostree's message.
        message: String,
    },
    /// The host lacks a library that is needed now, or has one that is too old.
    #[error("{0}")]
    MissingLibrary(String),
    /// libostree reported an error on the sysroot.
    #[error("{0}")]
    Sysroot(String),
}

/// Shorthand used in the whole crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An input/output error on `path`.
    pub fn io(path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source: source.into() }
    }

    /// This error, which came after `done`, besides what it says itself was done.
    pub(crate) fn after(self, done: PruneReport) -> Self {
        let is_cancelled = matches!(self, Error::Cancelled(_));
        let (error, rest) = self.split();
        let mut done = match rest {
            Some(rest) => done.followed_by(rest),
            None => done,
        };
        let reason = if is_cancelled { "it was cancelled" } else { "an error stopped it" };
        done.unfinished = Some(reason.into());
        if is_cancelled {
            Error::Cancelled(Some(Box::new(done)))
        } else if done.changed_nothing() {
            error
        } else {
            Error::Stopped { error: Box::new(error), report: Box::new(done) }
        }
    }

    /// The error alone, and the report of what was done before it.
    pub(crate) fn split(self) -> (Self, Option<PruneReport>) {
        match self {
            Error::Cancelled(report) => (Error::Cancelled(None), report.map(|report| *report)),
            Error::Stopped { error, report } => (*error, Some(*report)),
            other => (other, None),
        }
    }

    /// What the caller named `name` is not there.
    pub fn unknown(name: impl std::fmt::Display, message: impl Into<String>) -> Self {
        Self::Unknown { name: name.to_string(), message: message.into() }
    }

    /// Reachable data named `object` is unusable.
    pub fn corrupt(object: impl std::fmt::Display, reason: impl Into<String>) -> Self {
        Self::Corrupt { object: object.to_string(), reason: reason.into() }
    }
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        let errno = match &error {
            Error::Io { source, .. } => source.raw_os_error(),
            _ => None,
        };
        Self::new(error.to_string(), errno)
    }
}
