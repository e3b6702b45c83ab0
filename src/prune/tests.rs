use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Mutex;

use super::*;
use crate::effort::Impact;
use crate::mark::keep::Keep;
use crate::mark::roots::Start;
use crate::plan::{plan, PlanOptions};
use crate::repo::config::LockTimeout;
use crate::repo::lock::LockState;
use crate::repo::mode::Mode;
use crate::repo::refs::Ref;
use crate::report::Failure;
use crate::sweep::Limits;
use crate::test_repo::{Damage, Dice, TestRepo};

fn effort(jobs: usize) -> Effort {
    Effort { jobs: NonZeroUsize::new(jobs), ..Effort::new(Impact::Full) }
}

/// A prune that keeps the tips of refs.
fn options(retention: &Retention, jobs: usize) -> PruneOptions<'_> {
    PruneOptions {
        retention,
        dry_run: false,
        effort: effort(jobs),
        limits: Limits::default(),
        stale_tmp: false,
        leftovers: false,
        deltas_of: None,
        observer: None,
        plan: None,
    }
}

fn tips() -> Retention {
    Retention::refs(Keep::ALONE)
}

fn object_of(pruned: &Pruned) -> Option<ObjectName> {
    match pruned.item {
        Item::Object(object) => Some(object),
        _ => None,
    }
}

/// A kept commit, and others that are garbage and share much with it and with one another.
fn worn_repo(mode: &str) -> (TestRepo, Vec<Checksum>) {
    let files = TestRepo::new(mode);
    let commit = |branch: &str, number: usize| {
        let own = format!("own {number}");
        let third = format!("third {}", number / 3);
        let tree: Vec<(String, &str)> = (0..6)
            .flat_map(|directory| {
                let content = if directory < 2 { &own } else { &third };
                (0..3).map(move |file| (format!("{directory}/deep/{file}"), content.as_str()))
            })
            .collect();
        let tree: Vec<_> = tree.iter().map(|(path, content)| (path.as_str(), *content)).collect();
        files.commit(branch, &tree)
    };
    let garbage = (1..9).map(|number| commit("dropped", number)).collect();
    commit("kept", 0);
    files.drop_ref("dropped");
    (files, garbage)
}

/// Fails unless commits have all that they reach and directories have their files, as far as these ever were there.
fn assert_sound(files: &TestRepo, references: &BTreeMap<ObjectName, Vec<ObjectName>>, context: &str) {
    let left = files.objects();
    let mut stack: Vec<_> = left.iter().map(|object| (*object, object.kind == ObjectType::Commit)).collect();
    let mut seen = BTreeSet::new();
    while let Some((parent, is_live)) = stack.pop() {
        if !seen.insert((parent, is_live)) {
            continue;
        }
        for child in &references[&parent] {
            if is_live || child.kind == ObjectType::File {
                assert!(left.contains(child), "{context}: {parent} lacks {child}");
                stack.push((*child, is_live));
            }
        }
    }
    if files.open().config().mode != Mode::BareSplitXattrs {
        files.ostree(&["fsck", "--quiet"]);
    }
}

#[test]
fn damage_anywhere_stops_a_run_before_its_first_unlink() {
    let files = TestRepo::new("bare");
    let tip = files.commit_wide("kept", 300);
    let live = files.objects();
    files.commit_wide("dropped", 20);
    files.drop_ref("dropped");
    let (before, retention, mut dice) = (files.objects(), tips(), Dice(2));
    let trees: Vec<_> = live
        .into_iter()
        .filter(|object| matches!(object.kind, ObjectType::DirTree | ObjectType::DirMeta))
        .collect();
    let check = |damage: Damage, object: ObjectName, jobs| {
        let context = format!("{damage:?} {object}, {jobs} threads");
        damage.during(&files, object, || {
            let repo = files.open();
            let dry = PruneOptions { dry_run: true, ..options(&retention, jobs) };
            let outcomes = [
                prune(&repo, &options(&retention, jobs), &Control::new()).map(drop),
                prune(&repo, &dry, &Control::new()).map(drop),
                plan(&repo, &PlanOptions { retention: &retention, effort: effort(jobs) }, &Control::new())
                    .map(drop),
            ];
            for outcome in outcomes {
                let error = outcome.expect_err(&context).to_string();
                assert!(error.contains(&object.checksum.to_string()[2..]), "{context}: {error}");
            }
        });
        assert_eq!(files.objects(), before, "{context}");
    };
    for jobs in 1..=8 {
        for damage in [Damage::Missing, Damage::CutShort, Damage::ALL[dice.below(Damage::ALL.len())]] {
            check(damage, trees[dice.below(trees.len())], jobs);
        }
    }
    check(Damage::CutShort, ObjectName::new(tip, ObjectType::Commit), 2);
    // Damage of what goes anyway is no obstacle.
    let garbage = before.iter().find(|object| object.kind == ObjectType::DirTree && !trees.contains(object));
    std::fs::write(files.file_of(*garbage.unwrap()), "").unwrap();
    prune(&files.open(), &options(&retention, 2), &Control::new()).unwrap();
    assert_eq!(files.objects().len(), 1 + trees.len() + 300);
}

