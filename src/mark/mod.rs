//! Finding out what is live, and keeping that up to date while others write.
//!
//! [`census`] knows which commits there are and notices new ones, [`names`] knows the refs, [`roots`] follows refs and history to the commits
//! to keep, [`crawl`] reads their dirtrees, and [`live_set`] is the outcome. It only ever grows: what was live once
//! in a run stays for that run.
//!
//! All this reads without a lock, and may meet what others delete meanwhile. So it is [confirmed](Mark::confirm) under
//! a lock before anything is decided by it.

mod behind;
pub(crate) mod census;
pub(crate) mod confirm;
pub(crate) mod crawl;
pub(crate) mod cut;
pub mod keep;
pub mod live_set;
mod names;
mod partial;
pub mod pattern;
pub mod retention;
pub mod roots;
pub mod rules;
mod source;
mod stamps;
#[cfg(test)]
mod tests;
mod xattrs;

use std::collections::HashSet;
use std::time::Instant;

pub(crate) use self::behind::Behind;
use self::census::{Census, Found, Record};
use self::crawl::{crawl, read_all, Unread};
use self::keep::Keep;
use self::live_set::LiveSet;
use self::names::{Change, Names};
use self::partial::Marks;
use self::retention::Retention;
use self::roots::{Following, History, Root, Start};
pub(crate) use self::source::{Alone, RootSource};
use crate::control::{Control, Phase};
use crate::error::{Error, Result};
use crate::fault;
use crate::plan::{Header, Plan};
use crate::repo::mode::Mode;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::refs::Ref;
use crate::repo::Repo;
use crate::workers::Crew;

/// So many names are gone through under a lock if one of them has changed; more are not.
const FEW: usize = 1000;

/// What came of [`Mark::confirm`].
#[derive(Debug)]
pub(crate) enum Confirmation {
    /// All that is live is marked, and is there.
    Confirmed,
    /// There is more to read than there was time for: [`Mark::look_ahead`] reads it.
    MoreToRead,
    /// Others deleted what was followed: all has to be looked at anew, with another mark.
    Outdated,
    /// Something live is missing.
    Missing(ObjectName),
}

