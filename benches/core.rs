//! The core alone, in a process without Python: times a prune, or the floor under it.
//!
//! `core crawl REPO [JOBS]` is a dry run of `prune --refs-only`: crawl, and one listing.
//! `core floor REPO [JOBS]` does the same system calls with no thinking: reads all dirtrees and dirmetas, lists all
//! object directories.
//! `core sweep REPO [JOBS]` is a real `prune --refs-only`, of which only the time from the sweep's begin counts.
//! `core unlink REPO [JOBS]` deletes the same objects with no thinking, which were found before: lists all object
//! directories, and unlinks. `core unlink-by-inode REPO [JOBS]` does so in the order of their inodes.
//! `core delete REPO [IMPACT [VARIANT...]]` is `prune --refs-only`, with these changes of the impact's pacing: `jobs=N`,
//! `no-priority`, `no-batch`, `batch=N` (of that size, whatever syncs take), `no-back-off`, `back-off=TIMES,BATCH`,
//! `no-write-back`, `rate=N`.
//! Prints `SECONDS PEAK_RSS_KIB`, the time without the process's start.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![allow(clippy::disallowed_methods)] // The floor deletes by itself.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use ostree_sweep::control::Phase;
use ostree_sweep::effort::{BackOff, Batch, Effort, Impact};
use ostree_sweep::mark::keep::Keep;
use ostree_sweep::mark::retention::Retention;
use ostree_sweep::prune::Limits;
use ostree_sweep::prune::{prune, PruneOptions};
use ostree_sweep::pruned::{Item, Observer, Pruned};
use ostree_sweep::repo::Repo;
use ostree_sweep::report::PruneReport;
use ostree_sweep::Control;
use rustix::fs::{openat, unlinkat, AtFlags, Mode, OFlags, RawDir, CWD};

fn main() {
    // `cargo bench` adds an option of its own.
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let (Some(what), Some(repo)) = (args.first(), args.get(1)) else {
        println!(
            "usage: core crawl|floor|sweep|unlink|unlink-by-inode REPO [JOBS]\n       core delete REPO [IMPACT [VARIANT...]]"
        );
        return;
    };
    let repo = Path::new(repo);
    let jobs = args.get(2).and_then(|jobs| jobs.parse().ok());
    // As many as we take of ourselves, so that the floor is one for us.
    let as_many = || jobs.unwrap_or(Effort::new(Impact::Full).pacing.jobs).get();
    let time = match what.as_str() {
        "crawl" => timed(|| drop(run(repo, true, with(jobs), &Control::new(), None))),
        "floor" => floor(repo, as_many()),
        "sweep" => sweep(repo, with(jobs)),
        "unlink" => unlink(repo, as_many()),
        "unlink-by-inode" => unlink_by_inode(repo, as_many()),
        "delete" => {
            let effort = effort(&args[2..]);
            timed(|| assert!(run(repo, false, effort, &Control::new(), None).failures.is_empty()))
        }
        other => panic!("unknown benchmark {other}"),
    };
    println!("{:.6} {}", time.as_secs_f64(), peak_rss_kib());
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn with(jobs: Option<NonZeroUsize>) -> Effort {
    Effort { jobs, ..Effort::new(Impact::Full) }
}

fn run(
    repo: &Path,
    dry_run: bool,
    effort: Effort,
    control: &Control,
    observer: Option<Observer>,
) -> PruneReport {
    let options = PruneOptions {
        retention: &Retention::refs(Keep::ALL),
        dry_run,
        effort,
        limits: Limits::default(),
        stale_tmp: false,
        leftovers: false,
        deltas_of: None,
        observer,
        plan: None,
    };
    prune(&Repo::open(repo).unwrap(), &options, control).unwrap()
}

fn sweep(repo: &Path, effort: Effort) -> Duration {
    let control = Control::new();
    let (over, start) = (AtomicBool::new(false), OnceLock::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) && control.snapshot().phase != Phase::Sweep {
                std::thread::sleep(Duration::from_millis(1));
            }
            start.set(Instant::now())
        });
        assert!(run(repo, false, effort, &control, None).failures.is_empty());
        over.store(true, Ordering::Relaxed);
    });
    start.get().expect("it has begun").elapsed()
}

/// The names of garbage objects in each directory.
fn find_garbage(repo: &Path) -> Vec<Mutex<HashSet<String>>> {
    let garbage: Vec<_> = (0..256).map(|_| Mutex::new(HashSet::new())).collect();
    let observe = |pruned: Pruned| {
        let Item::Object(object) = pruned.item else { return };
        let path = object.loose_path(Repo::open(repo).unwrap().config().mode);
        let number = usize::from_str_radix(&path[..2], 16).unwrap();
        garbage[number].lock().unwrap().insert(path[3..].to_owned());
    };
    run(repo, true, Effort::new(Impact::Full), &Control::new(), Some(&observe));
    garbage
}

