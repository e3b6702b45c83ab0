//! What the fuzz targets check, for the corpus that is kept.

#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used)] // All of it is tests.

#[path = "../fuzz/checks.rs"]
mod checks;
#[path = "../fuzz/repository.rs"]
mod repository;

use std::path::Path;

use rustix::fs::Dir;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let names = Dir::new(std::fs::File::open(&corpus).unwrap()).unwrap();
    let mut count = 0;
    for name in names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()) {
        if name != "." && name != ".." {
            println!("{target}/{name}");
            check(&std::fs::read(corpus.join(name)).unwrap());
            count += 1;
        }
    }
    assert!(count > 0);
}

#[test]
fn commits() {
    replay("commit", checks::commit);
}

#[test]
fn dirtrees() {
    replay("dirtree", checks::dirtree);
}

#[test]
fn dirmetas() {
    replay("dirmeta", checks::dirmeta);
}

#[test]
fn names_of_objects() {
    replay("object", checks::object);
}

#[test]
fn settings() {
    replay("config", checks::config);
}

#[test]
fn refs() {
    replay("ref", checks::reference);
}

#[test]
fn names_of_deltas() {
    replay("delta", checks::delta);
}

#[test]
fn plans() {
    replay("plan", checks::plan);
}

#[test]
fn repositories() {
    replay("repo", repository::repository);
}

#[test]
fn changed_plans() {
    replay("apply", repository::apply);
}
