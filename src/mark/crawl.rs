//! The crawl: from root directories to all that they reach.
//!
//! Threads share a stack of dirtrees to read. Each works on a stack of its own and hands half of it over when
//! another has run dry; who finds nothing waits, and when all wait the crawl is done. A dirtree is read once,
//! however many commits share it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::live_set::LiveSet;
use super::roots::Root;
use crate::control::{Control, Phase};
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::repo::object::{ObjectName, ObjectType};
use crate::repo::variant::{self, Child};
use crate::repo::Repo;
use crate::workers::{contain_panic, Crew};

/// So many objects tell whether they have to be read from a disk: those in memory take less time each.
const SCOUTED: u32 = 32;
const COLD: Duration = Duration::from_micros(50);

/// A wait looks at the cancel flag this often.
const TICK: Duration = Duration::from_millis(50);

/// Objects that are live and were not read.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    /// They were not there.
    pub missing: Vec<ObjectName>,
    /// There was no time left for them.
    pub left: Vec<ObjectName>,
}

impl Unread {
    /// Adds what else was not read.
    pub fn append(&mut self, mut other: Self) {
        self.missing.append(&mut other.missing);
        self.left.append(&mut other.left);
    }
}

/// Marks all that `roots` reach as live, until `deadline`; returns the dirtrees and dirmetas that were not read.
pub(crate) fn crawl(
    repo: &Repo,
    live: &LiveSet,
    roots: impl IntoIterator<Item = Root>,
    crew: Crew,
    control: &Control,
    deadline: Option<Instant>,
) -> Result<Unread> {
    let mut start = Vec::new();
    for root in roots {
        for (checksum, kind) in [(root.tree, ObjectType::DirTree), (root.meta, ObjectType::DirMeta)] {
            let object = ObjectName::new(checksum, kind);
            if live.insert(object) {
                start.push(object);
            }
        }
    }
    read_all(repo, live, start, crew, control, deadline)
}

/// Reads `objects`, which are live already, and all that they reach, until `deadline`; returns what was not read.
pub(crate) fn read_all(
    repo: &Repo,
    live: &LiveSet,
    mut objects: Vec<ObjectName>,
    crew: Crew,
    control: &Control,
    deadline: Option<Instant>,
) -> Result<Unread> {
    let worker =
        || Worker { repo, live, control, pace: crew.pace, deadline, buffer: Vec::new(), missing: Vec::new() };
    let mut scout = worker();
    let is_cold = scout.scout(&mut objects)?;
    let mut found = Unread { missing: scout.missing, left: Vec::new() };
    if objects.is_empty() {
        return Ok(found);
    }
    // Who waits for a disk leaves the processor to others, and a disk does many requests at a time better than one.
    let crew = if is_cold { crew.for_cold() } else { crew };
    let pool = Pool::new(objects, crew.jobs);
    let work = || pool.stop_on_error(contain_panic(|| worker().run(&pool)));
    let unread = crew.run(|| Ok(work()));
    found.left = pool.finish()?;
    for unread in unread {
        found.append(unread.unwrap_or_default());
    }
    Ok(found)
}

struct Worker<'a> {
    repo: &'a Repo,
    live: &'a LiveSet,
    control: &'a Control,
    pace: &'a Pace<'a>,
    deadline: Option<Instant>,
    buffer: Vec<u8>,
    missing: Vec<ObjectName>,
}

