//! The Python extension module `ostree_sweep._core`: arguments in, plain data out.

mod errors;
mod reports;
mod supervise;

use pyo3::prelude::*;

#[pymodule]
#[allow(clippy::needless_pass_by_value)] // Arguments from Python are ours.
mod _core {
    use std::collections::HashMap;
    use std::num::NonZeroUsize;
    use std::path::PathBuf;
    use std::time::Duration;

    use pyo3::exceptions::PyValueError;
    use pyo3::prelude::*;

    use super::reports::{PruneDict, StatusDict};
    use super::supervise::{supervise, Callbacks};
    use crate::mark::retention::{Keep, Retention};
    use crate::prune::{announce_deletion, PruneOptions};
    use crate::repo::config::LockTimeout;
    use crate::repo::object::Checksum;
    use crate::repo::Repo;
    use crate::sysroot::CleanupOptions;
    use crate::workers::Impact;

    /// There are no more object directories than this to work on at a time.
    const MAX_JOBS: usize = 256;

    /// How much to keep of a history: `(depth, since)`, the depth -1 for all, the time in seconds since 1970.
    type KeepTuple = (i64, Option<u64>);

    #[pyfunction]
    #[pyo3(signature = (
        repo, *, refs_only, commit_only, keep, keep_by_ref, required_refs, protected, unreferenced_since, delete_commit, deltas_of,
        max_freed, dry_run, jobs, impact, lock_timeout_s, names, cancelled, progress
    ))]
    #[allow(clippy::too_many_arguments)]
    fn prune(
        py: Python,
        repo: PathBuf,
        refs_only: bool,
        commit_only: bool,
        keep: Option<KeepTuple>,
        keep_by_ref: HashMap<String, KeepTuple>,
        required_refs: Vec<String>,
        protected: Vec<String>,
        unreferenced_since: Option<u64>,
        delete_commit: Option<String>,
        deltas_of: Option<String>,
        max_freed: Option<u64>,
        dry_run: bool,
        jobs: Option<usize>,
        impact: &str,
        lock_timeout_s: Option<f64>,
        names: Option<Py<PyAny>>,
        cancelled: Option<Py<PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<PruneDict> {
        let retention = Retention {
            refs_only,
            commit_only,
            default: keep.map(parse_keep).transpose()?,
            by_ref: keep_by_ref
                .into_iter()
                .map(|(name, keep)| Ok((name, parse_keep(keep)?)))
                .collect::<PyResult<_>>()?,
            required: required_refs,
            protected: protected.iter().map(|commit| parse_checksum(commit)).collect::<PyResult<_>>()?,
            unreferenced_since,
            deleted: delete_commit.as_deref().map(parse_checksum).transpose()?,
        };
        let deltas_of = deltas_of.as_deref().map(parse_checksum).transpose()?;
        let (jobs, impact, lock_timeout) =
            (parse_jobs(jobs)?, parse_impact(impact)?, parse_timeout(lock_timeout_s)?);
        let report =
            supervise(py, &Callbacks { cancelled, progress, names }, impact, |control, observer| {
                let options = PruneOptions {
                    retention: &retention,
                    dry_run,
                    jobs,
                    impact,
                    lock_timeout,
                    max_freed,
                    deltas_of,
                    observer,
                };
                let repo = announce_deletion(Repo::open(&repo)?, &retention, control)?;
                crate::sysroot::prune(&repo, &options, control)
            })?;
        Ok(report.into())
    }

    #[pyfunction]
    fn parse_date(text: &str) -> PyResult<u64> {
        let unparsable = || PyValueError::new_err(format!("Could not parse '{text}'"));
        let date = parse_datetime::parse_datetime(text).map_err(|_| unparsable())?;
        u64::try_from(date.unix_epoch_second()).map_err(|_| unparsable())
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

    fn parse_keep((depth, since): KeepTuple) -> PyResult<Keep> {
        let depth = match depth {
            -1 => None,
            _ => Some(
                u32::try_from(depth)
                    .map_err(|_| PyValueError::new_err(format!("depth must be -1 or more, not {depth}")))?,
            ),
        };
        Ok(Keep { depth, since })
    }

    fn parse_checksum(text: &str) -> PyResult<Checksum> {
        Checksum::from_hex(text.as_bytes())
            .ok_or_else(|| PyValueError::new_err(format!("'{text}' is not the checksum of a commit")))
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
