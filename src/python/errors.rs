//! From the crate's errors to Python's exceptions, which are Python classes.

use pyo3::exceptions::{PyImportError, PyOSError};
use pyo3::prelude::*;

use super::reports::PruneDict;
use crate::error::Error;

mod raised {
    pyo3::import_exception!(ostree_sweep.errors, OstreeSweepError);
    pyo3::import_exception!(ostree_sweep.errors, NotARepoError);
    pyo3::import_exception!(ostree_sweep.errors, UnsupportedRepoError);
    pyo3::import_exception!(ostree_sweep.errors, CorruptRepoError);
    pyo3::import_exception!(ostree_sweep.errors, UnknownRefError);
    pyo3::import_exception!(ostree_sweep.errors, StalePlanError);
    pyo3::import_exception!(ostree_sweep.errors, LockTimeoutError);
    pyo3::import_exception!(ostree_sweep.errors, OperationCancelled);
}

/// The exception that stands for `error`.
pub(super) fn to_python(py: Python, error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::NotARepo { path, .. } => {
            raised::NotARepoError::new_err((libc::ENOENT, message, path.into_os_string()))
        }
        Error::Unsupported { .. } => raised::UnsupportedRepoError::new_err(message),
        Error::Corrupt { object, .. } => raised::CorruptRepoError::new_err((message, object)),
        Error::Unknown { name, .. } => raised::UnknownRefError::new_err((message, name)),
        Error::StalePlan(reason) => raised::StalePlanError::new_err(reason),
        Error::LockTimeout { path, .. } => {
            raised::LockTimeoutError::new_err((libc::EAGAIN, message, path.into_os_string()))
        }
        Error::Busy(_) => raised::LockTimeoutError::new_err((libc::EAGAIN, message)),
        Error::MissingLibrary(_) => PyImportError::new_err(message),
        Error::Libostree { errno, message } => PyOSError::new_err((errno, message)),
        Error::Cancelled(report) => {
            match report.map(|report| PruneDict::from(*report).into_pyobject(py)).transpose() {
                Ok(report) => raised::OperationCancelled::new_err(report.map(Bound::unbind)),
                Err(error) => error,
            }
        }
        Error::Stopped { error, report } => {
            let raised = to_python(py, *error);
            let attached = PruneDict::from(*report)
                .into_pyobject(py)
                .and_then(|report| raised.value(py).setattr("report", report));
            attached.err().unwrap_or(raised)
        }
        // Built by hand: PyO3's own conversion of an io::Error sets neither errno nor filename. The path as a string,
        // or Python would import pathlib for it.
        Error::Io { path, source } => match source.raw_os_error() {
            Some(errno) => {
                let text = rustix::io::Errno::from_raw_os_error(errno).to_string();
                let text = text.split(" (os error").next().unwrap_or(&text).to_owned();
                PyOSError::new_err((errno, text, path.into_os_string()))
            }
            None => PyOSError::new_err((libc::EIO, source.to_string(), path.into_os_string())),
        },
        Error::Refused(_) | Error::Sysroot(_) | Error::Internal(_) | Error::OutOfTime => {
            raised::OstreeSweepError::new_err(message)
        }
    }
}
