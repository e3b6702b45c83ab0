//! Fills a repository that `ostree init` has made: `generate REPO desktop|device|hub|history [KEY=NUMBER...]`.
//!
//! The keys are those of `Shape`; `symlinks=1` makes all files symlinks.

#![allow(clippy::print_stderr, missing_docs)]

use std::path::Path;
use std::process::ExitCode;

use ostree_sweep::generate::{generate, Shape};

fn main() -> ExitCode {
    // Files' permissions are part of their names.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let args: Vec<_> = std::env::args().skip(1).collect();
    let Some((repo, shape)) = args.split_first().and_then(|(repo, rest)| Some((repo, shape(rest)?))) else {
        eprintln!("usage: generate REPO desktop|device|hub|history [KEY=NUMBER...]");
        return ExitCode::from(2);
    };
    match generate(Path::new(repo), &shape) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn shape(args: &[String]) -> Option<Shape> {
    let (name, changes) = args.split_first()?;
    let mut shape = match name.as_str() {
        "desktop" => Shape::DESKTOP,
        "device" => Shape::DEVICE,
        "hub" => Shape::HUB,
        "history" => Shape::HISTORY,
        _ => return None,
    };
    for change in changes {
        let (key, number) = change.split_once('=')?;
        let number = number.parse().ok()?;
        match key {
            "refs" => shape.refs = number,
            "commits" => shape.commits = number,
            "changes" => shape.changes = number,
            "directories" => shape.directories = number,
            "files" => shape.files = number,
            "garbage" => shape.garbage = number,
            "symlinks" => shape.symlinks = number != 0,
            _ => return None,
        }
    }
    Some(shape)
}
