//! Finding out what is live, and keeping that up to date while others write.
//!
//! [`census`] knows which commits there are and notices new ones, [`roots`] follows refs and history to the commits
//! to keep, [`crawl`] reads their dirtrees, and [`live_set`] is the outcome. It only ever grows: what was live once
//! in a run stays for that run.

mod behind;
pub(crate) mod census;
pub(crate) mod crawl;
pub mod live_set;
pub mod pattern;
pub mod retention;
pub mod roots;
pub mod rules;
#[cfg(test)]
mod tests;
mod xattrs;

use std::collections::HashSet;
use std::time::Duration;

pub(crate) use self::behind::Behind;
use self::census::{Census, Record};
use self::crawl::{crawl, read_all};
use self::live_set::LiveSet;
use self::retention::{Keep, Retention};
use self::roots::{History, Root, Start};
use crate::control::{Control, Phase};
use crate::error::{Error, Result};
use crate::fault;
use crate::plan::{Header, Plan};
use crate::repo::config::Mode;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::refs::{self, Ref};
use crate::repo::Repo;
use crate::workers::Crew;

/// How often, and after what time, to look again for objects that a writer may be moving into place.
const RETRIES: u32 = 5;
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Roots besides the repository's own refs.
pub(crate) trait RootSource {
    /// Commits that must stay whatever refs say, as of now.
    fn roots(&mut self) -> Result<Vec<Start>>;

    /// Commits that the running system stands on, as far as that shows without asking for roots.
    fn in_use(&mut self) -> Result<Vec<Start>>;

    /// Whether a ref is about to be deleted by the cleanup that a dry run stands for, and so protects nothing.
    fn outdates(&self, reference: &Ref) -> bool;
}

/// What is known of liveness in one repository.
pub(crate) struct Mark<'a> {
    repo: &'a Repo,
    retention: &'a Retention,
    crew: Crew<'a>,
    control: &'a Control,
    live: LiveSet,
    history: History,
    census: Option<Census>,
    /// Commits marked as partial when last looked at.
    partial: HashSet<Checksum>,
    /// Live objects of whole commits that were not found.
    missing: Vec<ObjectName>,
    /// Live objects of partial commits that were not found, which is no error.
    absent: Vec<ObjectName>,
    /// The commits that refs, options and sources named when last looked at.
    named: Vec<Start>,
    /// The plan that it goes on from.
    plan: Option<&'a Plan>,
    /// Why that plan does not cover all that is to go.
    uncovered: Option<String>,
    /// What is odd about the options, and does not stop the run.
    warnings: Vec<String>,
}

impl<'a> Mark<'a> {
    pub fn new(repo: &'a Repo, retention: &'a Retention, crew: Crew<'a>, control: &'a Control) -> Self {
        Self {
            repo,
            retention,
            crew,
            control,
            live: LiveSet::default(),
            history: History::default(),
            census: None,
            partial: HashSet::new(),
            missing: Vec::new(),
            absent: Vec::new(),
            named: Vec::new(),
            plan: None,
            uncovered: None,
            warnings: Vec::new(),
        }
    }

    /// Goes on from what was known when `plan` was made. The live set then holds what the plan did not know to be live;
    /// what it knew is no candidate.
    pub fn resume(repo: &'a Repo, plan: &'a Plan, crew: Crew<'a>, control: &'a Control) -> Result<Self> {
        let mut mark = Self::new(repo, plan.retention(), crew, control);
        mark.history = plan.history().clone();
        for commit in mark.history.commits() {
            mark.live.insert(ObjectName::new(commit, ObjectType::Commit));
        }
        let known = mark.history.commits().chain(plan.commits_unchanged(repo)?).collect();
        mark.census = Some(Census::resume(repo, plan.census(), known)?);
        mark.plan = Some(plan);
        Ok(mark)
    }

    /// What a plan needs to go on later: the commits followed, those of them that are partial, and the census.
    pub fn record(&self) -> Option<(History, History, Record)> {
        let (whole, partial) = self.history.split(&self.partial);
        Some((whole, partial, self.census.as_ref()?.record()))
    }

