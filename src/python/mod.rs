//! The Python extension module `ostree_sweep._core`: arguments in, plain data out.

mod effort;
mod errors;
mod reports;
mod supervise;

use pyo3::prelude::*;

// A free-threaded Python takes the GIL for it: nothing of it is tested without.
#[pymodule(gil_used = true)]
#[allow(clippy::needless_pass_by_value)] // Arguments from Python are ours.
mod _core {
    use std::path::PathBuf;

    use pyo3::exceptions::PyValueError;
    use pyo3::prelude::*;

    use super::effort::EffortDict;
    use super::errors::to_python;
    use super::reports::{PlanDict, PolicyCheckDict, PruneDict, StatusDict, UsageDict, WhyDict};
    use super::supervise::{supervise, Callbacks};
    use crate::control::Control;
    use crate::error::Error;
    use crate::mark::keep::Keep;
    use crate::mark::retention::{Policy, RefOptions, Retention};
    use crate::plan::PlanOptions;
    use crate::prune::{announce_deletion, PlanUse, PruneOptions};
    use crate::pruned::Observer;
    use crate::repo::abbreviation::Abbreviation;
    use crate::repo::object::{Checksum, ObjectName, ObjectType};
    use crate::repo::Repo;
    use crate::sweep::Limits;
    use crate::sysroot::{CleanupOptions, Place};
    use crate::view::ViewOptions;

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    // Why a run stopped, as its report says it.
    #[pymodule_export]
    const FREED_ENOUGH: &str = crate::sweep::limits::FREED_ENOUGH;
    #[pymodule_export]
    const FREE_ENOUGH: &str = crate::sweep::limits::FREE_ENOUGH;
    #[pymodule_export]
    const OUT_OF_TIME: &str = crate::error::OUT_OF_TIME;

    /// How much to keep of a history: `(depth, since)`, the depth -1 for all, the time in seconds since 1970.
    type KeepTuple = (i64, Option<u64>);

    /// The rules of a policy, each with whether it may match no ref, and its default.
    type PolicyTuple = (Vec<(String, KeepTuple, bool)>, Option<KeepTuple>);

    /// What to keep, from a dictionary.
    #[derive(FromPyObject)]
    #[pyo3(from_item_all)]
    #[allow(clippy::struct_excessive_bools)] // As the caller's options are.
    struct RetentionDict {
        refs_only: bool,
        depth: i64,
        commit_only: bool,
        keep_younger_than: Option<u64>,
        retain_branch_depth: Vec<(String, i64)>,
        only_branches: Vec<String>,
        exclude_refs: Vec<String>,
        strict: bool,
        policy: Option<PolicyTuple>,
        protected: Vec<String>,
        ignore_missing_commits: bool,
        unreferenced_since: Option<u64>,
    }

    /// A date as text, or in seconds since 1970.
    #[derive(FromPyObject)]
    enum Date {
        Text(String),
        Seconds(u64),
    }

