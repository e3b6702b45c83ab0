//! What must hold for a run on a repository whose owner puts there what he likes: nothing panics, nothing outside is
//! touched or told of, and nothing that a ref leads to is deleted.

#![allow(dead_code, clippy::disallowed_methods)] // Each target uses a part; the repository is the harness's own.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use ostree_sweep::effort::{Effort, Impact};
use ostree_sweep::mark::keep::Keep;
use ostree_sweep::mark::retention::Retention;
use ostree_sweep::plan::{plan, Plan, PlanOptions};
use ostree_sweep::prune::{prune, Limits, PlanUse, PruneOptions};
use ostree_sweep::repo::Repo;
use ostree_sweep::report::PruneReport;
use ostree_sweep::{Control, Error};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// What an alias must not lead to: nobody's commit, and not in the repository.
const SECRET: &str = "5ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4";
/// How many files are made at most.
const MAX_FILES: usize = 64;
const PLAN_CHECKSUM: usize = 32;

/// A repository of three commits: two in one history, and one that no ref leads to.
struct Fixture {
    place: TempDir,
    /// The checksum of each, and the files of all that it reaches, below the repository.
    commits: Vec<(String, BTreeSet<PathBuf>)>,
}

impl Fixture {
    fn the() -> &'static Mutex<Self> {
        static THE: OnceLock<Mutex<Fixture>> = OnceLock::new();
        THE.get_or_init(|| Mutex::new(Self::make()))
    }

    fn make() -> Self {
        let place = tempfile::tempdir().unwrap();
        let (template, tree) = (place.path().join("template"), place.path().join("tree"));
        let ostree = |arguments: &[&str]| {
            let mut command = Command::new("ostree");
            let done =
                command.arg(format!("--repo={}", template.display())).args(arguments).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).unwrap().trim().to_owned()
        };
        ostree(&["init", "--mode=archive"]);
        fs::create_dir_all(tree.join("directory")).unwrap();
        let mut commits = Vec::new();
        for (number, branch) in ["--branch=main", "--branch=main", "--orphan"].iter().enumerate() {
            fs::write(tree.join("directory").join(format!("file-{number}")), number.to_string()).unwrap();
            let commit = ostree(&["commit", "--timestamp=2026-01-01", branch, tree.to_str().unwrap()]);
            let only = place.path().join(format!("only-{number}"));
            let path = only.to_str().unwrap();
            Command::new("ostree").args(["init", "--mode=archive", "--repo", path]).status().unwrap();
            Command::new("ostree")
                .args(["pull-local", "--repo", path, template.to_str().unwrap(), &commit])
                .output()
                .unwrap();
            commits.push((commit, files_below(&only.join("objects"), Path::new("objects"))));
        }
        assert!(commits.iter().all(|(_, reached)| reached.len() > 4));
        fs::create_dir(place.path().join("outside")).unwrap();
        fs::write(place.path().join("outside/secret"), SECRET).unwrap();
        Self { place, commits }
    }

    /// The repository as `ostree` left it.
    fn fresh(&self) -> PathBuf {
        let repo = self.place.path().join("repo");
        let _ = fs::remove_dir_all(&repo);
        let template = self.place.path().join("template");
        for part in ["objects", "refs/heads", "refs/remotes", "refs/mirrors", "state", "tmp/cache/summaries"]
        {
            fs::create_dir_all(repo.join(part)).unwrap();
        }
        for file in files_below(&template.join("objects"), Path::new("objects")) {
            fs::create_dir_all(repo.join(&file).parent().unwrap()).unwrap();
            fs::hard_link(template.join(&file), repo.join(&file)).unwrap();
        }
        fs::copy(template.join("config"), repo.join("config")).unwrap();
        fs::write(repo.join("refs/heads/main"), &self.commits[1].0).unwrap();
        repo
    }

    /// `@0` to `@2` at the beginning stand for a commit, `@s` for the path of what is outside.
    fn filled_in(&self, content: &[u8]) -> Vec<u8> {
        let Some((b"@", rest)) = content.split_at_checked(1) else { return content.to_vec() };
        let (meant, rest): (&[u8], _) = match rest {
            [number @ b'0'..=b'2', rest @ ..] => {
                (self.commits[usize::from(number - b'0')].0.as_bytes(), rest)
            }
            [b's', rest @ ..] => (self.place.path().as_os_str().as_bytes(), rest),
            _ => return content.to_vec(),
        };
        [meant, rest].concat()
    }

    /// Makes what `data` says: settings, or nothing to have them as they are, and then what, name and content of each
    /// file, all ended by NUL.
    fn lay(&self, repo: &Path, data: &[u8]) {
        let parts: Vec<_> = data.split(|byte| *byte == 0).collect();
        if let Some(settings) = parts.first().filter(|settings| !settings.is_empty()) {
            fs::write(repo.join("config"), settings).unwrap();
        }
        let files = parts.get(1..).unwrap_or_default().chunks_exact(3).take(MAX_FILES);
        for file in files {
            // What can't be made is left out.
            let _ = self.make_file(repo, file[0], file[1], &self.filled_in(file[2]));
        }
    }

    fn make_file(&self, repo: &Path, what: &[u8], name: &[u8], content: &[u8]) -> Option<()> {
        let &[kind, place] = what else { return None };
        let mut path = repo.join(match place {
            b'h' => "refs/heads",
            b'r' => "refs/remotes",
            b'm' => "refs/mirrors",
            b'd' => "deltas",
            b'i' => "delta-indexes",
            b's' => "state",
            b't' => "tmp",
            b'c' => "tmp/cache/summaries",
            b'o' => "objects",
            _ => return None,
        });
        let name = self.filled_in(name);
        let parts: Vec<_> = name.split(|byte| *byte == b'/').collect();
        if parts.iter().any(|part| matches!(*part, b"" | b"." | b"..")) {
            return None;
        }
        let mut parts = parts.into_iter().map(OsStr::from_bytes);
        let last = parts.next_back()?;
        for part in std::iter::once(OsStr::new("")).chain(parts) {
            path.push(part);
            // Never through a link that was made before.
            if fs::symlink_metadata(&path).is_ok_and(|there| !there.is_dir()) {
                return None;
            }
            let _ = fs::create_dir(&path);
        }
        path.push(last);
        let _ = fs::remove_file(&path);
        match kind {
            b'f' => fs::write(&path, content).ok(),
            b'd' => fs::create_dir(&path).ok(),
            b'l' => symlink(OsStr::from_bytes(content), &path).ok(),
            b'p' => {
                use rustix::fs::{mknodat, FileType, Mode, CWD};
                mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).ok()
            }
            _ => None,
        }
    }

    /// What the refs lead to, and is there.
    fn needed(&self, repo: &Path) -> BTreeSet<PathBuf> {
        let refs = repo.join("refs");
        let mut needed = BTreeSet::new();
        for file in files_below(&refs, Path::new("")) {
            let path = refs.join(file);
            // An alias counts if it leads to a ref of the same repository.
            let Ok(real) = fs::canonicalize(&path) else { continue };
            if !real.starts_with(fs::canonicalize(&refs).unwrap()) || !real.is_file() {
                continue;
            }
            let content = fs::read(real).unwrap();
            for (commit, reached) in &self.commits {
                if content.trim_ascii_end() == commit.as_bytes() {
                    needed.extend(reached.iter().cloned());
                }
            }
        }
        needed.retain(|file| fs::symlink_metadata(repo.join(file)).is_ok());
        needed
    }

    fn check_outside(&self) {
        let outside = self.place.path().join("outside");
        assert_eq!(files_below(&outside, Path::new("")), BTreeSet::from(["secret".into()]));
        assert_eq!(fs::read(outside.join("secret")).unwrap(), SECRET.as_bytes());
    }
}

