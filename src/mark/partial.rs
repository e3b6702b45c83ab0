//! Which commits are marked as partial, kept up to date.

use std::collections::HashSet;

use rustix::fs::fstat;

use super::stamps::{Clock, Known, Stamp};
use crate::error::{Error, Result};
use crate::repo::object::Checksum;
use crate::repo::Repo;

/// The marks of a repository. They are names in one directory, which is listed again only if its
/// [stamp](super::stamps) says that it changed, or can't say that it did not.
#[derive(Debug)]
pub(crate) struct Marks {
    known: Known,
    clock: Clock,
}

impl Marks {
    /// Nothing is known yet.
    pub fn new(repo: &Repo) -> Result<Self> {
        Ok(Self { known: Known::Nothing, clock: Clock::new(repo)? })
    }

    /// The commits that are marked; None: those that were at the last look.
    pub fn update(&mut self, repo: &Repo) -> Result<Option<HashSet<Checksum>>> {
        let is_trusted = self.clock.is_trustworthy() && repo.parent().is_none();
        let stamp = match repo.part("state")? {
            Some(state) => Some(fstat(&state).map_err(|error| Error::io(repo.path().join("state"), error))?),
            None => None,
        };
        let stamp = stamp.as_ref().map(Stamp::of);
        if is_trusted && self.known == Known::AsOf(stamp) {
            return Ok(None);
        }
        self.known = if is_trusted { Known::at(stamp, Clock::coarse()) } else { Known::Nothing };
        repo.partial_commits().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_repo::TestRepo;

    #[test]
    fn a_mark_that_comes_or_goes_is_seen() {
        let files = TestRepo::new("archive");
        let commits = [files.commit("main", &[("file", "1")]), files.commit("main", &[("file", "2")])];
        let repo = files.open();
        let mut marks = Marks::new(&repo).unwrap();
        while marks.update(&repo).unwrap().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // Each right after the other, within a tick of the clock.
        for commit in commits {
            files.mark_partial(commit);
            assert!(marks.update(&repo).unwrap().is_some_and(|marked| marked.contains(&commit)));
        }
        for commit in commits {
            rustix::fs::unlink(files.path().join(format!("state/{commit}.commitpartial"))).unwrap();
            assert!(marks.update(&repo).unwrap().is_some_and(|marked| !marked.contains(&commit)));
        }
    }
}
