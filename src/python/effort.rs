//! How a run goes about its work, from a dictionary.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::effort::{Effort, Impact};
use crate::repo::config::LockTimeout;

/// There are no more object directories than this to work on at a time.
const MAX_JOBS: usize = 256;

/// `_Effort` in `_core.pyi`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct EffortDict {
    impact: String,
    jobs: Option<i64>,
    unlinks_per_s: Option<i64>,
    time_budget_s: Option<f64>,
    lock_timeout_s: Option<f64>,
    lock_slice_s: f64,
}

impl EffortDict {
    /// The effort, and for how long it is made at most.
    pub fn parse(&self) -> PyResult<(Effort, Option<Duration>)> {
        let effort = Effort {
            jobs: parse_jobs(self.jobs)?,
            unlinks_per_s: parse_rate(self.unlinks_per_s)?,
            lock_timeout: parse_timeout(self.lock_timeout_s)?,
            lock_slice: parse_slice(self.lock_slice_s)?,
            ..Effort::new(parse_impact(&self.impact)?)
        };
        Ok((effort, parse_budget(self.time_budget_s)?))
    }
}

fn parse_jobs(jobs: Option<i64>) -> PyResult<Option<NonZeroUsize>> {
    let invalid = || PyValueError::new_err(format!("jobs must be between 1 and {MAX_JOBS}"));
    let parse = |jobs: i64| NonZeroUsize::new(jobs.try_into().ok()?).filter(|jobs| jobs.get() <= MAX_JOBS);
    jobs.map(|jobs| parse(jobs).ok_or_else(invalid)).transpose()
}

fn parse_impact(impact: &str) -> PyResult<Impact> {
    match impact {
        "idle" => Ok(Impact::Idle),
        "balanced" => Ok(Impact::Balanced),
        "full" => Ok(Impact::Full),
        other => {
            Err(PyValueError::new_err(format!("impact must be 'idle', 'balanced' or 'full', not '{other}'")))
        }
    }
}

fn parse_rate(unlinks_per_s: Option<i64>) -> PyResult<Option<NonZeroU32>> {
    let invalid = || PyValueError::new_err(format!("unlinks_per_s must be between 1 and {}", u32::MAX));
    let parse = |rate: i64| NonZeroU32::new(rate.try_into().ok()?);
    unlinks_per_s.map(|rate| parse(rate).ok_or_else(invalid)).transpose()
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
