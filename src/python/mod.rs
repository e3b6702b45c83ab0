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

    use super::errors::to_python;
    use super::reports::{PlanDict, PruneDict, StatusDict, UsageDict, WhyDict};
    use super::supervise::{supervise, Callbacks};
    use crate::control::Control;
    use crate::mark::retention::{Keep, Retention};
    use crate::plan::PlanOptions;
    use crate::prune::{announce_deletion, Observer, PlanUse, PruneOptions};
    use crate::repo::config::LockTimeout;
    use crate::repo::object::Checksum;
    use crate::repo::Repo;
    use crate::sysroot::{CleanupOptions, Place};
    use crate::view::ViewOptions;
    use crate::workers::Impact;

    /// There are no more object directories than this to work on at a time.
    const MAX_JOBS: usize = 256;

    /// How much to keep of a history: `(depth, since)`, the depth -1 for all, the time in seconds since 1970.
    type KeepTuple = (i64, Option<u64>);

    /// What to keep, from a dictionary.
    #[derive(FromPyObject)]
    #[pyo3(from_item_all)]
    struct RetentionDict {
        refs_only: bool,
        commit_only: bool,
        keep: Option<KeepTuple>,
        keep_by_ref: HashMap<String, KeepTuple>,
        required_refs: Vec<String>,
        protected: Vec<String>,
        unreferenced_since: Option<u64>,
    }

    #[pyfunction]
    #[pyo3(signature = (
        repo, *, retention, delete_commit, deltas_of, max_freed, dry_run, jobs, impact, lock_timeout_s,
        lock_slice_s, names, cancelled, progress
    ))]
    #[allow(clippy::too_many_arguments)]
    fn prune(
        py: Python,
        repo: PathBuf,
        retention: RetentionDict,
        delete_commit: Option<String>,
        deltas_of: Option<String>,
        max_freed: Option<u64>,
        dry_run: bool,
        jobs: Option<usize>,
        impact: &str,
        lock_timeout_s: Option<f64>,
        lock_slice_s: f64,
        names: Option<Py<PyAny>>,
        cancelled: Option<Py<PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<PruneDict> {
        let deleted = delete_commit.as_deref().map(parse_checksum).transpose()?;
        let retention = Retention { deleted, ..retention.parse()? };
        let deltas_of = deltas_of.as_deref().map(parse_checksum).transpose()?;
        let (jobs, impact, lock_timeout) =
            (parse_jobs(jobs)?, parse_impact(impact)?, parse_timeout(lock_timeout_s)?);
        let lock_slice = parse_slice(lock_slice_s)?;
        let report =
            supervise(py, &Callbacks { cancelled, progress, names }, impact, |control, observer| {
                let options = PruneOptions {
                    retention: &retention,
                    dry_run,
                    jobs,
                    impact,
                    lock_timeout,
                    lock_slice,
                    max_freed,
                    deltas_of,
                    observer,
                    plan: None,
                };
                let repo = announce_deletion(Repo::open(&repo)?, &retention, control)?;
                crate::sysroot::prune(&repo, &options, control)
            })?;
        Ok(report.into())
    }

    #[pyfunction]
    #[pyo3(signature = (repo, *, retention, jobs, impact, lock_timeout_s, cancelled, progress))]
    #[allow(clippy::too_many_arguments)]
    fn plan_repo(
        py: Python,
        repo: PathBuf,
        retention: RetentionDict,
        jobs: Option<usize>,
        impact: &str,
        lock_timeout_s: Option<f64>,
        cancelled: Option<Py<PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Plan> {
        let retention = retention.parse()?;
        let (jobs, impact, lock_timeout) =
            (parse_jobs(jobs)?, parse_impact(impact)?, parse_timeout(lock_timeout_s)?);
        let options = PlanOptions { retention: &retention, jobs, impact, lock_timeout };
        let callbacks = Callbacks { cancelled, progress, names: None };
        let work = |control: &Control, _: Option<Observer>| {
            crate::sysroot::plan_repo(&Repo::open(&repo)?, &options, control)
        };
        supervise(py, &callbacks, impact, work).map(Plan)
    }

    #[pyfunction]
    #[pyo3(signature = (sysroot, *, jobs, impact, lock_timeout_s, cancelled, progress))]
    fn plan_sysroot(
        py: Python,
        sysroot: PathBuf,
        jobs: Option<usize>,
        impact: &str,
        lock_timeout_s: Option<f64>,
        cancelled: Option<Py<PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Plan> {
        let (jobs, impact, lock_timeout) =
            (parse_jobs(jobs)?, parse_impact(impact)?, parse_timeout(lock_timeout_s)?);
        let options = PlanOptions { retention: &Retention::default(), jobs, impact, lock_timeout };
        let callbacks = Callbacks { cancelled, progress, names: None };
        let work = |control: &Control, _: Option<Observer>| crate::sysroot::plan(&sysroot, &options, control);
        supervise(py, &callbacks, impact, work).map(Plan)
    }

    /// A plan, to be deleted by.
    #[pyclass(frozen)]
    struct Plan(crate::plan::Plan);

    #[pymethods]
    impl Plan {
        #[staticmethod]
        fn read(py: Python, path: PathBuf) -> PyResult<Self> {
            let plan = py.detach(|| crate::plan::Plan::read(&path));
            plan.map(Self).map_err(|error| to_python(py, error))
        }

        fn write(&self, py: Python, path: PathBuf) -> PyResult<()> {
            py.detach(|| self.0.write(&path)).map_err(|error| to_python(py, error))
        }

        fn summary(&self) -> PlanDict {
            self.0.header().into()
        }

        fn names(&self) -> Vec<String> {
            self.0.names().map(|name| name.to_string()).collect()
        }
    }

    #[pyfunction]
    #[pyo3(signature = (
        repo, *, plan, max_freed, time_budget_s, dry_run, jobs, impact, lock_timeout_s, lock_slice_s,
        cancelled, progress
    ))]
    #[allow(clippy::too_many_arguments)]
    fn apply(
        py: Python,
        repo: PathBuf,
        plan: Bound<Plan>,
        max_freed: Option<u64>,
        time_budget_s: Option<f64>,
        dry_run: bool,
        jobs: Option<usize>,
        impact: &str,
        lock_timeout_s: Option<f64>,
        lock_slice_s: f64,
        cancelled: Option<Py<PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<PruneDict> {
        let (jobs, impact, lock_timeout) =
            (parse_jobs(jobs)?, parse_impact(impact)?, parse_timeout(lock_timeout_s)?);
        let (lock_slice, time_budget) = (parse_slice(lock_slice_s)?, parse_budget(time_budget_s)?);
        let options = PruneOptions {
            retention: &Retention::default(),
            dry_run,
            jobs,
            impact,
            lock_timeout,
            lock_slice,
            max_freed,
            deltas_of: None,
            observer: None,
            plan: Some(PlanUse { plan: &plan.get().0, must_cover: false }),
        };
        let callbacks = Callbacks { cancelled, progress, names: None };
        let report = supervise(py, &callbacks, impact, |control, _| {
            if let Some(time) = time_budget {
                control.limit_time(time);
            }
            crate::sysroot::prune(&Repo::open(&repo)?, &options, control)
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
    #[pyo3(signature = (
        sysroot, *, plan, must_cover, max_freed, time_budget_s, dry_run, jobs, impact, lock_timeout_s,
        lock_slice_s, cancelled, progress
    ))]
    #[allow(clippy::too_many_arguments)]
    fn cleanup(
        py: Python,
        sysroot: PathBuf,
        plan: Option<Bound<Plan>>,
        must_cover: bool,
        max_freed: Option<u64>,
        time_budget_s: Option<f64>,
        dry_run: bool,
        jobs: Option<usize>,
        impact: &str,
        lock_timeout_s: Option<f64>,
        lock_slice_s: f64,
        cancelled: Option<Py<PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<PruneDict> {
        let (jobs, impact, lock_timeout) =
            (parse_jobs(jobs)?, parse_impact(impact)?, parse_timeout(lock_timeout_s)?);
        let lock_slice = parse_slice(lock_slice_s)?;
        let time_budget = parse_budget(time_budget_s)?;
        let plan = plan.as_ref().map(|plan| PlanUse { plan: &plan.get().0, must_cover });
        let options = CleanupOptions { dry_run, jobs, impact, lock_timeout, lock_slice, max_freed, plan };
        let callbacks = Callbacks { cancelled, progress, names: None };
        let report = supervise(py, &callbacks, impact, |control, _| {
            if let Some(time) = time_budget {
                control.limit_time(time);
            }
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
    #[pyo3(signature = (path, *, is_sysroot, depth, lock_timeout_s, cancelled, progress))]
    fn usage(
        py: Python,
        path: PathBuf,
        is_sysroot: bool,
        depth: i64,
        lock_timeout_s: Option<f64>,
        cancelled: Option<Py<PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<UsageDict> {
        let options = parse_view(depth, lock_timeout_s)?;
        let place = if is_sysroot { Place::Sysroot(&path) } else { Place::Repo(&path) };
        let callbacks = Callbacks { cancelled, progress, names: None };
        let work = |control: &Control, _: Option<Observer>| crate::sysroot::usage(place, options, control);
        Ok(supervise(py, &callbacks, Impact::Balanced, work)?.into())
    }

    #[pyfunction]
    #[pyo3(signature = (path, *, name, is_sysroot, depth, lock_timeout_s, cancelled, progress))]
    #[allow(clippy::too_many_arguments)]
    fn why(
        py: Python,
        path: PathBuf,
        name: String,
        is_sysroot: bool,
        depth: i64,
        lock_timeout_s: Option<f64>,
        cancelled: Option<Py<PyAny>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<WhyDict> {
        let options = parse_view(depth, lock_timeout_s)?;
        let place = if is_sysroot { Place::Sysroot(&path) } else { Place::Repo(&path) };
        let callbacks = Callbacks { cancelled, progress, names: None };
        let work =
            |control: &Control, _: Option<Observer>| crate::sysroot::why(place, &name, options, control);
        Ok(supervise(py, &callbacks, Impact::Balanced, work)?.into())
    }

    #[pyfunction]
    fn format_size(size: u64) -> String {
        glib::format_size(size).into()
    }

    impl RetentionDict {
        fn parse(self) -> PyResult<Retention> {
            let by_ref = self.keep_by_ref.into_iter().map(|(name, keep)| Ok((name, parse_keep(keep)?)));
            Ok(Retention {
                refs_only: self.refs_only,
                commit_only: self.commit_only,
                default: self.keep.map(parse_keep).transpose()?,
                by_ref: by_ref.collect::<PyResult<_>>()?,
                required: self.required_refs,
                protected: self
                    .protected
                    .iter()
                    .map(|commit| parse_checksum(commit))
                    .collect::<PyResult<_>>()?,
                unreferenced_since: self.unreferenced_since,
                deleted: None,
            })
        }
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

    fn parse_view(depth: i64, lock_timeout_s: Option<f64>) -> PyResult<ViewOptions> {
        let depth = parse_keep((depth, None))?.depth;
        Ok(ViewOptions { depth, lock_timeout: parse_timeout(lock_timeout_s)? })
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

    fn parse_budget(seconds: Option<f64>) -> PyResult<Option<Duration>> {
        let invalid = |error| PyValueError::new_err(format!("time_budget_s: {error}"));
        seconds.map(|seconds| Duration::try_from_secs_f64(seconds).map_err(invalid)).transpose()
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

    fn parse_slice(seconds: f64) -> PyResult<Duration> {
        if seconds.is_finite() && seconds > 0.0 {
            Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
        } else {
            Err(PyValueError::new_err(format!("lock_slice_s must be finite and more than 0, not {seconds}")))
        }
    }
}