#[test]
fn cut_off_after_any_deletion_nothing_is_left_without_its_children() {
    for jobs in [1, 4] {
        for end in 1.. {
            let (files, _) = worn_repo("bare");
            let (references, control, retention) = (files.references(), Control::new(), tips());
            let seen = Mutex::new(Vec::new());
            let observer = |pruned: Pruned| {
                let mut seen = seen.lock().unwrap();
                seen.extend(object_of(&pruned));
                if seen.len() >= end * 13 {
                    control.cancel();
                }
            };
            let options = PruneOptions { observer: Some(&observer), ..options(&retention, jobs) };
            let result = prune(&files.open(), &options, &control);
            let seen = seen.into_inner().unwrap();
            assert_sound(&files, &references, &format!("after {} deletions", seen.len()));
            // Commits, then trees, then files.
            let rank = |object: &ObjectName| match object.kind {
                ObjectType::Commit => 0,
                ObjectType::File => 2,
                _ => 1,
            };
            assert!(seen.is_sorted_by_key(rank), "{seen:?}");
            if result.is_ok() {
                assert!(end > 3);
                break;
            }
        }
    }
}

#[test]
fn nothing_is_deleted_without_the_exclusive_lock() {
    let (files, _) = worn_repo("bare");
    let (repo, retention) = (files.open(), tips());
    let deleted = Mutex::new(0);
    let observer = |_: Pruned| {
        let other = repo.lock(Some(LockTimeout::After(Duration::ZERO))).unwrap();
        assert!(matches!(other.try_acquire(LockKind::Shared, &Control::new()), Ok(Attempt::Busy(_))));
        *deleted.lock().unwrap() += 1;
    };
    let options = PruneOptions { observer: Some(&observer), ..options(&retention, 3) };
    prune(&repo, &options, &Control::new()).unwrap();
    assert!(deleted.into_inner().unwrap() > 20);
    let lock = repo.lock(Some(LockTimeout::After(Duration::ZERO))).unwrap();
    assert!(matches!(lock.try_acquire(LockKind::Exclusive, &Control::new()), Ok(Attempt::Acquired(_))));
}

/// A sysroot whose lock is always free, and that fails when asked for roots for the so many-th time.
struct Watched {
    locked: bool,
    asked: usize,
    fails_at: usize,
}

impl RootSource for Watched {
    fn roots(&mut self) -> Result<Vec<Start>> {
        self.asked += 1;
        if self.asked == self.fails_at {
            return Err(Error::Internal("as the test wants it".into()));
        }
        Ok(Vec::new())
    }
    fn in_use(&mut self) -> Result<Vec<Start>> {
        Ok(Vec::new())
    }
    fn outdates(&self, _: &Ref) -> bool {
        false
    }
}

impl Surroundings for Watched {
    fn try_lock(&mut self) -> Result<Option<PathBuf>> {
        assert!(!self.locked, "it is still held from the last try");
        self.locked = true;
        Ok(None)
    }
    fn unlock(&mut self) {
        self.locked = false;
    }
    fn unprotects(&self) -> bool {
        false
    }
}

