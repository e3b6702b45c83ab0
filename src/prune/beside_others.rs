//! Tests of runs that meet, while they read without a lock, what others do at the same time.

use std::collections::BTreeSet;

use super::*;
use crate::effort::Impact;
use crate::mark::keep::Keep;
use crate::mark::roots::Start;
use crate::repo::refs::Ref;
use crate::sweep::Limits;
use crate::test_repo::TestRepo;

const NOBODY: (usize, Vec<Start>) = (0, Vec::new());

/// A repository's surroundings in which something happens each time after refs were read, and before they are followed.
struct Meddler<F> {
    asked: usize,
    meddle: F,
    /// What it names, from the so many-th look on.
    named: (usize, Vec<Start>),
}

impl<F: FnMut(usize)> RootSource for Meddler<F> {
    fn roots(&mut self) -> Result<Vec<Start>> {
        self.asked += 1;
        (self.meddle)(self.asked);
        if self.asked < self.named.0 {
            return Ok(Vec::new());
        }
        // Always the same, but for its name.
        let name = || Some(format!("look {}", self.asked));
        Ok(self.named.1.iter().map(|start| Start { required_by: name(), ..start.clone() }).collect())
    }
    fn in_use(&mut self) -> Result<Vec<Start>> {
        Ok(Vec::new())
    }
    fn outdates(&self, _: &Ref) -> bool {
        false
    }
}

impl<F: FnMut(usize)> Surroundings for Meddler<F> {
    fn try_lock(&mut self) -> Result<Option<PathBuf>> {
        Ok(None)
    }
    fn unlock(&mut self) {}
    fn unprotects(&self) -> bool {
        false
    }
}

fn run(
    files: &TestRepo,
    retention: &Retention,
    dry_run: bool,
    named: (usize, Vec<Start>),
    meddle: impl FnMut(usize),
) -> Result<PruneReport> {
    let repo = files.open();
    let lock_timeout = Some(LockTimeout::After(Duration::from_millis(300)));
    let options = PruneOptions {
        stale_tmp: false,
        leftovers: false,
        retention,
        dry_run,
        effort: Effort { lock_timeout, lock_slice: Duration::from_millis(1), ..Effort::new(Impact::Full) },
        limits: Limits::default(),
        deltas_of: None,
        observer: None,
        plan: None,
    };
    prune_within(&repo, &mut Meddler { asked: 0, meddle, named }, &options, &Control::new())
}

/// A branch of two commits, and another one of which each directory has files of its own.
fn repo() -> (TestRepo, [Checksum; 3]) {
    let files = TestRepo::new("archive");
    let parent = files.commit("main", &[("old/file", "old"), ("shared/file", "shared")]);
    let tip = files.commit("main", &[("new/file", "new"), ("shared/file", "shared")]);
    let other = files.commit("other", &[("a/b/c", "c"), ("a/d", "d")]);
    (files, [parent, tip, other])
}

fn remove(path: PathBuf) -> rustix::io::Result<()> {
    rustix::fs::unlink(path)
}

fn commit_file(files: &TestRepo, commit: Checksum) -> PathBuf {
    files.file_of(ObjectName::new(commit, ObjectType::Commit))
}

fn assert_left_as_by_ostree(files: &TestRepo, options: &[&str]) {
    let left = files.objects();
    files.ostree(&["fsck"]);
    files.ostree(&[&["prune"], options].concat());
    assert_eq!(files.objects(), left);
}

#[test]
fn a_ref_that_goes_with_its_commit_meanwhile_is_no_damage() {
    for dry_run in [false, true] {
        let (files, _) = repo();
        let retention = Retention::refs(Keep::ALONE);
        run(&files, &retention, dry_run, NOBODY, |asked| {
            if asked == 1 {
                files.drop_ref("other");
                files.ostree(&["prune", "--refs-only", "--depth=0"]);
            }
        })
        .unwrap();
        assert_left_as_by_ostree(&files, &["--refs-only", "--depth=0"]);
    }
}

/// As a reader sees it while another prune is at work, and once that is done.
#[test]
fn a_commit_that_goes_meanwhile_after_its_directories_is_no_damage() {
    for dry_run in [false, true] {
        let (files, [parent, ..]) = repo();
        let retention = Retention::refs(Keep::ALL);
        let mut gone = 0;
        let report = run(&files, &retention, dry_run, NOBODY, |asked| match asked {
            1 => remove(files.file_of(files.dirtree_at(parent, "/old"))).unwrap(),
            2 => {
                remove(commit_file(&files, parent)).unwrap();
                gone = files.objects().len();
            }
            _ => {}
        })
        .unwrap();
        assert!(report.objects_pruned() >= 1 && report.objects_total() <= gone as u64);
        if !dry_run {
            assert_left_as_by_ostree(&files, &["--refs-only"]);
        }
    }
}

#[test]
fn damage_that_comes_while_reading_stops_the_run_before_its_first_unlink() {
    for dry_run in [false, true] {
        let (files, [.., other]) = repo();
        files.drop_ref("main");
        let directory = files.dirtree_at(other, "/a");
        let before: BTreeSet<_> = files.objects();
        let error = run(&files, &Retention::refs(Keep::ALONE), dry_run, NOBODY, |asked| {
            if asked == 1 {
                remove(files.file_of(directory)).unwrap();
            }
        })
        .unwrap_err();
        assert!(error.to_string().contains(&directory.to_string()), "{error}");
        assert_eq!(before.difference(&files.objects()).collect::<Vec<_>>(), [&directory]);
    }
}

#[test]
fn a_ref_to_a_commit_that_is_missing_stops_the_run_before_its_first_unlink() {
    for dry_run in [false, true] {
        let (files, [_, tip, _]) = repo();
        remove(commit_file(&files, tip)).unwrap();
        let before = files.objects();
        let error =
            run(&files, &Retention::refs(Keep::ALONE), dry_run, NOBODY, |_| ()).unwrap_err().to_string();
        assert!(error.contains("refs/heads/main") && error.contains(&tip.to_string()), "{error}");
        assert_eq!(files.objects(), before);
    }
}

#[test]
fn a_run_that_can_never_be_sure_ends_at_the_locks_timeout() {
    let (files, [.., other]) = repo();
    remove(files.file_of(files.dirtree_at(other, "/a"))).unwrap();
    let before = files.objects();
    let named = (1, vec![Start { commit: other, keep: Keep::ALONE, required_by: None }]);
    let result = run(&files, &Retention::refs(Keep::ALONE), false, named, |_| ());
    assert!(matches!(result, Err(Error::LockTimeout { .. })), "{result:?}");
    assert_eq!(files.objects(), before);
}

#[test]
fn what_takes_long_to_read_is_read_without_the_lock() {
    let (files, _) = repo();
    let wide = files.commit_wide("wide", 3000);
    files.drop_ref("wide");
    let named = (2, vec![Start { commit: wide, keep: Keep::ALONE, required_by: None }]);
    let looks = std::cell::Cell::new(0);
    let report = run(&files, &Retention::refs(Keep::ALONE), false, named, |asked| looks.set(asked)).unwrap();
    files.ostree(&["refs", "--create=wide", &wide.to_string()]);
    assert_left_as_by_ostree(&files, &["--refs-only", "--depth=0"]);
    // Each time it was read on, and little more was done under the lock than to find out that there is more.
    assert!(looks.get() > 3);
    assert!(report.locks.exclusive.longest < Duration::from_secs(1));
}
