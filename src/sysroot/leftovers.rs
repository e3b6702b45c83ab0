//! What a sysroot holds that no deployment needs: [`checkouts`](super::checkouts) and what [`boot`](super::boot) names.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{openat, Mode, OFlags, CWD};
use rustix::io::Errno;

use super::checkouts::{self, Unused};
use super::listing::Listing;
use super::mounts::Mounts;
use super::{boot, Host, Owner};
use crate::control::{Control, Phase};
use crate::effort::Effort;
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::prune::Surroundings;
use crate::repo::config::LockTimeout;
use crate::repo::lock::{poll, Attempt};
use crate::report::{Cause, Failure};
use crate::sweep::checkout::{Context, Outcome, Stuck};
use crate::sweep::extent::{self, Extent};
use crate::sweep::links::Links;
use crate::workers::Crew;

/// What to say of a directory that is no checkout. It is not ours to remove, so it leaves no cleanup incomplete.
pub(super) fn warn_of_stray(path: &Path) -> String {
    format!(
        "{}: its name is no checkout's, HEX.NUMBER; it stays, and stops `ostree admin cleanup`; move it elsewhere",
        path.display()
    )
}

/// As the removal finds it.
fn mount_point() -> Cause {
    Cause::from(Errno::XDEV).in_words("it is a mount point")
}

/// Something that a cleanup removes.
enum Leftover {
    Checkout(Unused),
    /// Of the boot files, relative to the sysroot.
    Boot(PathBuf),
}

impl Leftover {
    /// Relative to the sysroot.
    fn path(&self) -> PathBuf {
        match self {
            Leftover::Checkout(checkout) => checkout.path(),
            Leftover::Boot(item) => item.clone(),
        }
    }

    /// All that goes with it, relative to the sysroot.
    fn places(&self) -> Vec<PathBuf> {
        match self {
            Leftover::Checkout(checkout) if checkout.kept_because().is_some() => Vec::new(),
            Leftover::Checkout(checkout) => vec![checkout.backing(), checkout.origin(), checkout.path()],
            Leftover::Boot(item) => vec![item.clone()],
        }
    }

    /// What keeps it from being removed, as far as that shows beforehand.
    fn obstacles(&self, path: &Path, mounts: &Mounts) -> Result<Vec<Failure>> {
        if let Leftover::Checkout(checkout) = self {
            if let Some(reason) = checkout.kept_because() {
                return Ok(vec![Failure { path: checkout.path(), error: reason.into() }]);
            }
        }
        let mut found = Vec::new();
        for place in self.places() {
            let points = mounts.at_or_below(path, &place)?;
            found.extend(points.into_iter().map(|path| Failure { path, error: mount_point() }));
        }
        Ok(found)
    }
}

/// What was done about leftovers.
#[derive(Default)]
pub(super) struct Done {
    /// `STATEROOT/HEX.NUMBER` of checkouts that are gone.
    pub removed: BTreeSet<String>,
    /// Directories among the checkouts that are none, relative to the sysroot.
    pub strays: BTreeSet<PathBuf>,
    stuck: Stuck,
    given_up: HashSet<PathBuf>,
    /// How many are gone or given up.
    settled: u64,
}

impl Done {
    /// What could not be deleted. Paths are relative to the sysroot.
    pub fn into_failures(self) -> Vec<Failure> {
        self.stuck.into_failures()
    }
}

/// Removes all leftovers, noting in `done` what became of them.
///
/// # Locking
/// The sysroot's lock in slices. In each of them it is decided anew what is left over.
pub(super) fn remove_all(
    owner: &mut Owner,
    timeout: LockTimeout,
    effort: &Effort,
    control: &Control,
    done: &mut Done,
) -> Result<()> {
    let sysroot =
        openat(CWD, owner.path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Error::io(owner.path, error))?;
    let pace = Pace::new(effort, &sysroot, control);
    loop {
        pace.rest(&sysroot)?;
        poll(timeout, control, || Ok(owner.try_lock()?.map_or(Attempt::Acquired(()), Attempt::Busy)))?;
        let result = slice(owner, effort, &pace, control, done);
        owner.unlock();
        if result? {
            return Ok(());
        }
    }
}