    /// What refs, options and sources named when last looked at: a name and a commit.
    pub fn named(&self) -> impl Iterator<Item = (&str, Checksum)> {
        self.named.iter().filter_map(|start| Some((start.required_by.as_deref()?, start.commit)))
    }

    /// Why the plan that it goes on from does not cover all that is to go; None if it does.
    pub fn uncovered(&self) -> Option<&str> {
        self.uncovered.as_deref()
    }

    /// The live objects.
    pub fn live(&self) -> &LiveSet {
        &self.live
    }

    /// What is odd about the options, and did not stop the run.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Commits marked as partial, whether live or not.
    pub fn partial(&self) -> &HashSet<Checksum> {
        &self.partial
    }

    /// Commits that are there and not live.
    pub fn garbage_commits(&self) -> Vec<Checksum> {
        let commits = self.census.iter().flat_map(Census::commits).copied();
        commits.filter(|commit| !self.live.contains(ObjectName::new(*commit, ObjectType::Commit))).collect()
    }

    /// Number of commits there are.
    pub fn commits_left(&self) -> usize {
        self.census.iter().flat_map(Census::commits).count()
    }

    /// Commits that histories hold beyond what is kept of them, as of the last look.
    pub fn behind(&self) -> Result<Behind> {
        Behind::find(self.repo, &self.named, self.retention.deleted, &self.live, self.control)
    }

    /// Takes note of commits that were deleted: should one come back, it is as good as new.
    pub fn forget(&mut self, commits: &[Checksum]) {
        for commit in commits {
            self.census.iter_mut().for_each(|census| census.forget(commit));
        }
    }

    /// Looks once, for a dry run. What is missing may be a writer's that is just moving it into place: it is noted,
    /// and [waited for](Self::wait_for_missing).
    ///
    /// # Locking
    /// To be called with the shared lock held.
    pub fn look(&mut self, sources: &mut dyn RootSource) -> Result<()> {
        let Retention { refs_only, commit_only, unreferenced_since, .. } = self.retention;
        if *refs_only && !commit_only && unreferenced_since.is_none() && self.plan.is_none() {
            // Nobody will ask which commits there are.
            self.control.enter(Phase::Roots, 0);
            return self.visit(&[], sources);
        }
        self.look_first(sources)
    }

    /// Looks for the first time: from here on, new commits are noticed. What is missing is only noted.
    ///
    /// # Locking
    /// To be called with the shared lock held.
    pub fn look_first(&mut self, sources: &mut dyn RootSource) -> Result<()> {
        self.control.enter(Phase::Roots, 0);
        let commits = if let Some(census) = &mut self.census {
            census.update(self.repo, self.crew, self.control)?
        } else {
            let census = self.census.insert(Census::take(self.repo, self.crew, self.control)?);
            if self.retention.refs_only {
                Vec::new()
            } else {
                census.commits().copied().collect()
            }
        };
        self.visit(&commits, sources)?;
        self.uncovered = self.plan.and_then(|plan| self.what_is_not_covered(plan, &commits));
        Ok(())
    }

    /// A sysroot's plan covers all that is to go if its roots still are roots, and no commit was added that is none.
    fn what_is_not_covered(&self, plan: &Plan, new: &[Checksum]) -> Option<String> {
        let Header { sysroot, roots, .. } = plan.header();
        let named: HashSet<_> = self.named.iter().map(|start| start.commit).collect();
        let lost = roots.iter().find(|root| !named.contains(&root.commit));
        let orphan = || new.iter().find(|commit| sysroot.is_some() && !named.contains(commit));
        lost.map(|root| format!("nothing keeps {} any more, which was kept for {}", root.commit, root.name))
            .or_else(|| orphan().map(|commit| format!("{commit} has appeared, and nothing keeps it")))
    }

