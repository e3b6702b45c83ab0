//! The only code that touches Python while work runs.
//!
//! The work has a thread of its own. The calling thread waits for it with the GIL released and takes it back a few
//! times a second, to let signal handlers run, to ask whether to cancel and to tell the progress. Worker threads
//! never attach to Python. Whatever a callback raises stops the work, waits until it has stopped, and is raised.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use super::errors::to_python;
use crate::control::Control;
use crate::effort::Effort;
use crate::error::Result;
use crate::pruned::{Observer, Pruned};
use crate::workers::contain_panic;

/// How often Python is asked and told.
const TICK: Duration = Duration::from_millis(50);

/// How many items may wait for Python before the work pauses.
const MOST_ITEMS: usize = 1 << 14;

/// What Python wants to be asked and told.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct Callbacks {
    /// `() -> bool`
    pub cancelled: Option<Py<PyAny>>,
    /// `() -> bool`
    pub paused: Option<Py<PyAny>>,
    /// `(phase, done, total, bytes_freed, waiting_for) -> object`
    pub progress: Option<Py<PyAny>>,
    /// `(kind, name, reason) -> object`, for everything pruned
    pub items: Option<Py<PyAny>>,
}

/// Opened when the work has ended.
#[derive(Default)]
struct Latch {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    /// Waits for the end, for one tick at most; true if it has come.
    fn wait(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (open, _) = self
            .changed
            .wait_timeout_while(open, TICK, |open| !*open)
            .unwrap_or_else(PoisonError::into_inner);
        *open
    }

    fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

/// Items on their way from the workers to Python.
#[derive(Default)]
struct Items(Mutex<Vec<Pruned>>);

impl Items {
    /// Takes one more. Workers don't wait here, where they may hold the exclusive lock: they rest when they have none.
    fn push(&self, item: Pruned, control: &Control) {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.push(item);
        if items.len() >= MOST_ITEMS {
            control.hold_back(true);
        }
    }

    fn take(&self, control: &Control) -> Vec<Pruned> {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        control.hold_back(false);
        std::mem::take(&mut items)
    }
}

/// Runs `work` in a thread of its own, at the priority of `effort`, until it ends or something in Python ends it.
pub(super) fn supervise<T: Send>(
    py: Python,
    callbacks: &Callbacks,
    (effort, time_budget): &(Effort, Option<Duration>),
    work: impl FnOnce(Effort, &Control, Option<Observer>) -> Result<T> + Send,
) -> PyResult<T> {
    let control = Control::new();
    if let Some(time) = time_budget {
        control.limit_time(*time);
    }
    let latch = Latch::default();
    let items = Items::default();
    let observe = |item| items.push(item, &control);
    let observer = callbacks.items.is_some().then_some(&observe as Observer);

    // A token that is cancelled already cancels before anything is done.
    callbacks.tell(py, &control, &items)?;
    let (result, raised) = std::thread::scope(|scope| {
        let worker = Builder::new().spawn_scoped(scope, || {
            effort.apply_priority();
            let result = contain_panic(|| work(*effort, &control, observer));
            latch.open();
            result
        })?;
        let mut raised = None;
        loop {
            let ended = py.detach(|| latch.wait());
            if raised.is_none() {
                if let Err(error) = callbacks.tell(py, &control, &items) {
                    control.cancel();
                    raised = Some(error);
                }
            }
            if ended {
                break;
            }
        }
        let result = py.detach(|| worker.join());
        Ok::<_, std::io::Error>((result, raised))
    })
    .map_err(|error| PyOSError::new_err((error.raw_os_error(), format!("no thread to work in: {error}"))))?;
    if let Some(error) = raised {
        return Err(error);
    }
    let result = result.unwrap_or_else(|_| Err(crate::Error::Internal("the work's thread panicked".into())));
    result.map_err(|error| to_python(py, error))
}

impl Callbacks {
    /// Lets Python have its say.
    fn tell(&self, py: Python, control: &Control, items: &Items) -> PyResult<()> {
        py.check_signals()?;
        if let Some(cancelled) = &self.cancelled {
            if cancelled.call0(py)?.is_truthy(py)? {
                control.cancel();
            }
        }
        if let Some(paused) = &self.paused {
            control.pause(paused.call0(py)?.is_truthy(py)?);
        }
        if let Some(callback) = &self.items {
            for Pruned { item, reason } in items.take(control) {
                callback.call1(py, (item.kind(), item.to_string(), reason.to_string()))?;
            }
        }
        if let Some(progress) = &self.progress {
            let now = control.snapshot();
            let waiting = now.waiting.map(|wait| wait.to_string());
            progress.call1(py, (now.phase.as_str(), now.done, now.total, now.bytes_freed, waiting))?;
        }
        Ok(())
    }
}