    #[pyfunction]
    #[pyo3(signature = (
        repo, *, retention, delete_commit, deltas_of, stale_tmp, leftovers, max_freed, free_until, dry_run, effort,
        callbacks
    ))]
    #[allow(clippy::too_many_arguments)]
    fn prune(
        py: Python,
        repo: PathBuf,
        retention: RetentionDict,
        delete_commit: Option<String>,
        deltas_of: Option<String>,
        stale_tmp: bool,
        leftovers: bool,
        max_freed: Option<u64>,
        free_until: Option<u64>,
        dry_run: bool,
        effort: EffortDict,
        callbacks: Callbacks,
    ) -> PyResult<PruneDict> {
        let deleted = delete_commit.as_deref().map(parse_commit).transpose()?;
        let deltas_of = deltas_of.as_deref().map(parse_commit).transpose()?;
        let (retention, protected) = retention.parse()?;
        let report = supervise(py, &callbacks, &effort.parse()?, |effort, control, observer| {
            let repo = Repo::open(&repo)?;
            let commit_of = |named: Option<Abbreviation>| named.map(|named| named.commit(&repo)).transpose();
            let deltas_of = commit_of(deltas_of)?;
            let deleted = commit_of(deleted)?;
            let retention = Retention { deleted, protected: commits(&protected, &repo)?, ..retention };
            let options = PruneOptions {
                retention: &retention,
                dry_run,
                effort,
                limits: Limits { max_freed, free_until },
                stale_tmp,
                leftovers,
                deltas_of,
                observer,
                plan: None,
            };
            let repo = announce_deletion(repo, &retention, dry_run, control)?;
            crate::sysroot::prune(&repo, &options, control)
        })?;
        Ok(report.into())
    }

    #[pyfunction]
    #[pyo3(signature = (repo, *, retention, effort, callbacks))]
    fn plan_repo(
        py: Python,
        repo: PathBuf,
        retention: RetentionDict,
        effort: EffortDict,
        callbacks: Callbacks,
    ) -> PyResult<Plan> {
        let (retention, protected) = retention.parse()?;
        let work = |effort, control: &Control, _: Option<Observer>| {
            let repo = Repo::open(&repo)?;
            let retention = Retention { protected: commits(&protected, &repo)?, ..retention };
            let options = PlanOptions { retention: &retention, effort };
            crate::sysroot::plan_repo(&repo, &options, control)
        };
        supervise(py, &callbacks, &effort.parse()?, work).map(Plan)
    }

    #[pyfunction]
    #[pyo3(signature = (sysroot, *, effort, callbacks))]
    fn plan_sysroot(
        py: Python,
        sysroot: PathBuf,
        effort: EffortDict,
        callbacks: Callbacks,
    ) -> PyResult<Plan> {
        let work = |effort, control: &Control, _: Option<Observer>| {
            let options = PlanOptions { retention: &Retention::default(), effort };
            crate::sysroot::plan(&sysroot, &options, control)
        };
        supervise(py, &callbacks, &effort.parse()?, work).map(Plan)
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

        fn check(&self, py: Python, repo: PathBuf) -> PyResult<()> {
            let result = py.detach(|| self.0.check_repo(&Repo::open(&repo)?));
            result.map_err(|error| to_python(py, error))
        }

        fn summary(&self) -> PlanDict {
            self.0.header().into()
        }

        fn names(&self) -> Vec<String> {
            self.0.names().map(|name| name.to_string()).collect()
        }
    }

    #[pyfunction]
    #[pyo3(signature = (repo, *, plan, max_freed, free_until, dry_run, effort, callbacks))]
    #[allow(clippy::too_many_arguments)]
    fn apply(
        py: Python,
        repo: PathBuf,
        plan: Bound<Plan>,
        max_freed: Option<u64>,
        free_until: Option<u64>,
        dry_run: bool,
        effort: EffortDict,
        callbacks: Callbacks,
    ) -> PyResult<PruneDict> {
        let plan = PlanUse { plan: &plan.get().0, must_cover: false };
        let report = supervise(py, &callbacks, &effort.parse()?, |effort, control, _| {
            let options = PruneOptions {
                retention: &Retention::default(),
                dry_run,
                effort,
                limits: Limits { max_freed, free_until },
                stale_tmp: false,
                leftovers: false,
                deltas_of: None,
                observer: None,
                plan: Some(plan),
            };
            crate::sysroot::prune(&Repo::open(&repo)?, &options, control)
        })?;
        Ok(report.into())
    }

    #[pyfunction]
    fn parse_date(date: Date) -> PyResult<u64> {
        match date {
            Date::Text(text) => crate::date::parse_past(&text),
            Date::Seconds(seconds) => {
                crate::date::check_past(seconds).map_err(|text| format!("@{seconds} is {text}"))
            }
        }
        .map_err(PyValueError::new_err)
    }

    #[pyfunction]
    #[pyo3(signature = (sysroot, *, plan, must_cover, own_plans, container_layers, max_freed, free_until, dry_run, effort, callbacks))]
    #[allow(clippy::too_many_arguments)]
    fn cleanup(
        py: Python,
        sysroot: PathBuf,
        plan: Option<Bound<Plan>>,
        must_cover: bool,
        own_plans: Vec<PathBuf>,
        container_layers: bool,
        max_freed: Option<u64>,
        free_until: Option<u64>,
        dry_run: bool,
        effort: EffortDict,
        callbacks: Callbacks,
    ) -> PyResult<PruneDict> {
        let plan = plan.as_ref().map(|plan| PlanUse { plan: &plan.get().0, must_cover });
        let report = supervise(py, &callbacks, &effort.parse()?, |effort, control, observer| {
            let own_plans = &own_plans;
            let limits = Limits { max_freed, free_until };
            let options =
                CleanupOptions { dry_run, effort, limits, observer, container_layers, plan, own_plans };
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
    #[pyo3(signature = (path, *, is_sysroot, depth, effort, callbacks))]
    fn usage(
        py: Python,
        path: PathBuf,
        is_sysroot: bool,
        depth: i64,
        effort: EffortDict,
        callbacks: Callbacks,
    ) -> PyResult<UsageDict> {
        let depth = parse_depth(depth)?;
        let place = if is_sysroot { Place::Sysroot(&path) } else { Place::Repo(&path) };
        let work = |effort, control: &Control, _: Option<Observer>| {
            crate::sysroot::usage(
                place,
                ViewOptions { depth, ignore_missing_commits: false, effort },
                control,
            )
        };
        Ok(supervise(py, &callbacks, &effort.parse()?, work)?.into())
    }

    #[pyfunction]
    #[pyo3(signature = (path, *, name, is_sysroot, depth, effort, callbacks))]
    fn why(
        py: Python,
        path: PathBuf,
        name: String,
        is_sysroot: bool,
        depth: i64,
        effort: EffortDict,
        callbacks: Callbacks,
    ) -> PyResult<WhyDict> {
        let depth = parse_depth(depth)?;
        let place = if is_sysroot { Place::Sysroot(&path) } else { Place::Repo(&path) };
        let work = |effort, control: &Control, _: Option<Observer>| {
            crate::sysroot::why(
                place,
                &name,
                ViewOptions { depth, ignore_missing_commits: false, effort },
                control,
            )
        };
        Ok(supervise(py, &callbacks, &effort.parse()?, work)?.into())
    }

    #[pyfunction]
    #[pyo3(signature = (repo, *, retention, effort, callbacks))]
    fn check_policy(
        py: Python,
        repo: PathBuf,
        retention: RetentionDict,
        effort: EffortDict,
        callbacks: Callbacks,
    ) -> PyResult<PolicyCheckDict> {
        let (retention, _) = retention.parse()?;
        let work = |effort, control: &Control, _: Option<Observer>| {
            crate::sysroot::check_policy(&repo, &retention, effort, control)
        };
        Ok(supervise(py, &callbacks, &effort.parse()?, work)?.into())
    }

    #[pyfunction]
    fn format_size(py: Python, size: u64) -> PyResult<String> {
        crate::libglib::format_size(size).map_err(|error| to_python(py, error))
    }

    impl RetentionDict {
        /// What to keep, but for the commits that are protected: which these are only the repository knows.
        fn parse(self) -> PyResult<(Retention, Vec<Abbreviation>)> {
            let depths = self.retain_branch_depth.into_iter();
            let policy = self.policy.map(|(rules, default)| {
                let rules =
                    rules.into_iter().map(|(name, keep, optional)| Ok((name, parse_keep(keep)?, optional)));
                PyResult::Ok(Policy {
                    rules: rules.collect::<PyResult<_>>()?,
                    default: default.map(parse_keep).transpose()?,
                })
            });
            let options = RefOptions {
                refs_only: self.refs_only,
                depth: parse_depth(self.depth)?,
                keep_younger_than: self.keep_younger_than,
                retain_branch_depth: depths
                    .map(|(name, depth)| Ok((name, parse_depth(depth)?)))
                    .collect::<PyResult<_>>()?,
                only_branches: self.only_branches,
                exclude_refs: self.exclude_refs,
                strict: self.strict,
                policy: policy.transpose()?,
            };
            let protected = self.protected.iter().map(|commit| parse_commit(commit));
            let retention = Retention {
                commit_only: self.commit_only,
                unreferenced_since: self.unreferenced_since,
                ignore_missing_commits: self.ignore_missing_commits,
                ..options.retention()
            };
            Ok((retention, protected.collect::<PyResult<_>>()?))
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

    fn parse_depth(depth: i64) -> PyResult<Option<u32>> {
        Ok(parse_keep((depth, None))?.depth)
    }

    fn parse_commit(text: &str) -> PyResult<Abbreviation> {
        let invalid = || format!("'{text}' is not the checksum of a commit, nor the beginning of one");
        Abbreviation::parse(text).ok_or_else(|| PyValueError::new_err(invalid()))
    }

    fn commits(named: &[Abbreviation], repo: &Repo) -> Result<Vec<Checksum>, Error> {
        let protected = |named: &Abbreviation| {
            let commit = named.commit(repo)?;
            if !repo.has(ObjectName::new(commit, ObjectType::Commit))? {
                let message = format!("cannot protect commit {commit}: it is not in the repository");
                return Err(Error::unknown(commit, message));
            }
            Ok(commit)
        };
        named.iter().map(protected).collect()
    }
}