    /// Marks what became live since the last look, and makes sure that nothing live is missing.
    ///
    /// # Locking
    /// To be called with the exclusive lock held, each time after it was taken.
    pub fn look_again(&mut self, sources: &mut dyn RootSource) -> Result<()> {
        if fault::is_blind() {
            return Ok(());
        }
        let progress = self.control.snapshot();
        self.repo.check_config()?;
        let were_partial = self.partial.clone();
        let commits = match &mut self.census {
            Some(census) => census.update(self.repo, self.crew, self.control)?,
            None => return self.look_first(sources),
        };
        self.visit(&commits, sources)?;
        self.find_missing()?;
        let absent = std::mem::take(&mut self.absent);
        self.absent = self.read(absent)?;
        self.confirm_missing()?;
        self.refuse_in_use(sources)?;
        // A pull that completes a commit brings all that was absent from it, and then removes the mark.
        let is_live = |commit: &Checksum| self.live.contains(ObjectName::new(*commit, ObjectType::Commit));
        let completed = were_partial.difference(&self.partial).find(|commit| is_live(commit));
        if let (Some(commit), Some(object)) = (completed, self.absent.first()) {
            return Err(Error::corrupt(
                object,
                format!("it is missing, and {commit} is no longer marked as partial"),
            ));
        }
        self.control.restore(progress);
        Ok(())
    }

    /// Gives writers, who hold the shared lock too, time to finish what they are at; fails if something live is still
    /// missing then.
    pub fn wait_for_missing(&mut self) -> Result<()> {
        for _ in 0..RETRIES {
            if self.find_missing()? {
                break;
            }
            self.control.sleep(RETRY_AFTER)?;
        }
        self.confirm_missing()
    }

    /// Looks again for what was missing. True if all was found.
    fn find_missing(&mut self) -> Result<bool> {
        let missing = std::mem::take(&mut self.missing);
        self.missing = self.read(missing)?;
        Ok(self.missing.is_empty())
    }

    /// Fails if something live is missing.
    fn confirm_missing(&self) -> Result<()> {
        self.missing.first().map_or(Ok(()), |object| Err(Error::corrupt(object, "it is missing")))
    }

    /// Fails if a commit that the running system stands on is about to be deleted: roots must have been overlooked, or
    /// somebody wants too much.
    pub fn refuse_in_use(&self, sources: &mut dyn RootSource) -> Result<()> {
        for Start { commit, required_by, .. } in sources.in_use()? {
            let object = ObjectName::new(commit, ObjectType::Commit);
            if !self.live.contains(object) && self.repo.has(object)? {
                let user = required_by.unwrap_or_default();
                return Err(Error::Refused(format!("{object} would be deleted, but {user} needs it")));
            }
        }
        Ok(())
    }

    /// Keeps commits that should go and can't be deleted, with all that they reach; as garbage they may lack some of
    /// it already.
    pub fn keep(&mut self, commits: &[Checksum]) -> Result<()> {
        let keep = Keep::ALONE;
        let starts: Vec<_> =
            commits.iter().map(|commit| Start { commit: *commit, keep, required_by: None }).collect();
        let roots = self.history.follow(self.repo, &starts, None, &self.partial, &self.live, self.control)?;
        self.reach(roots)?;
        Ok(())
    }

    /// Tells the census which directories we changed ourselves; see [`Census::settle`].
    pub fn settle(&mut self, touched: &[u8]) -> Result<()> {
        self.census.as_mut().map_or(Ok(()), |census| census.settle(self.repo, touched))
    }

    /// Marks `commits`, what refs, options and `sources` name, and all that these reach.
    fn visit(&mut self, commits: &[Checksum], sources: &mut dyn RootSource) -> Result<()> {
        // Marks before commits: a commit whose mark was removed in between is only taken to be partial still.
        let partial = self.repo.partial_commits()?;
        self.named = self.named_starts(sources)?;
        let starts = [self.named.clone(), self.other_starts(commits)].concat();
        self.follow(&starts, &partial)?;
        if let Some(since) = self.retention.unreferenced_since {
            // Which commits are unreferenced is known only now.
            let young = self.young_commits(since)?;
            self.follow(&young, &partial)?;
        }
        self.partial = partial;
        Ok(())
    }

    /// Where history is to be followed from for commits that nobody named.
    fn other_starts(&self, commits: &[Checksum]) -> Vec<Start> {
        let keep = self.retention.of_others();
        let listed = commits.iter().map(|commit| Start { commit: *commit, keep, required_by: None });
        listed.chain(self.plan.iter().flat_map(|plan| plan.partial().as_starts())).collect()
    }