/// What is known of liveness in one repository.
#[allow(clippy::struct_excessive_bools)] // Independent facts, each noted where it is met.
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
    /// How it is found out whether these are still the same.
    marks: Option<Marks>,
    /// Live objects of whole commits that were not read.
    whole: Unread,
    /// Live objects of partial commits that were not read. That they are missing is no error.
    incomplete: Unread,
    /// The refs when last looked at.
    names: Option<Names>,
    /// The commits that sources named when last asked.
    source_roots: Vec<Start>,
    /// The commits that refs, options and sources named when last looked at.
    named: Vec<Start>,
    /// Whether all of these were followed.
    has_followed_named: bool,
    /// Commits that appeared and were not followed yet.
    appeared: Vec<Checksum>,
    /// Whether following what is named is still to be finished.
    is_behind: bool,
    /// Commits to keep because they can't be deleted, which were not followed yet.
    stuck: Vec<Checksum>,
    /// Whether something that was followed is no longer named, or is partial now.
    has_changed: bool,
    /// Whether a live commit was partial once and is whole now.
    was_completed: bool,
    /// Whether files became live whose extended attributes are not marked yet.
    lacks_attributes: bool,
    /// The plan that it goes on from.
    plan: Option<&'a Plan>,
    /// Why that plan does not cover all that is to go.
    uncovered: Option<String>,
    /// What is odd about the options, and does not stop the run.
    warnings: Vec<String>,
    /// What else stays because of commits that can't be deleted.
    held_back: Option<String>,
    /// Refs whose commits were missing when last looked at, if that is to be ignored.
    dangling: Vec<Ref>,
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
            marks: None,
            whole: Unread::default(),
            incomplete: Unread::default(),
            names: None,
            source_roots: Vec::new(),
            named: Vec::new(),
            has_followed_named: false,
            appeared: Vec::new(),
            is_behind: false,
            stuck: Vec::new(),
            has_changed: false,
            was_completed: false,
            lacks_attributes: false,
            plan: None,
            uncovered: None,
            warnings: Vec::new(),
            held_back: None,
            dangling: Vec::new(),
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

    /// Refs that keep nothing, for their commits are missing.
    pub fn dangling(&self) -> &[Ref] {
        &self.dangling
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

    /// Whether a commit was there when last looked at.
    pub fn knows(&self, commit: &Checksum) -> bool {
        self.census.as_ref().is_some_and(|census| census.has(commit))
    }

    /// Looks for the first time, for a dry run. Needs no lock.
    pub fn look_once(&mut self, sources: &mut dyn RootSource) -> Result<()> {
        let Retention { refs_only, commit_only, unreferenced_since, .. } = self.retention;
        if *refs_only && !commit_only && unreferenced_since.is_none() && self.plan.is_none() {
            // Nobody will ask which commits there are.
            self.control.enter(Phase::Roots, 0);
            return self.visit(sources, UNLOCKED);
        }
        self.look_first(sources)
    }

    /// Looks for the first time: from here on, new commits are noticed. Needs no lock; what is missing is only noted.
    pub fn look_first(&mut self, sources: &mut dyn RootSource) -> Result<()> {
        self.control.enter(Phase::Roots, 0);
        if self.census.is_some() {
            self.list_changed(None)?;
        } else {
            let census = self.census.insert(Census::take(self.repo, self.crew, self.control)?);
            if !self.retention.refs_only {
                self.appeared.extend(census.commits());
            }
        }
        let appeared = self.appeared.clone();
        self.visit(sources, UNLOCKED)?;
        self.uncovered = self.plan.and_then(|plan| self.what_is_not_covered(plan, &appeared));
        if let Some(since) = self.retention.unreferenced_since {
            // Which commits are unreferenced is known only now. Those that appear later are kept in any case.
            let young = self.young_commits(since)?;
            self.follow(&young, self.retention.deleted, UNLOCKED)?;
        }
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

    /// Reads what appeared since the last look, and what there was no time for, so that little is left to be done under
    /// a lock. Needs none.
    pub fn look_ahead(&mut self, sources: &dyn RootSource) -> Result<()> {
        if fault::is_blind() {
            return Ok(());
        }
        let changed = self.list_changed(None)?.directories;
        self.note_partial()?;
        let change = self.read_names(UNLOCKED)?;
        self.follow_all(change, sources, UNLOCKED)?;
        self.keep_stuck()?;
        self.read_again(&changed, UNLOCKED)?;
        self.mark_attributes()
    }

    /// Marks what became live since the last look, and finds out whether all that is live is there. Whatever takes
    /// longer than until `deadline` is left to [`look_ahead`](Self::look_ahead).
    ///
    /// # Locking
    /// To be called with the repository's lock held, each time after it was taken. With the shared one, what is missing
    /// may be a writer's that is just moving it into place.
    pub fn confirm(
        &mut self,
        sources: &mut dyn RootSource,
        deadline: Option<Instant>,
    ) -> Result<Confirmation> {
        if fault::is_blind() {
            return Ok(Confirmation::Confirmed);
        }
        self.repo.check_config()?;
        let look = Look { is_locked: true, deadline };
        let Found { is_complete, directories, .. } = self.list_changed(deadline)?;
        self.visit(sources, look)?;
        self.read_again(&directories, look)?;
        let lacks_attributes = deadline.is_some() && self.lacks_attributes && self.has_attributes();
        if !lacks_attributes {
            self.mark_attributes()?;
        }
        let has_more = self.is_behind || !self.whole.left.is_empty() || !self.incomplete.left.is_empty();
        if !is_complete || has_more || lacks_attributes || !self.stuck.is_empty() {
            return Ok(Confirmation::MoreToRead);
        }
        self.refuse_in_use(sources)?;
        match self.whole.missing.first() {
            Some(_) if self.has_changed || !self.has_all_commits()? => Ok(Confirmation::Outdated),
            Some(object) => Ok(Confirmation::Missing(*object)),
            // What is missing may be of the one that claims to be whole now, or of another.
            None if self.was_completed && !self.incomplete.missing.is_empty() => Ok(Confirmation::Outdated),
            None => Ok(Confirmation::Confirmed),
        }
    }

    /// Whether all commits that were followed are still there.
    fn has_all_commits(&self) -> Result<bool> {
        for commit in self.history.commits() {
            if !self.repo.has(ObjectName::new(commit, ObjectType::Commit))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lists directories that may have changed, and takes note of commits that appeared.
    fn list_changed(&mut self, deadline: Option<Instant>) -> Result<Found> {
        let Some(census) = &mut self.census else { return Ok(Found::all()) };
        let mut found = census.update(self.repo, self.crew, self.control, deadline)?;
        self.appeared.append(&mut found.commits);
        Ok(found)
    }

    /// Takes note of the commits that are marked as partial now.
    fn note_partial(&mut self) -> Result<()> {
        let marks = match &mut self.marks {
            Some(marks) => marks,
            none => none.insert(Marks::new(self.repo)?),
        };
        let Some(partial) = marks.update(self.repo)? else { return Ok(()) };
        let is_live = |commit: &&Checksum| self.live.contains(ObjectName::new(**commit, ObjectType::Commit));
        self.has_changed |= partial.difference(&self.partial).any(|commit| is_live(&commit));
        let was_completed = self.partial.difference(&partial).any(|commit| is_live(&commit));
        self.was_completed |= was_completed;
        self.lacks_attributes |= was_completed;
        self.partial = partial;
        Ok(())
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

    /// Keeps commits that should go and can't be deleted, with all that they reach, from the next
    /// [`look_ahead`](Self::look_ahead) on.
    pub fn keep(&mut self, commits: &[Checksum]) {
        self.stuck.extend(commits);
    }

    /// Follows commits that can't be deleted. As garbage they may lack some of what they reach.
    fn keep_stuck(&mut self) -> Result<()> {
        let keep = Keep::ALONE;
        let commits = std::mem::take(&mut self.stuck);
        let Some(first) = commits.first().copied() else { return Ok(()) };
        let known = self.live.len() + commits.len();
        let others =
            if commits.len() > 1 { format!(" and {} more", commits.len() - 1) } else { String::new() };
        let starts: Vec<_> =
            commits.iter().map(|commit| Start { commit: *commit, keep, required_by: None }).collect();
        let partial = commits.into_iter().collect();
        let following = Following { ignored: None, partial: &partial, is_locked: false, deadline: None };
        let (roots, _) = self.history.follow(self.repo, &starts, following, &self.live, self.control)?;
        self.reach(roots, UNLOCKED)?;
        match self.live.len().saturating_sub(known) {
            0 => {}
            kept => {
                let reason = format!(
                    "{kept} objects stay, which a commit that can't be deleted needs: {first}{others}"
                );
                self.held_back = Some(reason);
            }
        }
        Ok(())
    }

    /// What else stays because of commits that can't be deleted.
    pub fn held_back(&self) -> Option<&str> {
        self.held_back.as_deref()
    }

    /// Records in the census which directories we changed ourselves; see [`Census::settle`].
    pub fn settle(&mut self, touched: &[u8]) -> Result<()> {
        self.census.as_mut().map_or(Ok(()), |census| census.settle(self.repo, touched))
    }

    /// Marks what refs, options and `sources` name, commits that appeared, and all that these reach.
    fn visit(&mut self, sources: &mut dyn RootSource, look: Look) -> Result<()> {
        // Marks before commits: a commit whose mark was removed in between is only taken to be partial still.
        self.note_partial()?;
        let change = self.read_names(look)?;
        let roots = sources.roots()?;
        self.has_followed_named &= roots == self.source_roots;
        self.source_roots = roots;
        self.follow_all(change, sources, look)
    }

    /// Marks what is named, commits that appeared, and all that these reach.
    fn follow_all(&mut self, change: Change, sources: &dyn RootSource, look: Look) -> Result<()> {
        let are_many = self.named.len() > FEW && look.deadline.is_some();
        if change == Change::Unread || change == Change::Some && are_many {
            self.is_behind = true;
            return Ok(());
        }
        let mut starts = Vec::new();
        if !self.has_followed_named {
            self.find_named(sources)?;
            starts.clone_from(&self.named);
        }
        starts.append(&mut self.other_starts());
        self.is_behind = !self.follow(&starts, self.retention.deleted, look)?;
        if !self.is_behind {
            self.appeared.clear();
            // One that was not there has to be there under a lock, and one that is ignored may come back.
            self.has_followed_named =
                self.dangling.is_empty() && self.named.iter().all(|start| self.history.has(start.commit));
        }
        Ok(())
    }

    /// Reads the refs that may have changed.
    fn read_names(&mut self, look: Look) -> Result<Change> {
        let names = match &mut self.names {
            Some(names) => names,
            none => none.insert(Names::new(self.repo)?),
        };
        let change = names.update(self.repo, self.control, look.deadline)?;
        self.has_followed_named &= change == Change::None;
        Ok(change)
    }

    /// Where history is to be followed from for commits that nobody named.
    fn other_starts(&self) -> Vec<Start> {
        let keep = self.retention.of_others();
        let appeared = self.appeared.iter().map(|commit| Start { commit: *commit, keep, required_by: None });
        let back = self.appeared.iter().filter_map(|commit| self.history.after_end(*commit));
        appeared.chain(back).chain(self.plan.iter().flat_map(|plan| plan.partial().as_starts())).collect()
    }

    /// Finds out what refs, options and sources name.
    fn find_named(&mut self, sources: &dyn RootSource) -> Result<()> {
        let named = self.named_starts(sources)?;
        let before = std::mem::replace(&mut self.named, named);
        let now: HashSet<_> = self.named.iter().map(|start| (&start.required_by, start.commit)).collect();
        self.has_changed |= !before.iter().all(|start| now.contains(&(&start.required_by, start.commit)));
        Ok(())
    }

    /// Where history is to be followed from for what refs, options and sources name.
    fn named_starts(&mut self, sources: &dyn RootSource) -> Result<Vec<Start>> {
        let retention = self.retention;
        let refs: Vec<Ref> = self.names.iter().flat_map(Names::refs).cloned().collect();
        if self.history.is_empty() {
            self.warnings = retention.check_names(&refs)?;
        }
        retention.check_deleted(&refs)?;
        let mut starts = Vec::new();
        let keeps = refs.iter().zip(retention.of_refs(&refs));
        self.dangling.clear();
        for (reference, keep) in keeps.filter(|(reference, _)| !sources.outdates(reference)) {
            let object = ObjectName::new(reference.target, ObjectType::Commit);
            let may_be_missing = retention.ignore_missing_commits && !self.history.has(reference.target);
            if may_be_missing && !self.repo.has(object)? {
                self.dangling.push(reference.clone());
                continue;
            }
            starts.push(Start {
                commit: reference.target,
                keep,
                required_by: Some(reference.path.display().to_string()),
            });
        }
        self.dangling.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        starts.extend(retention.protected.iter().map(|commit| Start {
            commit: *commit,
            keep: Keep::ALONE,
            required_by: Some("commit to protect".into()),
        }));
        starts.extend(self.source_roots.iter().cloned());
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

    /// Marks the commits that `starts` lead to, and all that these reach; false if there was no time for all commits.
    fn follow(&mut self, starts: &[Start], ignored: Option<Checksum>, look: Look) -> Result<bool> {
        let Self { repo, control, live, history, plan, partial, .. } = self;
        if starts.is_empty() {
            return Ok(true);
        }
        let Look { is_locked, deadline } = look;
        let following = Following { ignored, partial, is_locked, deadline };
        let (mut roots, is_complete) = history.follow(repo, starts, following, live, control)?;
        // Should one of them come back, it is new.
        if let Some(census) = &mut self.census {
            history.ends().for_each(|commit| census.forget(commit));
        }
        if let Some(plan) = plan {
            roots.retain(|root| root.partial || !take_back(plan, root.commit, live));
        }
        self.reach(roots, look)?;
        Ok(is_complete)
    }

    /// Marks all that `roots` reach.
    fn reach(&mut self, roots: Vec<Root>, look: Look) -> Result<()> {
        let Self { repo, retention, crew, control, live, .. } = self;
        if retention.commit_only || roots.is_empty() {
            return Ok(());
        }
        if control.phase() == Phase::Roots {
            control.enter(Phase::Crawl, 0);
        }
        // Whole commits first: what they reach must be there even if a partial commit reaches it too.
        let (incomplete, whole): (Vec<_>, Vec<_>) = roots.into_iter().partition(|root| root.partial);
        self.whole.append(crawl(repo, live, whole, *crew, control, look.deadline)?);
        self.incomplete.append(crawl(repo, live, incomplete, *crew, control, look.deadline)?);
        self.lacks_attributes = true;
        Ok(())
    }

    /// Reads what there was no time for, what was missing of whole commits, and of partial ones what was missing in
    /// directories that have changed.
    fn read_again(&mut self, changed: &HashSet<u8>, look: Look) -> Result<()> {
        let Self { repo, crew, control, live, whole, incomplete, .. } = self;
        let has_parent = repo.parent().is_some();
        let may_be_back = |object: &ObjectName| has_parent || changed.contains(&object.checksum.directory());
        let back: Vec<_> = incomplete.missing.extract_if(.., |object| may_be_back(object)).collect();
        let gone = std::mem::take(&mut whole.missing);
        let mut has_read = false;
        for (unread, mut objects) in [(whole, gone), (incomplete, back)] {
            objects.append(&mut unread.left);
            if !objects.is_empty() {
                let count = objects.len();
                let found = read_all(repo, live, objects, *crew, control, look.deadline)?;
                has_read |= found.missing.len() < count;
                unread.append(found);
            }
        }
        self.lacks_attributes |= has_read;
        Ok(())
    }

    /// Marks the extended attributes of live files, where they are objects.
    fn mark_attributes(&mut self) -> Result<()> {
        // Files of a partial commit that are live may get theirs at any time.
        let may_lack = std::mem::take(&mut self.lacks_attributes) || !self.partial.is_empty();
        if may_lack && self.has_attributes() {
            xattrs::mark(self.repo, &self.live, self.crew, self.control)?;
        }
        Ok(())
    }

    /// Whether extended attributes are objects.
    fn has_attributes(&self) -> bool {
        self.repo.config().mode == Mode::BareSplitXattrs
    }
}

/// How something is looked at.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Whether nobody deletes meanwhile.
    is_locked: bool,
    /// When to stop.
    deadline: Option<Instant>,
}

/// Others may delete, and there is time.
const UNLOCKED: Look = Look { is_locked: false, deadline: None };

/// Marks what a commit reaches that `plan` expected to go; false if the plan does not know all of that.
fn take_back(plan: &Plan, commit: Checksum, live: &LiveSet) -> bool {
    let Some(reached) = plan.reached_by(commit) else { return false };
    for object in reached {
        live.insert(object);
    }
    true
}
