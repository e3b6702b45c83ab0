//! Tests of the progress that a run reports.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::control::{Snapshot, Wait};
use crate::effort::Impact;
use crate::mark::keep::Keep;
use crate::mark::retention::Retention;
use crate::plan::{plan, PlanOptions};
use crate::sysroot::{usage, why, Place};
use crate::test_repo::TestRepo;
use crate::view::ViewOptions;

type Call<'a> = &'a dyn Fn(&Control) -> Result<()>;

/// Does something, and looks at its progress all the time until it is over.
fn watched<T>(work: impl FnOnce(&Control) -> Result<T>) -> (T, Vec<Snapshot>) {
    let (control, over) = (Control::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = vec![control.snapshot()];
            loop {
                let is_last = over.load(Ordering::SeqCst);
                let now = control.snapshot();
                if seen.last() != Some(&now) {
                    seen.push(now);
                }
                if is_last {
                    return seen;
                }
                std::thread::yield_now();
            }
        });
        let result = work(&control);
        over.store(true, Ordering::SeqCst);
        (result.unwrap(), watcher.join().unwrap())
    })
}

/// Fails unless phases follow each other, and steps only rise within one.
fn assert_rising(seen: &[Snapshot], context: &str) {
    let work: Vec<_> = seen.iter().filter(|now| !matches!(now.phase, Phase::Lock | Phase::Paused)).collect();
    for pair in work.windows(2) {
        let (before, now) = (pair[0], pair[1]);
        let context = format!("{context}: {before:?}, {now:?}");
        assert!(now.bytes_freed >= before.bytes_freed, "{context}");
        assert!(now.total.is_none_or(|total| now.done <= total), "{context}");
        assert!(now.phase as u8 >= before.phase as u8, "{context}");
        if now.phase == before.phase {
            assert!(now.done >= before.done, "{context}");
            assert!(before.total.is_none_or(|total| now.total == Some(total)), "{context}");
        }
    }
}

/// A branch of four commits of many directories each, of which those behind the last one are to go.
fn repo() -> TestRepo {
    let files = TestRepo::new("bare-user");
    for version in 0..4 {
        let tree: Vec<_> =
            (0..60).map(|number| (format!("{number}/file"), format!("{version} {number}"))).collect();
        let tree: Vec<_> = tree.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
        files.commit("main", &tree);
    }
    files
}

#[test]
fn steps_only_rise_within_a_phase() {
    let retention = Retention::refs(Keep::ALONE);
    for impact in [Impact::Balanced, Impact::Full] {
        let files = repo();
        let effort = Effort { lock_slice: Duration::from_millis(1), ..Effort::new(impact) };
        let options = |dry_run| PruneOptions {
            retention: &retention,
            dry_run,
            effort,
            limits: Limits::default(),
            stale_tmp: true,
            leftovers: true,
            deltas_of: None,
            observer: None,
            plan: None,
        };
        let view = ViewOptions { depth: Some(0), ignore_missing_commits: false, effort };
        let place = files.path();
        let runs: [(&str, Call); 5] = [
            ("usage", &|control| usage(Place::Repo(&place), view, control).map(drop)),
            ("why", &|control| why(Place::Repo(&place), "main", view, control).map(drop)),
            ("plan", &|control| {
                let options = PlanOptions { retention: &retention, effort };
                plan(&files.open(), &options, control).map(drop)
            }),
            ("dry run", &|control| prune(&files.open(), &options(true), control).map(drop)),
            ("run", &|control| prune(&files.open(), &options(false), control).map(drop)),
        ];
        for (name, run) in runs {
            let ((), seen) = watched(run);
            assert_rising(&seen, &format!("{impact:?}, {name}"));
            assert_eq!(seen.last().unwrap().phase, Phase::Done, "{impact:?}, {name}");
        }
        files.ostree(&["fsck", "--quiet"]);
    }
}

#[test]
fn a_run_that_was_stopped_is_not_done() {
    let files = repo();
    let retention = Retention::refs(Keep::ALONE);
    let options = PruneOptions {
        retention: &retention,
        dry_run: false,
        effort: Effort::new(Impact::Full),
        limits: Limits { max_freed: Some(1), free_until: None },
        stale_tmp: false,
        leftovers: false,
        deltas_of: None,
        observer: None,
        plan: None,
    };
    let (report, seen) = watched(|control| prune(&files.open(), &options, control));
    assert!(report.unfinished.is_some());
    assert_ne!(seen.last().unwrap().phase, Phase::Done);
}

#[test]
fn who_waits_for_a_lock_says_for_which() {
    let files = repo();
    let repo = files.open();
    let (control, other) = (Control::new(), Control::new());
    let lock = repo.lock(Some(LockTimeout::Never)).unwrap();
    let held = lock.acquire(LockKind::Shared, &other).unwrap();
    std::thread::scope(|scope| {
        let ours = repo.lock(Some(LockTimeout::Never)).unwrap();
        let control = &control;
        let waiter = scope.spawn(move || ours.acquire(LockKind::Exclusive, control).map(drop));
        let wanted = Some(Wait::Lock(files.path().join(".lock")));
        let start = Instant::now();
        let seen = loop {
            let now = control.snapshot();
            if now.waiting == wanted || start.elapsed() > Duration::from_secs(60) {
                break now;
            }
        };
        drop(held);
        waiter.join().unwrap().unwrap();
        assert_eq!((seen.waiting, seen.phase, seen.total), (wanted, Phase::Lock, None));
    });
    assert_eq!(control.snapshot().waiting, None);
}