/// The files below a directory, each with `name` in front, without following symlinks.
fn files_below(directory: &Path, name: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).into_iter().flatten().map(Result::unwrap) {
        let name = name.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path(), &name));
        } else {
            found.insert(name);
        }
    }
    found
}

fn effort() -> Effort {
    Effort { jobs: std::num::NonZeroUsize::new(1), ..Effort::new(Impact::Full) }
}

fn run(repo: &Repo, dry_run: bool, plan: Option<PlanUse>) -> Result<PruneReport, Error> {
    let options = PruneOptions {
        retention: &Retention::refs(Keep::ALONE),
        dry_run,
        effort: effort(),
        limits: Limits::default(),
        stale_tmp: true,
        leftovers: true,
        deltas_of: None,
        observer: None,
        plan,
    };
    let result = prune(repo, &options, &Control::new());
    if let Err(error) = &result {
        assert!(!matches!(error, Error::Internal(_)), "{error}");
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
    result
}

/// Prunes a repository that holds what `data` says.
pub fn repository(data: &[u8]) {
    let fixture = Fixture::the().lock().unwrap_or_else(PoisonError::into_inner);
    let path = fixture.fresh();
    fixture.lay(&path, data);
    let needed = fixture.needed(&path);
    let before = files_below(&path, Path::new(""));
    // What a partial commit lacks may hide what it has.
    let is_partial = before.iter().any(|file| file.extension() == Some(OsStr::new("commitpartial")));
    let Ok(repo) = Repo::open(&path) else { return };
    let told = run(&repo, true, None);
    assert_eq!(files_below(&path, Path::new("")), before);
    let done = run(&repo, false, None);
    if let Ok(told) = &told {
        let done = done.unwrap();
        if done.failures.is_empty() {
            assert_eq!(told.by_type, done.by_type);
            assert_eq!(told.deltas_pruned, done.deltas_pruned);
            assert_eq!(told.leftovers_pruned, done.leftovers_pruned);
        }
    }
    for file in needed.iter().filter(|_| !is_partial) {
        assert!(fs::symlink_metadata(path.join(file)).is_ok(), "{}", file.display());
    }
    fixture.check_outside();
}

/// Prunes by a plan of which some bytes were changed: three for a place, and one for what it holds then.
pub fn apply(data: &[u8]) {
    let fixture = Fixture::the().lock().unwrap_or_else(PoisonError::into_inner);
    let path = fixture.fresh();
    let needed = fixture.needed(&path);
    let repo = Repo::open(&path).unwrap();
    let file = fixture.place.path().join("plan");
    let options = PlanOptions { retention: &Retention::refs(Keep::ALONE), effort: effort() };
    plan(&repo, &options, &Control::new()).unwrap().write(&file).unwrap();
    let mut content = fs::read(&file).unwrap();
    content.truncate(content.len() - PLAN_CHECKSUM);
    for edit in data.chunks_exact(4) {
        let place = usize::from(edit[0]) << 16 | usize::from(edit[1]) << 8 | usize::from(edit[2]);
        let length = content.len();
        content[place % length] = edit[3];
    }
    let checksum = Sha256::digest(&content);
    content.extend_from_slice(&checksum);
    fs::write(&file, content).unwrap();
    let Ok(plan) = Plan::read(&file) else { return };
    // A plan that changes nothing deletes what it was made for.
    let done = run(&repo, false, Some(PlanUse { plan: &plan, must_cover: false }));
    assert!(!data.is_empty() || done.unwrap().objects_pruned() == plan.len() as u64);
    for file in needed {
        assert!(fs::symlink_metadata(path.join(&file)).is_ok(), "{}", file.display());
    }
}