#[test]
fn the_sysroot_is_not_locked_while_the_repository_is_waited_for() {
    let files = TestRepo::new("bare");
    let repo = files.open();
    let ours = repo.lock(Some(LockTimeout::After(Duration::from_millis(200)))).unwrap();
    let theirs = repo.lock(None).unwrap();
    let mut sysroot = Watched { locked: false, asked: 0, fails_at: 0 };
    for (held, wanted) in [
        (LockKind::Shared, LockKind::Exclusive),
        (LockKind::Exclusive, LockKind::Exclusive),
        (LockKind::Exclusive, LockKind::Shared),
    ] {
        let (they, we) = (Control::new(), Control::new());
        let held = theirs.acquire(held, &they).unwrap();
        let busy = lock_both(&mut sysroot, &ours, wanted, &we);
        assert!(matches!(busy, Err(Error::LockTimeout { .. })));
        assert!(!sysroot.locked);
        drop(held);
        drop(lock_both(&mut sysroot, &ours, wanted, &we).unwrap());
        assert!(sysroot.locked);
        sysroot.unlock();
    }
}

#[test]
fn locks_are_released_wherever_a_run_fails() {
    for fails_at in 1.. {
        let (files, _) = worn_repo("bare");
        let (repo, retention) = (files.open(), tips());
        let mut sysroot = Watched { locked: false, asked: 0, fails_at };
        // Each slice ends after a deletion or two.
        let effort = Effort { lock_slice: Duration::from_nanos(1), ..effort(1) };
        let slow = |_: Pruned| std::thread::sleep(Duration::from_millis(20));
        let options = PruneOptions { effort, observer: Some(&slow), ..options(&retention, 1) };
        let result = prune_within(&repo, &mut sysroot, &options, &Control::new());
        assert!(!sysroot.locked, "after {fails_at} looks");
        let lock = repo.lock(Some(LockTimeout::After(Duration::ZERO))).unwrap();
        assert!(matches!(lock.try_acquire(LockKind::Exclusive, &Control::new()), Ok(Attempt::Acquired(_))));
        if result.is_ok() || fails_at == 5 {
            assert!(fails_at > 2);
            break;
        }
    }
}

#[test]
fn if_the_barrier_fails_nothing_that_commits_reach_is_deleted() {
    let (files, garbage) = worn_repo("bare");
    let (repo, retention) = (files.open(), tips());
    let (seen, moved) = (Mutex::new(BTreeSet::new()), files.path().join("aside"));
    let observer = |pruned: Pruned| {
        let mut seen = seen.lock().unwrap();
        let object = object_of(&pruned).unwrap();
        seen.insert(object);
        if seen.len() == garbage.len() {
            let directory = repo.object_directory_path(object.checksum.directory());
            std::fs::rename(&directory, &moved).unwrap();
            std::fs::write(&directory, "").unwrap();
        }
    };
    let effort = Effort { lock_slice: Duration::from_secs(600), ..effort(1) };
    let options = PruneOptions { effort, observer: Some(&observer), ..options(&retention, 1) };
    prune(&repo, &options, &Control::new()).unwrap_err();
    let seen = seen.into_inner().unwrap();
    assert!(seen.iter().all(|object| object.kind == ObjectType::Commit), "{seen:?}");
}

#[test]
fn a_limit_of_bytes_is_reached_when_it_is_met() {
    for (more, expected) in [(0, 1), (1, 2)] {
        let files = TestRepo::new("bare");
        let garbage = files.commit("dropped", &[("a", "1"), ("b/c", "2")]);
        files.drop_ref("dropped");
        let retention = tips();
        let size = files.file_of(ObjectName::new(garbage, ObjectType::Commit)).metadata().unwrap().len();
        let options = PruneOptions {
            limits: Limits { max_freed: Some(size + more), free_until: None },
            ..options(&retention, 1)
        };
        let report = prune(&files.open(), &options, &Control::new()).unwrap();
        assert_eq!(report.objects_pruned(), expected);
        assert!(report.unfinished.is_some());
    }
}

