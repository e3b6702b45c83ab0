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
use crate::control::Control;
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

/// Marks all that `roots` reach as live and returns the dirtrees and dirmetas that were not found.
pub(crate) fn crawl(
    repo: &Repo,
    live: &LiveSet,
    roots: impl IntoIterator<Item = Root>,
    crew: Crew,
    control: &Control,
) -> Result<Vec<ObjectName>> {
    let mut start = Vec::new();
    for root in roots {
        for (checksum, kind) in [(root.tree, ObjectType::DirTree), (root.meta, ObjectType::DirMeta)] {
            let object = ObjectName::new(checksum, kind);
            if live.insert(object) {
                start.push(object);
            }
        }
    }
    read_all(repo, live, start, crew, control)
}

/// Reads `objects`, which are live already, and all that they reach; returns what was not found.
pub(crate) fn read_all(
    repo: &Repo,
    live: &LiveSet,
    mut objects: Vec<ObjectName>,
    crew: Crew,
    control: &Control,
) -> Result<Vec<ObjectName>> {
    let worker = || Worker { repo, live, control, pace: crew.pace, buffer: Vec::new(), missing: Vec::new() };
    let mut scout = worker();
    let is_cold = scout.scout(&mut objects)?;
    if objects.is_empty() {
        return Ok(scout.missing);
    }
    // Who waits for a disk leaves the processor to others, and a disk does many requests at a time better than one.
    let crew = if is_cold { crew.for_cold() } else { crew };
    let pool = Pool::new(objects, crew.jobs);
    let work = || pool.stop_on_error(contain_panic(|| worker().run(&pool)));
    let missing = crew.run(|| Ok(work()));
    pool.finish()?;
    Ok(missing.into_iter().flat_map(Result::unwrap_or_default).chain(scout.missing).collect())
}

struct Worker<'a> {
    repo: &'a Repo,
    live: &'a LiveSet,
    control: &'a Control,
    pace: &'a Pace<'a>,
    buffer: Vec<u8>,
    missing: Vec<ObjectName>,
}

impl Worker<'_> {
    /// Reads a few objects, and tells whether they came from a disk.
    fn scout(&mut self, objects: &mut Vec<ObjectName>) -> Result<bool> {
        let begin = Instant::now();
        let mut read = 0;
        while read < SCOUTED {
            self.control.check()?;
            let Some(object) = objects.pop() else { break };
            self.pace.read()?;
            self.read(object, objects)?;
            read += 1;
        }
        Ok(begin.elapsed() > COLD * read)
    }

    fn run(mut self, pool: &Pool) -> Result<Vec<ObjectName>> {
        let mut own: Vec<ObjectName> = Vec::new();
        pool.lock().members += 1;
        while !pool.stopped.load(Ordering::Relaxed) {
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
        Ok(self.missing)
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
        self.control.advance(1);
        decoded.map_err(|error| Error::corrupt(object, error.0))
    }
}

/// What the threads share.
struct Pool {
    state: Mutex<State>,
    changed: Condvar,
    /// Number of threads without work: a hint, so that those who have plenty don't take the mutex in vain.
    hungry: AtomicUsize,
    /// Set with the first error, so that nobody goes on with the work at hand.
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

    fn stop_on_error(&self, result: Result<Vec<ObjectName>>) -> Vec<ObjectName> {
        result.unwrap_or_else(|error| {
            self.stopped.store(true, Ordering::Relaxed);
            let mut state = self.lock();
            state.over = true;
            state.error.get_or_insert(error);
            self.changed.notify_all();
            Vec::new()
        })
    }

    fn finish(self) -> Result<()> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.error.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