/// Works until the time is over. True if nothing is left to be done.
fn slice(
    owner: &mut Owner,
    effort: &Effort,
    pace: &Pace,
    control: &Control,
    done: &mut Done,
) -> Result<bool> {
    owner.look()?;
    let (mut leftovers, strays) = find(owner.path, &owner.listing, &owner.host)?;
    done.strays.extend(strays);
    leftovers.retain(|leftover| !done.given_up.contains(&leftover.path()));
    control.enter_at(Phase::Deployments, done.settled, done.settled + leftovers.len() as u64);
    let deadline = Instant::now() + effort.slice();
    let crew = Crew::of(pace).sweepers();
    for leftover in leftovers {
        let context = Context { control, crew, deadline, stuck: &done.stuck, bytes: None };
        let outcome = match &leftover {
            Leftover::Checkout(checkout) => checkouts::remove_unused(owner.path, checkout, context)?,
            Leftover::Boot(item) => boot::remove_unused(owner.path, item, context)?,
        };
        match outcome {
            Outcome::Unfinished => return Ok(false),
            Outcome::Stuck => {
                done.given_up.insert(leftover.path());
            }
            Outcome::Gone => {
                if let Leftover::Checkout(checkout) = leftover {
                    done.removed.insert(checkout.name());
                }
            }
        }
        done.settled += 1;
        control.advance(1);
        if pace.ends_slice(deadline) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a real run would do, as far as that shows beforehand.
#[derive(Default)]
pub(super) struct Forecast {
    /// What would be removed, relative to the sysroot: checkouts, and then boot files.
    pub removed: Vec<PathBuf>,
    /// Of these, the checkouts, as `STATEROOT/HEX.NUMBER`.
    pub checkouts: Vec<String>,
    /// What could not be removed.
    pub failures: Vec<Failure>,
    /// Directories among the checkouts that are none, relative to the sysroot.
    pub strays: Vec<PathBuf>,
}

impl Forecast {
    /// For a sysroot that was looked at. Takes no lock.
    pub fn of(owner: &Owner) -> Result<Self> {
        let (leftovers, strays) = find(owner.path, &owner.listing, &owner.host)?;
        let mounts = Mounts::read()?;
        let mut forecast = Self { strays, ..Self::default() };
        for leftover in leftovers {
            let obstacles = leftover.obstacles(owner.path, &mounts)?;
            if obstacles.is_empty() {
                forecast.removed.push(leftover.path());
                if let Leftover::Checkout(checkout) = leftover {
                    forecast.checkouts.push(checkout.name());
                }
            }
            forecast.failures.extend(obstacles);
        }
        Ok(forecast)
    }
}

/// What the removal of all leftovers gives back, and the names that go with them.
pub(super) fn measure(owner: &Owner, control: &Control) -> Result<(Extent, Links)> {
    let (mut extent, mut links) = (Extent::default(), Links::default());
    for leftover in find(owner.path, &owner.listing, &owner.host)?.0 {
        for item in leftover.places() {
            let parent = owner.path.join(item.parent().unwrap_or(Path::new("")));
            match openat(CWD, &parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(parent) => extent::measure(&parent, &item, control, &mut links, &mut extent)?,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(Error::io(parent, error)),
            }
        }
    }
    Ok((extent, links))
}

/// What is left over, and directories that nobody knows.
fn find(path: &Path, listing: &Listing, host: &Host) -> Result<(Vec<Leftover>, Vec<PathBuf>)> {
    let checkouts::Unlisted { unused, strays } = checkouts::unlisted(path, listing, host)?;
    let checkouts = unused.into_iter().map(Leftover::Checkout);
    let boot = boot::unused(path, listing)?.into_iter().map(Leftover::Boot);
    Ok((checkouts.chain(boot).collect(), strays))
}
