//! A thread in which libostree can delete nothing.
//!
//! Since 2025.3 libostree's load of any sysroot unlinks `/run/ostree/nextroot-booted`, by which the running system
//! knows its soft reboot, if that sysroot has no deployment for it. A command that only reads must not do that, nor fail because it may
//! not. So loads run in a thread of their own, whose system calls to unlink succeed and do nothing.

use std::path::Path;

use crate::error::{Error, Result};
use crate::workers::contain_panic;

/// What a load of libostree's would unlink.
const NEXT_BOOTED: &str = "/run/ostree/nextroot-booted";

/// Runs `look` in a thread of its own that can unlink nothing.
///
/// Fails if the kernel offers no such thread while there is something that `look` could unlink.
pub(super) fn without_deleting<T: Send>(look: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            contain_panic(|| match disarm() {
                Err(error) if Path::new(NEXT_BOOTED).exists() => Err(Error::io(NEXT_BOOTED, error)),
                _ => look(),
            })
        });
        let thread = thread.map_err(|error| Error::Internal(format!("no thread to look in: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(Error::Internal("the thread that looks panicked".into())))
    })
}

/// Makes the calling thread's unlinks do nothing from now on, by a seccomp filter.
fn disarm() -> std::io::Result<()> {
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    // An error number of 0 is success.
    const SUCCEED: u32 = libc::SECCOMP_RET_ERRNO;
    let load_number = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0);
    let mut filter = vec![load_number];
    for number in UNLINKS {
        let number = u32::try_from(*number).unwrap_or(u32::MAX);
        filter.push(libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number)
        });
        filter.push(statement(libc::BPF_RET | libc::BPF_K, SUCCEED));
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, ALLOW));
    let len = u16::try_from(filter.len()).unwrap_or(0);
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    #[allow(unsafe_code)]
    // SAFETY: The program outlives the calls, which read it and keep no pointer; both change this thread alone.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if done {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

#[cfg(target_arch = "x86_64")]
const UNLINKS: &[libc::c_long] = &[libc::SYS_unlinkat, libc::SYS_unlink];
#[cfg(not(target_arch = "x86_64"))]
const UNLINKS: &[libc::c_long] = &[libc::SYS_unlinkat];

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap_or(0), jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlinks_do_nothing_and_only_in_that_thread() {
        let file = tempfile::NamedTempFile::new().unwrap();
        #[allow(clippy::disallowed_methods)] // Outside of a repository.
        let unlink = || {
            let here = rustix::fs::CWD;
            rustix::fs::unlinkat(here, file.path(), rustix::fs::AtFlags::empty())
        };
        without_deleting(|| unlink().map_err(|error| Error::io(file.path(), error))).unwrap();
        assert!(file.path().exists());
        unlink().unwrap();
        assert!(!file.path().exists());
    }
}
