//! What the running system stands on, by its own account: read from `/` and `/run`, not from a sysroot.
//!
//! libostree knows of the staged deployment only where the sysroot is `/`, and older versions know nothing of the
//! target of a soft reboot.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::fs::{openat, stat, Mode, OFlags, Stat, CWD};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::libglib::{Type, Variant};
use crate::repo::object::Checksum;
use crate::repo::{read_small, Repo};

/// The system's own repository.
const REPO: &str = "/ostree/repo";
/// There is such a file in a system that was booted from a deployment; since 2023.6 it says from which one.
const BOOTED: &str = "/run/ostree-booted";
/// The same for the system that a soft reboot leads to, and that system's root.
const NEXT_BOOTED: &str = "/run/ostree/nextroot-booted";
const NEXT_ROOT: &str = "/run/nextroot";
/// What `/run/nextroot` has for as long as a system is there to soft-reboot into.
const NEXT_USR: &str = "/run/nextroot/usr";
const STAGED: &str = "/run/ostree/staged-deployment";
/// Keeps the staged deployment from being finalized; since 2023.8 it may have a key that does.
const STAGED_LOCKED: &str = "/run/ostree/staged-deployment-locked";
/// The key of device and inode of the deployment's directory, which an overlay may hide.
const BACKING: &str = "backing-root-device-inode";

/// A file's device and inode.
pub(super) type Identity = (u64, u64);

/// What the running system stands on.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// The directories that are its root now or after a soft reboot.
    pub roots: BTreeSet<Identity>,
    /// The directories mounted on that root's `/etc`: a checkout's own, even where an overlay hides its root.
    pub etcs: BTreeSet<Identity>,
    /// The staged deployment.
    pub staged: Option<Staged>,
    /// The last soft reboot that is not complete.
    pub soft_reboot: Option<SoftReboot>,
}

/// A soft reboot that was prepared and not completed.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoftReboot {
    /// The directory of the deployment that it leads to.
    pub target: Identity,
    /// Whether that deployment runs by now, and only `ostree admin boot-complete` is missing.
    pub done: bool,
}

/// A deployment that is to be finalized at shutdown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Staged {
    pub stateroot: String,
    /// `CHECKSUM.SERIAL`.
    pub name: String,
    pub commit: Checksum,
    /// Stateroot and name of the deployment that it takes `/etc` from.
    pub merged: Option<(String, String)>,
    /// Whether a shutdown leaves it as it is.
    pub locked: bool,
}

impl Host {
    /// Reads all of it. What is there and can't be understood is an error.
    pub fn read() -> Result<Self> {
        let (mut roots, mut etcs) = (BTreeSet::new(), BTreeSet::new());
        for root in ["/", NEXT_ROOT] {
            roots.extend(identify(root)?);
            etcs.extend(identify(Path::new(root).join("etc"))?);
        }
        let target = behind(NEXT_BOOTED)?;
        roots.extend(behind(BOOTED)?);
        roots.extend(target);
        // A soft reboot moves what is mounted there to `/`.
        let done = identify(NEXT_USR)?.is_none();
        let soft_reboot = target.map(|target| SoftReboot { target, done });
        let mut staged = match identify(STAGED)? {
            None => None,
            // Empty, it says nothing, either.
            Some(_) => read_dictionary(STAGED)?
                .map(|said| staged(&said))
                .or_else(|| Some(Err(nameless())))
                .transpose()?,
        };
        if let Some(staged) = &mut staged {
            staged.locked |= identify(STAGED_LOCKED)?.is_some();
        }
        Ok(Self { roots, etcs, staged, soft_reboot })
    }

    /// Adds what is found now. What the running system stood on once stays that for a whole run: libostree's load may
    /// delete what says so.
    pub fn read_again(&mut self) -> Result<()> {
        let Self { roots, etcs, staged, soft_reboot } = Self::read()?;
        self.roots.extend(roots);
        self.etcs.extend(etcs);
        self.staged = staged.or(self.staged.take());
        self.soft_reboot = soft_reboot;
        Ok(())
    }
}

/// Whether `repo` is the system's own, as `ostree_repo_is_system` finds out.
pub(super) fn owns(repo: &Repo) -> Result<bool> {
    let opened = rustix::fs::fstat(repo.directory()).map_err(|error| Error::io(repo.path(), error))?;
    Ok(identify(REPO)? == Some(identity(&opened)))
}

/// The path by which libostree knows the sysroot at `path`: if it is the one that the system was booted from, `/`. By
/// any other path it would not see which deployment is booted, nor that one is staged.
pub(super) fn sysroot(path: &Path) -> Result<&Path> {
    let is_booted = identify(BOOTED)?.is_some();
    let own = identify(REPO)?;
    Ok(if is_booted && own.is_some() && identify(path.join("ostree/repo"))? == own {
        Path::new("/")
    } else {
        path
    })
}