    /// Where history is to be followed from for what refs, options and sources name.
    fn named_starts(&mut self, sources: &mut dyn RootSource) -> Result<Vec<Start>> {
        let retention = self.retention;
        let refs = refs::list(self.repo, self.control)?;
        if self.history.is_empty() {
            self.warnings = retention.check_names(&refs)?;
        }
        retention.check_deleted(&refs)?;
        let mut starts = Vec::new();
        let keeps = refs.iter().zip(retention.of_refs(&refs));
        for (reference, keep) in keeps.filter(|(reference, _)| !sources.outdates(reference)) {
            starts.push(Start {
                commit: reference.target,
                keep,
                required_by: Some(reference.path.display().to_string()),
            });
        }
        starts.extend(retention.protected.iter().map(|commit| Start {
            commit: *commit,
            keep: Keep::ALONE,
            required_by: Some("commit to protect".into()),
        }));
        starts.extend(sources.roots()?);
        Ok(starts)
    }

    /// Commits that are not live and too young to go.
    fn young_commits(&self, since: u64) -> Result<Vec<Start>> {
        let mut young = Vec::new();
        let mut buffer = Vec::new();
        for commit in self.garbage_commits() {
            self.control.check()?;
            if self.retention.deleted == Some(commit) {
                continue;
            }
            let Some(decoded) = self.repo.read_commit(commit, &mut buffer)? else { continue };
            let object = ObjectName::new(commit, ObjectType::Commit);
            // What was pulled today may have been made long ago.
            if decoded.timestamp >= since || self.repo.modification_time(object)? >= since {
                young.push(Start { commit, keep: Keep::ALONE, required_by: None });
            }
        }
        Ok(young)
    }

    /// Marks the commits that `starts` lead to, and all that these reach.
    fn follow(&mut self, starts: &[Start], partial: &HashSet<Checksum>) -> Result<()> {
        let Self { repo, retention, control, live, history, plan, .. } = self;
        let mut roots = history.follow(repo, starts, retention.deleted, partial, live, control)?;
        if let Some(plan) = plan {
            roots.retain(|root| root.partial || !take_back(plan, root.commit, live));
        }
        let (missing, absent) = self.reach(roots)?;
        self.missing.extend(missing);
        self.absent.extend(absent);
        Ok(())
    }

    /// Marks all that `roots` reach; returns what was not found of whole commits, and of partial ones.
    fn reach(&self, roots: Vec<Root>) -> Result<(Vec<ObjectName>, Vec<ObjectName>)> {
        let Self { repo, retention, crew, control, live, .. } = self;
        if retention.commit_only {
            return Ok((Vec::new(), Vec::new()));
        }
        if control.snapshot().phase == Phase::Roots {
            control.enter(Phase::Crawl, 0);
        }
        // Whole commits first: what they reach must be there even if a partial commit reaches it too.
        let (incomplete, whole): (Vec<_>, Vec<_>) = roots.into_iter().partition(|root| root.partial);
        let missing = crawl(repo, live, whole, *crew, control)?;
        let absent = crawl(repo, live, incomplete, *crew, control)?;
        self.mark_attributes()?;
        Ok((missing, absent))
    }

    /// Reads live objects that were not found before, and marks all that they reach; returns what is still not found.
    fn read(&self, objects: Vec<ObjectName>) -> Result<Vec<ObjectName>> {
        if objects.is_empty() {
            return Ok(objects);
        }
        let missing = read_all(self.repo, &self.live, objects, self.crew, self.control)?;
        self.mark_attributes()?;
        Ok(missing)
    }

    /// Marks the extended attributes of live files, where they are objects.
    fn mark_attributes(&self) -> Result<()> {
        if self.repo.config().mode == Mode::BareSplitXattrs {
            xattrs::mark(self.repo, &self.live, self.crew, self.control)?;
        }
        Ok(())
    }
}

/// Marks what a commit reaches that `plan` expected to go; false if the plan does not know all of that.
fn take_back(plan: &Plan, commit: Checksum, live: &LiveSet) -> bool {
    let Some(reached) = plan.reached_by(commit) else { return false };
    for object in reached {
        live.insert(object);
    }
    true
}
