//! What a sysroot keeps to boot its deployments: boot versions, kernels and overlays of initramfs.
//!
//! Mirrors `cleanup_other_bootversions` and `_ostree_sysroot_cleanup_bootfs` in `ostree-sysroot-cleanup.c`.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{openat, readlinkat, statat, AtFlags, FileType, Mode, OFlags, CWD};
use rustix::io::Errno;

use super::listing::Listing;
use crate::error::{Error, Result};
use crate::repo::listing::each_entry;
use crate::repo::object::Checksum;
use crate::sweep::checkout::{remove, remove_file, Context, Outcome};

/// Kernels, each in `STATEROOT-BOOTCSUM`.
const KERNELS: &str = "boot/ostree";
const OVERLAYS: &str = "boot/ostree/initramfs-overlays";
/// Leads to `loader.N`, N being the boot version.
const LOADER: &str = "boot/loader";

/// What no deployment needs, as paths relative to the sysroot at `path`.
pub(super) fn unused(path: &Path, listing: &Listing) -> Result<Vec<PathBuf>> {
    let (version, sub_version) = (listing.boot_version, listing.sub_boot_version);
    let (other, other_sub) = (i32::from(version == 0), i32::from(sub_version == 0));
    let versions = [
        format!("{LOADER}.{other}"),
        format!("ostree/boot.{other}"),
        format!("ostree/boot.{other}.0"),
        format!("ostree/boot.{other}.1"),
        format!("ostree/boot.{version}.{other_sub}"),
    ];
    let mut found = Vec::new();
    for version in versions {
        if kind(path, Path::new(&version))?.is_some() {
            found.push(version.into());
        }
    }
    each_named(path, KERNELS, |name, kind| {
        let kernel = name.rsplit_once('-').map(|(_, kernel)| kernel);
        let is_kernel = kernel.is_some_and(|kernel| Checksum::from_hex(kernel.as_bytes()).is_some());
        let is_needed = kernel.is_some_and(|kernel| listing.kernels.contains(kernel));
        if is_kernel && !is_needed && kind == FileType::Directory {
            found.push(Path::new(KERNELS).join(name));
        }
        Ok(())
    })?;
    each_named(path, OVERLAYS, |name, kind| {
        if kind == FileType::RegularFile && !listing.overlays.contains(name) {
            found.push(Path::new(OVERLAYS).join(name));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Removes the file or directory `item`, relative to the sysroot at `path`.
pub(super) fn remove_unused(path: &Path, item: &Path, context: Context) -> Result<Outcome> {
    let Some(kind) = kind(path, item)? else { return Ok(Outcome::Gone) };
    let Some(parent) = open(&path.join(item.parent().unwrap_or(Path::new(""))))? else {
        return Ok(Outcome::Gone);
    };
    match kind {
        FileType::Directory => remove(&parent, item, false, context),
        _ if remove_file(&parent, item, context) => Ok(Outcome::Gone),
        _ => Ok(Outcome::Stuck),
    }
}

/// Fails if the boot links that are in force lead to a checkout that is no listed deployment's: then its boot entry
/// can't be seen, most likely because /boot is not mounted.
///
/// Without a `boot/loader` all boot links are in force.
pub(super) fn check_mounted(path: &Path, listing: &Listing) -> Result<()> {
    let has_loader = kind(path, Path::new(LOADER))?.is_some();
    for version in 0..=1 {
        if has_loader && version != listing.boot_version {
            continue;
        }
        let links = format!("ostree/boot.{version}");
        each_directory(path, Path::new(&links), &mut |stateroot| {
            let in_stateroot = Path::new(&links).join(stateroot);
            each_directory(path, &in_stateroot, &mut |kernel| {
                check_links(path, &in_stateroot.join(kernel), stateroot, listing)
            })
        })?;
    }
    Ok(())
}

fn check_links(path: &Path, links: &Path, stateroot: &str, listing: &Listing) -> Result<()> {
    let Some(directory) = open(&path.join(links))? else { return Ok(()) };
    each_entry(&directory, &path.join(links), |entry| {
        let link = path.join(links).join(OsStr::from_bytes(entry.name));
        let target = match readlinkat(&directory, entry.name, Vec::new()) {
            Ok(target) => target.into_bytes(),
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(Error::io(link, error)),
        };
        let checkout = Path::new(OsStr::from_bytes(&target)).file_name().unwrap_or_default();
        let checkout = checkout.to_string_lossy();
        match statat(&directory, entry.name, AtFlags::empty()) {
            Ok(_) if !listing.has(stateroot, &checkout) => Err(Error::Refused(format!(
                "/boot is probably not mounted: {} leads to the checkout {stateroot}/{checkout}, which has no boot \
                 entry; mount /boot, or remove this link to have the checkout deleted",
                link.display()
            ))),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(Error::io(link, error)),
        }
    })
}

/// Calls `each` for every directory in `directory`, which is relative to the sysroot at `path`, if it is there.
fn each_directory(path: &Path, directory: &Path, each: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    each_named(path, directory, |name, kind| if kind == FileType::Directory { each(name) } else { Ok(()) })
}

/// Calls `each` with name and type of all that is in `directory`, if it is there. What is not named by text is not
/// libostree's.
fn each_named(
    path: &Path,
    directory: impl AsRef<Path>,
    mut each: impl FnMut(&str, FileType) -> Result<()>,
) -> Result<()> {
    let full_path = path.join(directory);
    let Some(directory) = open(&full_path)? else { return Ok(()) };
    each_entry(&directory, &full_path, |entry| {
        let io = |error: std::io::Error| Error::io(full_path.join(OsStr::from_bytes(entry.name)), error);
        match (std::str::from_utf8(entry.name), entry.file_type().map_err(io)?) {
            (Ok(name), Some(kind)) => each(name, kind),
            _ => Ok(()),
        }
    })
}

fn open(path: &Path) -> Result<Option<OwnedFd>> {
    // The way to it may lead through symlinks: /ostree is one.
    match openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(Error::io(path, error)),
    }
}

/// What an item is, not followed through a symlink; None if it is not there.
fn kind(path: &Path, item: &Path) -> Result<Option<FileType>> {
    let full_path = path.join(item);
    match statat(CWD, &full_path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(Error::io(full_path, error)),
    }
}