pub(super) fn identity(stat: &Stat) -> Identity {
    #[allow(clippy::useless_conversion)] // The types differ by architecture.
    (u64::from(stat.st_dev), u64::from(stat.st_ino))
}

pub(super) fn identify(path: impl AsRef<Path>) -> Result<Option<Identity>> {
    match stat(path.as_ref()) {
        Ok(found) => Ok(Some(identity(&found))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(Error::io(path, error)),
    }
}

/// Reads a file that holds a dictionary, `a{sv}`. None if there is no such file, or nothing in it.
fn read_dictionary(path: &str) -> Result<Option<Variant>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(Error::io(path, error)),
    };
    let bytes = read_small(&file).map_err(|error| Error::io(path, error))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let malformed = || if path == STAGED { nameless() } else { Error::corrupt(path, "it is malformed") };
    Variant::parse(&bytes, Type::DICTIONARY)?.ok_or_else(malformed).map(Some)
}

/// The directory that `path`, [`BOOTED`] or [`NEXT_BOOTED`], says is behind a root.
fn behind(path: &str) -> Result<Option<Identity>> {
    read_dictionary(path)?.as_ref().map_or(Ok(None), |said| backing(said, path))
}

fn backing(dictionary: &Variant, path: &str) -> Result<Option<Identity>> {
    let Some(said) = dictionary.lookup(BACKING) else { return Ok(None) };
    let number = |index| said.child(index).and_then(|number| number.number());
    match (said.is(Type::TWO_NUMBERS), number(0), number(1)) {
        (true, Some(device), Some(inode)) => Ok(Some((device, inode))),
        _ => Err(Error::corrupt(path, format!("'{BACKING}' is no device and inode"))),
    }
}

/// Mirrors `serialize_deployment_to_variant`, for which libostree has no call.
fn staged(dictionary: &Variant) -> Result<Staged> {
    let (stateroot, name) = deployment(dictionary, "target")?.ok_or_else(nameless)?;
    let (checksum, _) = name.split_once('.').ok_or_else(nameless)?;
    let commit = Checksum::from_hex(checksum.as_bytes()).ok_or_else(nameless)?;
    let merged = deployment(dictionary, "merge-deployment")?;
    let locked = dictionary.lookup("locked").and_then(|value| value.boolean()).unwrap_or(false);
    Ok(Staged { stateroot, name, commit, merged, locked })
}

/// Stateroot and name of a deployment in a dictionary; None if it has no such key.
fn deployment(dictionary: &Variant, key: &str) -> Result<Option<(String, String)>> {
    let Some(said) = dictionary.lookup(key) else { return Ok(None) };
    let text = |key| said.lookup(key).and_then(|value| value.text().map(str::to_owned)).ok_or_else(nameless);
    Ok(Some((text("osname")?, text("name")?)))
}

fn nameless() -> Error {
    Error::corrupt(STAGED, "it describes no deployment")
}

#[cfg(test)]
mod tests {
    use super::*;
    use glib::variant::ToVariant;
    use glib::VariantDict;

    fn dictionary(key: &str, value: &glib::Variant) -> Variant {
        let dictionary = VariantDict::new(None);
        dictionary.insert_value(key, value);
        Variant::parse(dictionary.end().data(), Type::DICTIONARY).unwrap().unwrap()
    }

    #[test]
    fn a_staged_deployment_is_read() {
        let checksum = "ab".repeat(32);
        let target = VariantDict::new(None);
        target.insert_value("osname", &"os".to_variant());
        target.insert_value("name", &format!("{checksum}.3").to_variant());
        let found = staged(&dictionary("target", &target.end())).unwrap();
        assert_eq!((found.stateroot.as_str(), found.name), ("os", format!("{checksum}.3")));
        assert_eq!(Some(found.commit), Checksum::from_hex(checksum.as_bytes()));
        assert_eq!(found.merged, None);
    }

    #[test]
    fn what_names_no_deployment_is_an_error() {
        assert!(staged(&dictionary("other", &1u32.to_variant())).is_err());
        assert!(staged(&dictionary("target", &1u32.to_variant())).is_err());
        let nameless = VariantDict::new(None);
        nameless.insert_value("osname", &"os".to_variant());
        assert!(staged(&dictionary("target", &nameless.end())).is_err());
    }

    #[test]
    fn the_directory_behind_a_root_is_read() {
        let said = dictionary(BACKING, &(7u64, 8u64).to_variant());
        assert_eq!(backing(&said, BOOTED).unwrap(), Some((7, 8)));
        assert_eq!(backing(&dictionary("other", &1u32.to_variant()), BOOTED).unwrap(), None);
        assert!(backing(&dictionary(BACKING, &"7".to_variant()), BOOTED).is_err());
    }
}
