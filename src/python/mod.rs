//! The Python extension module `ostree_sweep._core`: arguments in, plain data out.

mod errors;
mod reports;
mod supervise;

use pyo3::prelude::*;

#[pymodule]
#[allow(clippy::needless_pass_by_value)] // Arguments from Python are ours.
mod _core {
    use std::num::NonZeroUsize;
    use std::path::PathBuf;
    use std::time::Duration;

    use pyo3::exceptions::PyValueError;
    use pyo3::prelude::*;

    use super::reports::{PruneDict, StatusDict};
    use super::supervise::{supervise, Callbacks};
    use crate::mark::roots::Retention;
    use crate::prune::PruneOptions;
    use crate::repo::config::LockTimeout;
    use crate::repo::Repo;
    use crate::sysroot::CleanupOptions;
    use crate::workers::Impact;

    /// There are no more object directories than this to work on at a time.
    const MAX_JOBS: usize = 256;

    #[pyfunction]
    #[pyo3(signature = (repo, *, refs_only, depth, dry_run, jobs, impact, lock_timeout_s, names, cancelled, progress))]
    #[allow(clippy::too_many_arguments)]
    fn prune(
        py: Python,
        repo: PathBuf,
        refs_only: bool,
        depth: i64,
        dry_run: bool,
        jobs: Option<usize>,
        impact: &str,
        lock_timeout_s: Option<f64>,
        names: Option<Py<PyAny>>,
        cancelled: Option<Py<PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<PruneDict> {
        let retention = Retention { refs_only, depth: parse_depth(depth)? };
        let (jobs, impact, lock_timeout) =
            (parse_jobs(jobs)?, parse_impact(impact)?, parse_timeout(lock_timeout_s)?);
        let report =
            supervise(py, &Callbacks { cancelled, progress, names }, impact, |control, observer| {
                let options = PruneOptions { retention, dry_run, jobs, impact, lock_timeout, observer };
                crate::prune::prune(&Repo::open(&repo)?, &options, control)
            })?;
        Ok(report.into())
    }

    #[pyfunction]
    #[pyo3(signature = (sysroot, *, dry_run, jobs, impact, lock_timeout_s, cancelled, progress))]
    #[allow(clippy::too_many_arguments)]
    fn cleanup(
        py: Python,
        sysroot: PathBuf,
        dry_run: bool,
        jobs: Option<usize>,
        impact: &str,
        lock_timeout_s: Option<f64>,
        cancelled: Option<Py<PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<PruneDict> {
        let (jobs, impact, lock_timeout) =
            (parse_jobs(jobs)?, parse_impact(impact)?, parse_timeout(lock_timeout_s)?);
        let options = CleanupOptions { dry_run, jobs, impact, lock_timeout };
        let callbacks = Callbacks { cancelled, progress, names: None };
        let report = supervise(py, &callbacks, impact, |control, _| {
            crate::sysroot::cleanup(&sysroot, &options, control)
        })?;
        Ok(report.into())
    }

    #[pyfunction]
    fn status(py: Python, sysroot: PathBuf) -> PyResult<StatusDict> {
        let status = py.detach(|| crate::sysroot::status(&sysroot));
        Ok(status.map_err(|error| super::errors::to_python(py, error))?.into())
    }

    #[pyfunction]
    fn format_size(size: u64) -> String {
        glib::format_size(size).into()
    }

    fn parse_depth(depth: i64) -> PyResult<Option<u32>> {
        match depth {
            -1 => Ok(None),
            _ => u32::try_from(depth)
                .map(Some)
                .map_err(|_| PyValueError::new_err(format!("depth must be -1 or more, not {depth}"))),
        }
    }

    fn parse_jobs(jobs: Option<usize>) -> PyResult<Option<NonZeroUsize>> {
        let invalid = || PyValueError::new_err(format!("jobs must be between 1 and {MAX_JOBS}"));
        jobs.map(|jobs| NonZeroUsize::new(jobs).filter(|jobs| jobs.get() <= MAX_JOBS).ok_or_else(invalid))
            .transpose()
    }

    fn parse_impact(impact: &str) -> PyResult<Impact> {
        match impact {
            "idle" => Ok(Impact::Idle),
            "balanced" => Ok(Impact::Balanced),
            "full" => Ok(Impact::Full),
            other => Err(PyValueError::new_err(format!(
                "impact must be 'idle', 'balanced' or 'full', not '{other}'"
            ))),
        }
    }

    fn parse_timeout(seconds: Option<f64>) -> PyResult<Option<LockTimeout>> {
        match seconds {
            None => Ok(None),
            Some(seconds) if seconds < 0.0 => Ok(Some(LockTimeout::Never)),
            Some(seconds) => Duration::try_from_secs_f64(seconds)
                .map(|limit| Some(LockTimeout::After(limit)))
                .map_err(|error| PyValueError::new_err(format!("lock_timeout_s: {error}"))),
        }
    }
}
