//! What holds a sysroot's space: roots are those of a cleanup.

use std::path::Path;

use super::own_repo::OwnRepo;
use super::{host, Owner};
use crate::control::{Control, Phase};
use crate::effort::Effort;
use crate::error::Result;
use crate::mark::retention::Retention;
use crate::mark::{Alone, RootSource};
use crate::pace::Pace;
use crate::repo::Repo;
use crate::view::{self, Explanation, PolicyCheck, Usage, ViewOptions};
use crate::workers::Crew;

/// A repository to look at.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// One by itself, as [`crate::prune::prune`] sees it.
    Repo(&'a Path),
    /// That of a sysroot, as [`super::cleanup`](fn@super::cleanup) sees it. Refs then keep no history.
    Sysroot(&'a Path),
}

/// Finds out what holds the space. Writes nothing.
///
/// # Locking
/// The repository's shared lock for a moment, if something is missing.
pub fn usage(place: Place, options: ViewOptions, control: &Control) -> Result<Usage> {
    look(place, options, control, |repo, sources, options| {
        view::usage(
            repo,
            sources,
            options,
            Crew::of(&Pace::new(&options.effort, repo.objects(), control)),
            control,
        )
    })
}

/// Finds out why the object that `text` stands for is kept, or that it is not: `CHECKSUM.TYPE`, the beginning of a
/// checksum, or a ref. Writes nothing.
///
/// # Locking
/// The repository's shared lock for a moment, if something is missing.
pub fn why(place: Place, text: &str, options: ViewOptions, control: &Control) -> Result<Explanation> {
    look(place, options, control, |repo, sources, options| {
        view::why(
            repo,
            sources,
            text,
            options,
            Crew::of(&Pace::new(&options.effort, repo.objects(), control)),
            control,
        )
    })
}

/// Finds out which rule each ref of a repository gets, and how many commits go. Writes nothing.
///
/// # Locking
/// The repository's shared lock, for a moment.
pub fn check_policy(
    path: &Path,
    retention: &Retention,
    effort: Effort,
    control: &Control,
) -> Result<PolicyCheck> {
    look(
        Place::Repo(path),
        ViewOptions { depth: None, ignore_missing_commits: false, effort },
        control,
        |repo, sources, options| {
            let pace = Pace::new(&options.effort, repo.directory(), control);
            view::check_policy(repo, sources, retention, options, Crew::of(&pace), control)
        },
    )
}

fn look<T>(
    place: Place,
    options: ViewOptions,
    control: &Control,
    look: impl FnOnce(&Repo, &mut dyn RootSource, ViewOptions) -> Result<T>,
) -> Result<T> {
    let found = match place {
        Place::Repo(path) => {
            let repo = Repo::open(path)?;
            if host::owns(&repo)? {
                look(&repo, &mut OwnRepo, options)
            } else {
                look(&repo, &mut Alone, options)
            }
        }
        Place::Sysroot(path) => {
            let path = host::sysroot(path)?;
            let repo = Repo::open(&path.join("ostree/repo"))?;
            let mut owner = Owner::open(path, None, control)?;
            look(&repo, &mut owner, ViewOptions { depth: Some(0), ignore_missing_commits: true, ..options })
        }
    }?;
    control.enter(Phase::Done, 0);
    Ok(found)
}
