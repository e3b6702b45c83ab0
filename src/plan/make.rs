//! Making a plan.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::candidate::Candidate;
use super::identity::RepoIdentity;
use super::owners::Owners;
use super::{Dropped, Header, Plan, Root, Total, MAX_CANDIDATES, MAX_COMMITS, MAX_HEADER};
use crate::control::{Control, Phase};
use crate::effort::Effort;
use crate::error::{Error, Result};
use crate::mark::census::DIRECTORIES;
use crate::mark::confirm::confirm_shared;
use crate::mark::retention::Retention;
use crate::mark::{Alone, Mark, RootSource};
use crate::pace::Pace;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::{variant, Repo};
use crate::report::TmpTotal;
use crate::sweep::context::{Context, Gone};
use crate::sweep::links::Links;
use crate::sweep::objects::Pass;
use crate::sweep::tmp::forecast;
use crate::sweep::Limits;
use crate::workers::Crew;

/// How a plan is made.
#[derive(Clone, Copy)]
pub struct PlanOptions<'a> {
    /// What to keep.
    pub retention: &'a Retention,
    /// How to go about it.
    pub effort: Effort,
}

/// Plans what pruning a repository that stands alone would delete. Writes nothing.
///
/// # Locking
/// The shared lock, for a moment.
pub fn plan(repo: &Repo, options: &PlanOptions, control: &Control) -> Result<Plan> {
    make(repo, None, &mut Alone, &|_| Vec::new(), options, control)
}

/// As [`plan`](fn@plan), with further roots; `names` has what kept each commit to delete.
pub(crate) fn make(
    repo: &Repo,
    sysroot: Option<&Path>,
    sources: &mut dyn RootSource,
    names: &dyn Fn(Checksum) -> Vec<String>,
    options: &PlanOptions,
    control: &Control,
) -> Result<Plan> {
    let PlanOptions { retention, effort } = *options;
    let pace = Pace::new(&effort, repo.objects(), control);
    let lock = repo.lock_for_reading(effort.lock_timeout);
    let mark = loop {
        let mut mark = Mark::new(repo, retention, Crew::of(&pace), control);
        mark.look_first(sources)?;
        if confirm_shared(&mut mark, sources, &lock, control)? {
            break mark;
        }
    };

    let mut candidates = collect(repo, &mark, Crew::of(&pace), retention.commit_only, control)?;
    candidates.sort_unstable_by_key(|candidate| candidate.object);
    let mut totals: BTreeMap<String, Total> = BTreeMap::new();
    for Candidate { object, size, .. } in &candidates {
        totals.entry(object.kind.as_str().to_owned()).or_default().add(*size);
    }
    let commits: Vec<Checksum> = candidates
        .iter()
        .filter(|candidate| candidate.object.kind == ObjectType::Commit)
        .map(|candidate| candidate.object.checksum)
        .collect();
    within(commits.len(), MAX_COMMITS, "commits to delete")?;
    let owners = Owners::find(repo, mark.live(), &candidates, &commits, control)?;
    let mut dropped: Vec<Dropped> = commits
        .iter()
        .zip(&owners.whole)
        .map(|(commit, whole)| Dropped {
            commit: *commit,
            names: [names(*commit), refs_of(repo, *commit)].concat(),
            alone: Total::default(),
            shared: Total::default(),
            whole: *whole,
        })
        .collect();
    owners.account(&candidates, &mut dropped);

    let tmp = if sysroot.is_some() { forecast(repo, control)?.total() } else { TmpTotal::default() };
    let (history, partial, census) =
        mark.record().ok_or_else(|| Error::Internal("nothing was looked at".into()))?;
    let header = Header {
        made_at: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
        sysroot: sysroot.map(Path::to_owned),
        repo: repo.path().to_owned(),
        roots: mark.named().map(|(name, commit)| Root { name: name.to_owned(), commit }).collect(),
        dropped,
        totals,
        tmp,
        repo_identity: RepoIdentity::of(repo)?,
        retention: retention.clone(),
        history,
        partial,
        census,
        sets: owners.sets,
    };
    let mut size = Size(0);
    serde_json::to_writer(&mut size, &header).map_err(|error| Error::Internal(error.to_string()))?;
    within(size.0, MAX_HEADER, "bytes of names and commits")?;
    control.enter(Phase::Done, 0);
    Ok(Plan::from_candidates(header, &candidates, &owners.set_of))
}

/// All that is not live.
fn collect(
    repo: &Repo,
    mark: &Mark,
    crew: Crew,
    commit_only: bool,
    control: &Control,
) -> Result<Vec<Candidate>> {
    let candidates = Mutex::new(Vec::new());
    let note = |gone: Gone| {
        let Gone::Object(object, seen) = gone else { return };
        if object.kind == ObjectType::Commit && !mark.knows(&object.checksum) {
            // It appeared since, and is not to go.
            return;
        }
        let candidate = Candidate { object, identity: seen.identity(), size: seen.size() };
        let mut candidates = candidates.lock().unwrap_or_else(PoisonError::into_inner);
        if candidates.len() <= MAX_CANDIDATES {
            candidates.push(candidate);
        }
    };
    let context = Context {
        repo,
        control,
        crew,
        dry_run: true,
        limits: Limits::default(),
        deltas_of: None,
        observer: Some(&note),
        plan: None,
        unprotects: false,
        links: &Links::default(),
    };
    control.enter(Phase::Sweep, DIRECTORIES as u64);
    let pass = if commit_only { Pass::over_commits() } else { Pass::over_all() };
    pass.tell(context, mark.live())?;
    let (report, _) = pass.finish();
    if let Some(failure) = report.failures.into_iter().next() {
        return Err(Error::corrupt(failure.path.display(), failure.error.to_string()));
    }
    let candidates = candidates.into_inner().unwrap_or_else(PoisonError::into_inner);
    within(candidates.len(), MAX_CANDIDATES, "objects to delete")?;
    Ok(candidates)
}

/// Fails if a plan would hold more of something than it may.
fn within(count: usize, max: usize, what: &str) -> Result<()> {
    if count <= max {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "cannot make a plan: it would hold more than {max} {what}; prune without a plan"
    )))
}

/// Counts what is written to it.
struct Size(usize);

impl Write for Size {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The refs that a commit was made for, as it says itself.
fn refs_of(repo: &Repo, commit: Checksum) -> Vec<String> {
    let mut buffer = Vec::new();
    match repo.read_metadata(ObjectName::new(commit, ObjectType::Commit), &mut buffer) {
        Ok(true) => variant::ref_binding(&buffer).unwrap_or_default(),
        _ => Vec::new(),
    }
}
