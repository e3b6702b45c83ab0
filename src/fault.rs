//! Points at which a test can have the process killed.
//!
//! Compiled in with the feature `fault-points` only. `OSTREE_SWEEP_KILL=STEP:N` kills the process just before it
//! takes step `STEP` for the `N`th time, counted over all threads from 1; `any` stands for all steps.
//! `OSTREE_SWEEP_BLIND` makes a run overlook what changed since its crawl, so that tests can show they would notice.

/// A step that a crash may come before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Unlink,
    Sync,
    Lock,
    Unlock,
}

#[cfg(not(feature = "fault-points"))]
#[inline]
pub(crate) fn before(_: Step) {}

#[cfg(feature = "fault-points")]
pub(crate) fn before(step: Step) {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::LazyLock;

    static KILL: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let wanted = std::env::var("OSTREE_SWEEP_KILL").ok()?;
        let (step, count) = wanted.split_once(':')?;
        Some((step.to_owned(), count.parse().ok()?))
    });
    static TAKEN: AtomicU64 = AtomicU64::new(0);

    let name = match step {
        Step::Unlink => "unlink",
        Step::Sync => "sync",
        Step::Lock => "lock",
        Step::Unlock => "unlock",
    };
    if let Some((wanted, count)) = KILL.as_ref() {
        if (wanted == name || wanted == "any") && TAKEN.fetch_add(1, Ordering::SeqCst) + 1 == *count {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

/// Whether to overlook what changed since the crawl.
#[cfg(not(feature = "fault-points"))]
#[inline]
pub(crate) fn is_blind() -> bool {
    false
}

#[cfg(feature = "fault-points")]
pub(crate) fn is_blind() -> bool {
    std::env::var_os("OSTREE_SWEEP_BLIND").is_some()
}