fn unlink(repo: &Path, jobs: usize) -> Duration {
    let garbage = find_garbage(repo);
    timed(|| {
        parallel(jobs, 256, |number, buffer| {
            let path = directory(repo, number);
            let mut names = Vec::new();
            let garbage = garbage[number].lock().unwrap();
            list(&path, buffer, |_, name| names.extend(garbage.get(name)));
            let Some(directory) = open(&path) else { return };
            for name in names {
                unlinkat(&directory, name, AtFlags::empty()).unwrap();
            }
        });
    })
}

fn unlink_by_inode(repo: &Path, jobs: usize) -> Duration {
    let garbage = find_garbage(repo);
    timed(|| {
        let found = Mutex::new(Vec::new());
        let directories: Vec<_> = (0..256).map(|number| open(&directory(repo, number))).collect();
        parallel(jobs, 256, |number, buffer| {
            let garbage = garbage[number].lock().unwrap();
            let mut own = Vec::new();
            list(&directory(repo, number), buffer, |inode, name| {
                own.extend(garbage.contains(name).then(|| (inode, number, name.to_owned())));
            });
            found.lock().unwrap().append(&mut own);
        });
        let mut found = found.into_inner().unwrap();
        found.sort_unstable();
        // Each thread takes neighbours.
        let parts: Vec<_> = found.chunks(found.len().div_ceil(jobs).max(1)).collect();
        parallel(jobs, parts.len(), |part, _| {
            for (_, number, name) in parts[part] {
                unlinkat(directories[*number].as_ref().unwrap(), name, AtFlags::empty()).unwrap();
            }
        });
    })
}

fn effort(args: &[String]) -> Effort {
    let impact = match args.first().map_or("full", String::as_str) {
        "idle" => Impact::Idle,
        "balanced" => Impact::Balanced,
        "full" => Impact::Full,
        other => panic!("unknown impact {other}"),
    };
    let mut effort = Effort::new(impact);
    let number = |text: &str| text.parse::<NonZeroUsize>().expect("a number");
    for variant in args.iter().skip(1) {
        match variant.split_once('=').unwrap_or((variant, "")) {
            ("jobs", jobs) => effort.jobs = Some(number(jobs)),
            ("no-priority", _) => effort.pacing.priority = None,
            ("no-batch", _) => effort.pacing.batch = None,
            ("batch", size) => {
                let size = number(size).get();
                effort.pacing.batch = Some(Batch { least: size, most: size, sync: Duration::MAX });
            }
            ("rate", rate) => effort.unlinks_per_s = Some(rate.parse().expect("a number")),
            ("no-back-off", _) => effort.pacing.back_off = None,
            ("back-off", choice) => {
                let (times, batch) = choice.split_once(',').expect("two numbers");
                let times = times.parse().expect("a number");
                let back_off = effort.pacing.back_off.expect("an impact that backs off");
                effort.pacing.back_off = Some(BackOff { times, batch: number(batch).get(), ..back_off });
            }
            ("no-write-back", _) => effort.pacing.writes_back = false,
            (other, _) => panic!("unknown variant {other}"),
        }
    }
    effort
}

fn floor(repo: &Path, jobs: usize) -> Duration {
    let paths = metadata(repo);
    let start = Instant::now();
    parallel(jobs, paths.len(), |index, buffer| {
        let file = open(&paths[index]).unwrap();
        let size = usize::try_from(rustix::fs::fstat(&file).unwrap().st_size).unwrap();
        buffer.resize(size + 1, 0);
        rustix::io::read(&file, buffer.as_mut_slice()).unwrap();
    });
    parallel(jobs, 256, |number, buffer| {
        list(&directory(repo, number), buffer, |_, _| ());
    });
    start.elapsed()
}

/// All dirtrees and dirmetas, in the order of their names.
fn metadata(repo: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for number in 0..256 {
        let path = directory(repo, number);
        list(&path, &mut Vec::new(), |_, name| {
            if name.ends_with(".dirtree") || name.ends_with(".dirmeta") {
                paths.push(path.join(name));
            }
        });
    }
    paths
}

fn directory(repo: &Path, number: usize) -> PathBuf {
    repo.join(format!("objects/{number:02x}"))
}

fn open(path: &Path) -> Option<OwnedFd> {
    openat(CWD, path, OFlags::CLOEXEC | OFlags::NOATIME, Mode::empty()).ok()
}

fn list(path: &Path, buffer: &mut Vec<u8>, mut each: impl FnMut(u64, &str)) {
    let Some(directory) = open(path) else { return };
    buffer.clear();
    buffer.reserve(64 << 10);
    let mut entries = RawDir::new(directory.as_fd(), buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry.unwrap();
        each(entry.ino(), entry.file_name().to_str().unwrap());
    }
}

fn parallel(jobs: usize, count: usize, work: impl Fn(usize, &mut Vec<u8>) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let mut buffer = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    work(index, &mut buffer);
                }
            });
        }
    });
}

fn peak_rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