impl Worker<'_> {
    /// Reads a few objects; returns whether they came from a disk.
    fn scout(&mut self, objects: &mut Vec<ObjectName>) -> Result<bool> {
        let begin = Instant::now();
        let mut read = 0;
        while read < SCOUTED && !self.is_over() {
            self.control.check()?;
            let Some(object) = objects.pop() else { break };
            self.pace.read()?;
            self.read(object, objects)?;
            read += 1;
        }
        Ok(begin.elapsed() > COLD * read)
    }

    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn run(mut self, pool: &Pool) -> Result<Unread> {
        let mut own: Vec<ObjectName> = Vec::new();
        pool.lock().members += 1;
        while !pool.stopped.load(Ordering::Relaxed) {
            if self.is_over() {
                pool.stop();
                break;
            }
            self.control.check()?;
            self.pace.read()?;
            let object = match own.pop() {
                Some(object) => object,
                None => match pool.take(&mut own, self.control)? {
                    Some(object) => object,
                    None => break,
                },
            };
            self.read(object, &mut own)?;
            pool.share(&mut own);
        }
        Ok(Unread { missing: self.missing, left: own })
    }

    fn read(&mut self, object: ObjectName, found: &mut Vec<ObjectName>) -> Result<()> {
        if !self.repo.read_metadata(object, &mut self.buffer)? {
            self.missing.push(object);
            return Ok(());
        }
        let live = self.live;
        let mut visit = |checksum, kind| {
            let object = ObjectName::new(checksum, kind);
            if live.insert(object) && kind != ObjectType::File {
                found.push(object);
            }
        };
        let decoded = if object.kind == ObjectType::DirTree {
            variant::dirtree(&self.buffer, |_, child| match child {
                Child::File(content) => visit(content, ObjectType::File),
                Child::Directory(tree, meta) => {
                    visit(tree, ObjectType::DirTree);
                    visit(meta, ObjectType::DirMeta);
                }
            })
        } else {
            variant::dirmeta(&self.buffer)
        };
        self.control.advance_in(Phase::Crawl, 1);
        decoded.map_err(|error| Error::corrupt(object, error.0))
    }
}

/// What the threads share.
struct Pool {
    state: Mutex<State>,
    changed: Condvar,
    /// Number of threads without work: a hint, so that those who have plenty don't take the mutex in vain.
    hungry: AtomicUsize,
    /// Set with the first error, or at the deadline, so that nobody goes on with the work at hand.
    stopped: AtomicBool,
    /// How many threads there are meant to be.
    jobs: usize,
}

struct State {
    stack: Vec<ObjectName>,
    /// Threads that have begun. All work there is lies in the stack or with one of them.
    members: usize,
    idle: usize,
    error: Option<Error>,
    over: bool,
}

impl Pool {
    fn new(stack: Vec<ObjectName>, jobs: usize) -> Self {
        Self {
            state: Mutex::new(State { stack, members: 0, idle: 0, error: None, over: false }),
            changed: Condvar::new(),
            hungry: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            jobs,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work: returns one object and puts a fair share of the others into `own`. None: all is done.
    fn take(&self, own: &mut Vec<ObjectName>, control: &Control) -> Result<Option<ObjectName>> {
        let mut state = self.lock();
        state.idle += 1;
        self.hungry.fetch_add(1, Ordering::Relaxed);
        let result = loop {
            if state.over {
                break Ok(None);
            }
            if let Some(object) = state.stack.pop() {
                let share = state.stack.len() / self.jobs;
                let rest = state.stack.len() - share;
                own.extend(state.stack.drain(rest..));
                break Ok(Some(object));
            }
            if state.idle == state.members {
                state.over = true;
                self.changed.notify_all();
                break Ok(None);
            }
            if let Err(error) = control.check() {
                break Err(error);
            }
            state = self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.idle -= 1;
        self.hungry.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Hands over half of `own` if somebody waits.
    fn share(&self, own: &mut Vec<ObjectName>) {
        if own.len() > 1 && self.hungry.load(Ordering::Relaxed) > 0 {
            // The oldest are the nearest to the root, and so the most work.
            let half = own.len() / 2;
            self.lock().stack.extend(own.drain(..half));
            self.changed.notify_all();
        }
    }

    /// Ends the work of all threads, each of which keeps what it has.
    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.lock().over = true;
        self.changed.notify_all();
    }

    fn stop_on_error(&self, result: Result<Unread>) -> Unread {
        result.unwrap_or_else(|error| {
            self.lock().error.get_or_insert(error);
            self.stop();
            Unread::default()
        })
    }

    /// What nobody took.
    fn finish(self) -> Result<Vec<ObjectName>> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.error.map_or(Ok(state.stack), Err)
    }
}

#[cfg(test)]
mod tests;
