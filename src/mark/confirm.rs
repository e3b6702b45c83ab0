//! Confirming, under the shared lock, what was marked for a run that only reads.

use std::time::{Duration, Instant};

use super::{Confirmation, Mark, RootSource};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::repo::lock::{Lock, LockKind};
use crate::repo::object::ObjectName;

/// How often, and after what time, a run that only reads looks again for objects that a writer may be moving into place.
const RETRIES: u32 = 5;
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How long to look at what changed under a lock at least, before it is given back and the rest is read without.
pub(crate) const GLANCE: Duration = Duration::from_millis(10);

/// Has what is marked confirmed under the shared lock, for a run that only reads; false if others deleted what was
/// followed, and all has to be looked at anew.
pub(crate) fn confirm_shared(
    mark: &mut Mark,
    sources: &mut dyn RootSource,
    lock: &Lock,
    control: &Control,
) -> Result<bool> {
    let mut retries = 0;
    loop {
        let shared = lock.acquire(LockKind::Shared, control)?;
        let confirmation = mark.confirm(sources, Some(Instant::now() + GLANCE));
        drop(shared);
        match confirmation? {
            Confirmation::Confirmed => return Ok(true),
            Confirmation::Outdated => return Ok(false),
            Confirmation::MoreToRead => mark.look_ahead(sources)?,
            Confirmation::Missing(object) if retries == RETRIES => return Err(missing(object)),
            Confirmation::Missing(_) => {
                retries += 1;
                control.sleep(RETRY_AFTER)?;
            }
        }
    }
}

pub(crate) fn missing(object: ObjectName) -> Error {
    Error::corrupt(object, "it is missing")
}