/// A process that ignores locks puts a commit back that we have deleted, with all that it reaches.
#[test]
fn what_is_back_in_a_repository_without_locking_stays() {
    for back_at in [ObjectType::Commit, ObjectType::DirTree, ObjectType::File] {
        let files = TestRepo::new("bare");
        files.ostree(&["config", "set", "core.locking", "false"]);
        files.commit("kept", &[("kept", "kept")]);
        let garbage = files.commit_wide("dropped", 30);
        files.drop_ref("dropped");
        let (before, copy) = (files.objects(), files.path().join("copy"));
        let linked =
            std::process::Command::new("cp").arg("-al").arg(files.path().join("objects")).arg(&copy).status();
        assert!(linked.unwrap().success());
        let mode = files.open().config().mode;
        let is_back = Mutex::new(false);
        let observer = |pruned: Pruned| {
            let object = object_of(&pruned).unwrap();
            let mut is_back = is_back.lock().unwrap();
            if object.kind == back_at && !*is_back {
                *is_back = true;
                for object in before.difference(&files.objects()) {
                    std::fs::hard_link(copy.join(object.loose_path(mode)), files.file_of(*object)).unwrap();
                }
                // What is deleted in this slice is lost in any case: there is no more time for any.
                std::thread::sleep(Duration::from_millis(500));
            }
        };
        let retention = tips();
        let effort = Effort { lock_slice: Duration::from_nanos(1), ..effort(1) };
        let options = PruneOptions { effort, observer: Some(&observer), ..options(&retention, 1) };
        prune(&files.open(), &options, &Control::new()).unwrap();
        assert!(is_back.into_inner().unwrap());
        assert_eq!(files.objects(), before, "back when the first {back_at:?} went: {garbage}");
    }
}

fn plan_of(files: &TestRepo, retention: &Retention) -> Plan {
    plan(&files.open(), &PlanOptions { retention, effort: effort(2) }, &Control::new()).unwrap()
}

fn apply(files: &TestRepo, plan: &Plan, observer: Option<Observer>) -> PruneReport {
    let retention = tips();
    let plan = Some(PlanUse { plan, must_cover: false });
    let options = PruneOptions { observer, plan, ..options(&retention, 1) };
    prune(&files.open(), &options, &Control::new()).unwrap()
}

#[test]
fn a_commit_that_is_not_the_planned_file_any_more_keeps_all_that_it_reaches() {
    for mode in crate::test_repo::MODES {
        let (files, garbage) = worn_repo(mode);
        if mode == "bare-split-xattrs" {
            files.add_attributes();
        }
        let (references, retention) = (files.references(), tips());
        let plan = plan_of(&files, &retention);
        let replaced = Mutex::new(None);
        let observer = |pruned: Pruned| {
            let Some(object) = object_of(&pruned) else { return };
            let mut replaced = replaced.lock().unwrap();
            if object.kind == ObjectType::Commit && replaced.is_none() {
                let other = garbage.iter().find(|commit| **commit != object.checksum).unwrap();
                let path = files.file_of(ObjectName::new(*other, ObjectType::Commit));
                let scratch = files.path().join("scratch");
                std::fs::copy(&path, &scratch).unwrap();
                std::fs::rename(&scratch, &path).unwrap();
                *replaced = Some(*other);
            }
        };
        apply(&files, &plan, Some(&observer));
        let kept = ObjectName::new(replaced.into_inner().unwrap().unwrap(), ObjectType::Commit);
        assert!(files.objects().contains(&kept));
        assert_sound(&files, &references, mode);
    }
}

#[test]
fn a_partial_commit_that_is_completed_after_the_plan_keeps_what_came() {
    for (is_tip, is_complete) in [(true, false), (true, true), (false, false), (false, true)] {
        let files = TestRepo::new("bare");
        files.commit("dropped", &[("other/shared", "1"), ("other/own", "4"), ("own/shared", "2")]);
        files.drop_ref("dropped");
        let partial = files.commit("kept", &[("late/shared", "1"), ("late/deep/shared", "2"), ("own", "3")]);
        files.mark_partial(partial);
        if !is_tip {
            files.commit("kept", &[("newer", "5")]);
        }
        let (references, late) = (files.references(), files.dirtree_at(partial, "/late"));
        let retention = Retention::refs(Keep::ALL);
        let plan = Damage::Missing.during(&files, late, || plan_of(&files, &retention));
        if is_complete {
            files.unmark_partial(partial);
        }
        assert!(apply(&files, &plan, None).objects_pruned() > 0);
        assert_sound(&files, &references, &format!("tip: {is_tip}, complete: {is_complete}"));
    }
}

