//! The core alone, to be killed by tests; see `fault.rs` for when and how.
//!
//! `killable prune REPO [JOBS [IMPACT]]` does what `ostree-sweep prune --refs-only --depth=0` does, `killable cleanup SYSROOT`
//! what `ostree-sweep cleanup` does, but for the stamp.
//! Prints `waiting` once it waits for a lock. Exits as the command does: with 75 if a lock stayed busy.

#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ostree_sweep::control::Phase;
use ostree_sweep::effort::{Effort, Impact};
use ostree_sweep::mark::keep::Keep;
use ostree_sweep::mark::retention::Retention;
use ostree_sweep::prune::{prune, Limits, PruneOptions};
use ostree_sweep::repo::Repo;
use ostree_sweep::sysroot::{cleanup, CleanupOptions};
use ostree_sweep::{Control, Error};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let control = Arc::new(Control::new());
    let watched = Arc::clone(&control);
    std::thread::spawn(move || tell_of_waiting(&watched));
    let jobs = args.get(2).map_or(Ok(NonZeroUsize::MIN), |jobs| jobs.parse());
    let impact = match args.get(3).map(String::as_str) {
        Some("idle") => Impact::Idle,
        Some("balanced") => Impact::Balanced,
        _ => Impact::Full,
    };
    let result = match (args.first().map(String::as_str), args.get(1).map(Path::new), jobs) {
        (Some("prune"), Some(repo), Ok(jobs)) => {
            let effort = Effort { jobs: Some(jobs), ..Effort::new(impact) };
            prune_refs_only(repo, effort, &control)
        }
        (Some("cleanup"), Some(sysroot), Ok(jobs)) => {
            let options = CleanupOptions {
                container_layers: false,
                dry_run: false,
                effort: Effort { jobs: Some(jobs), ..Effort::new(Impact::Full) },
                limits: Limits::default(),
                observer: None,
                plan: None,
                own_plans: &[],
            };
            cleanup(sysroot, &options, &control).map(|_| ())
        }
        _ => {
            eprintln!("usage: killable prune REPO [JOBS [IMPACT]]\n       killable cleanup SYSROOT [JOBS]");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if matches!(error, Error::LockTimeout { .. } | Error::Busy(_)) { 75 } else { 1 })
        }
    }
}

fn prune_refs_only(repo: &Path, effort: Effort, control: &Control) -> Result<(), Error> {
    let options = PruneOptions {
        retention: &Retention::refs(Keep::ALONE),
        dry_run: false,
        effort,
        limits: Limits::default(),
        stale_tmp: false,
        leftovers: true,
        deltas_of: None,
        observer: None,
        plan: None,
    };
    let report = prune(&Repo::open(repo)?, &options, control)?;
    for failure in &report.failures {
        eprintln!("{}: {}", failure.path.display(), failure.error);
    }
    Ok(())
}

fn tell_of_waiting(control: &Control) {
    while control.snapshot().phase != Phase::Lock {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("waiting");
}