#[test]
fn a_dropped_commit_that_is_a_root_again_takes_back_what_it_reaches() {
    for lacked_a_tree in [false, true] {
        let (files, garbage) = worn_repo("bare");
        let (references, retention) = (files.references(), tips());
        let tree = files.dirtree_at(garbage[0], "/0");
        let plan = if lacked_a_tree {
            Damage::Missing.during(&files, tree, || plan_of(&files, &retention))
        } else {
            plan_of(&files, &retention)
        };
        files.ostree(&["refs", "--create=back", &garbage[0].to_string()]);
        assert!(apply(&files, &plan, None).objects_pruned() > 0);
        assert_sound(&files, &references, &format!("lacked a tree: {lacked_a_tree}"));
    }
}

#[test]
fn the_lock_is_free_before_and_after_a_dry_run() {
    let (files, _) = worn_repo("bare");
    let (repo, retention) = (files.open(), tips());
    drop(repo.lock(None).unwrap());
    let (before, seen) = (files.objects(), Mutex::new(0));
    let observer = |_: Pruned| *seen.lock().unwrap() += 1;
    let dry = PruneOptions { dry_run: true, observer: Some(&observer), ..options(&retention, 2) };
    let told = prune(&repo, &dry, &Control::new()).unwrap();
    assert_eq!(files.objects(), before);
    assert_eq!(told.objects_pruned(), seen.into_inner().unwrap());
    let done = prune(&repo, &options(&retention, 2), &Control::new()).unwrap();
    assert_eq!(told.objects_pruned(), done.objects_pruned());
    assert_eq!(before.len() - files.objects().len(), usize::try_from(done.objects_pruned()).unwrap());
    let lock = std::fs::File::open(files.path().join(".lock")).unwrap();
    let state = crate::repo::lock::state(std::os::fd::AsFd::as_fd(&lock)).unwrap();
    assert_eq!(state, LockState::Free);
}

/// Changes a setting after the first object was deleted; returns what becomes of the run, and of the repository.
fn with_a_setting_changed(command: &[&str]) -> (Result<PruneReport>, BTreeSet<ObjectName>) {
    let (files, _) = worn_repo("bare");
    let retention = tips();
    let changed = OnceLock::new();
    let observer = |_: Pruned| {
        changed.get_or_init(|| files.ostree(command));
    };
    let effort = Effort { lock_slice: Duration::from_millis(1), ..effort(1) };
    let options = PruneOptions { effort, observer: Some(&observer), ..options(&retention, 1) };
    let result = prune(&files.open(), &options, &Control::new());
    (result, files.objects())
}

#[test]
fn a_setting_that_decides_nothing_stops_no_run() {
    for command in [
        &["remote", "add", "new", "https://example.com"][..],
        &["config", "set", "core.lock-timeout-secs", "7"],
        &["config", "set", "core.tombstone-commits", "true"],
    ] {
        let (result, left) = with_a_setting_changed(command);
        result.unwrap();
        let commits = left.iter().filter(|object| object.kind == ObjectType::Commit);
        assert_eq!(commits.count(), 1, "{command:?}");
    }
}

#[test]
fn an_error_tells_what_was_done_before() {
    let (result, left) = with_a_setting_changed(&["config", "set", "core.payload-link-threshold", "7"]);
    let Err(Error::Stopped { error, report }) = result else { panic!("{result:?}") };
    assert!(matches!(*error, Error::Unsupported { .. }), "{error:?}");
    let all = worn_repo("bare").0.objects().len();
    assert!(report.objects_pruned() > 0);
    assert_eq!(report.objects_pruned(), (all - left.len()) as u64);
    assert_eq!(report.left().unwrap(), "an error stopped it");
}

#[test]
fn a_cancelled_run_tells_also_what_could_not_be_removed() {
    let failure = Failure { path: "tmp/x".into(), error: Error::OutOfTime.into() };
    let done = PruneReport { failures: vec![failure], ..PruneReport::default() };
    let Error::Cancelled(Some(report)) = Error::Cancelled(None).after(done) else { panic!("no report") };
    assert_eq!(report.left().unwrap(), "it was cancelled; 1 item could not be removed");
}
