//! Whether others use the disk.
//!
//! The kernel counts how long a disk's requests took (`/sys/dev/block/…/stat`). Ours count, too; so only a time
//! in which we do nothing is a measure. Where the disk is not known, as over a network, the time is asked for that any task was held
//! up by I/O (`/proc/pressure/io`). That hears less: not those who wait for the journal of XFS, nor waits that are
//! short beside a tick of the kernel's clock. A control group's own file would tell of nobody but us.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{major, minor, statx, AtFlags, StatxFlags};

/// Who uses the disk for a larger part of the time is to be heard.
const HIGH: f64 = 0.005;

/// Where the kernel shows what other programs do.
pub(crate) enum Meter {
    /// The disks, each with its directory in sysfs.
    Disks(BTreeSet<PathBuf>),
    Pressure,
}

/// What a meter said at a moment.
pub(crate) struct Reading {
    at: Instant,
    total: Duration,
}

impl Meter {
    /// The one for the file system that `directory` is on.
    pub fn of(directory: impl AsFd) -> Self {
        let mut disks = BTreeSet::new();
        if let Some(device) = block_device(directory.as_fd()) {
            add_disks(&device, &mut disks);
        }
        // Counting can be turned off.
        let counts =
            !disks.is_empty() && disks.iter().all(|disk| !busy_time(disk).unwrap_or_default().is_zero());
        if counts {
            Self::Disks(disks)
        } else {
            Self::Pressure
        }
    }

    /// None where the kernel doesn't tell.
    pub fn read(&self) -> Option<Reading> {
        let total = match self {
            Self::Disks(disks) => disks.iter().map(|disk| busy_time(disk)).sum::<Option<Duration>>(),
            Self::Pressure => {
                fs::read_to_string("/proc/pressure/io").ok().and_then(|text| parse_pressure(&text))
            }
        };
        Some(Reading { at: Instant::now(), total: total? })
    }

    /// Whether others were heard since `before`, in which time we did nothing.
    pub fn hears_others_since(&self, before: &Reading) -> Option<bool> {
        let now = self.read()?;
        Some(now.total.saturating_sub(before.total) > (now.at - before.at).mul_f64(HIGH))
    }
}

/// The directory in sysfs of the device that is mounted where `directory` is.
fn block_device(directory: rustix::fd::BorrowedFd) -> Option<PathBuf> {
    let stat = statx(directory, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    let (mut major_number, mut minor_number) = (stat.stx_dev_major, stat.stx_dev_minor);
    if major_number == 0 {
        // As btrfs has it; the mount knows.
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let device = rustix::fs::stat(mount_source(&mounts, stat.stx_mnt_id)?).ok()?.st_rdev;
        (major_number, minor_number) = (major(device), minor(device));
    }
    fs::canonicalize(format!("/sys/dev/block/{major_number}:{minor_number}")).ok()
}

/// The source of the mount with this number, a device's path.
fn mount_source(mounts: &str, id: u64) -> Option<&str> {
    let id = id.to_string();
    let line = mounts.lines().find(|line| line.split(' ').next() == Some(&id))?;
    let (_, after) = line.split_once(" - ")?;
    after.split(' ').nth(1)
}

/// Adds the disks below a device: a partition's whole disk, those that a mapped device or an array is made of.
#[allow(clippy::disallowed_methods)] // What can't be listed in sysfs is no loss.
fn add_disks(device: &Path, disks: &mut BTreeSet<PathBuf>) {
    let is_partition = device.join("partition").exists();
    let device = if is_partition { device.parent().unwrap_or(device) } else { device };
    let mut is_disk = true;
    for below in fs::read_dir(device.join("slaves")).into_iter().flatten().flatten() {
        if let Ok(below) = fs::canonicalize(below.path()) {
            is_disk = false;
            add_disks(&below, disks);
        }
    }
    if is_disk {
        disks.insert(device.to_owned());
    }
}

/// How long a disk's requests took, all added up.
fn busy_time(disk: &Path) -> Option<Duration> {
    parse_disk(&fs::read_to_string(disk.join("stat")).ok()?)
}

/// The milliseconds of reads, writes, discards and flushes; older kernels don't count the last two.
fn parse_disk(text: &str) -> Option<Duration> {
    let fields: Vec<u64> = text.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    let reads_and_writes = fields.get(3)? + fields.get(7)?;
    let others: u64 = [14, 16].iter().filter_map(|&field| fields.get(field)).sum();
    Some(Duration::from_millis(reads_and_writes + others))
}

/// The total of the line that begins with `some`, in microseconds.
fn parse_pressure(text: &str) -> Option<Duration> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let total = line.split(' ').find_map(|field| field.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_all_requests_of_a_disk_is_added_up() {
        let text = "  1 2 3 40 5 6 7 800 9 10 11 12 13 14 1000 15 20000\n";
        assert_eq!(parse_disk(text), Some(Duration::from_millis(21_840)));
        assert_eq!(parse_disk("1 2 3 40 5 6 7 800 9 10 11\n"), Some(Duration::from_millis(840)));
        assert_eq!(parse_disk("1 2 3\n"), None);
        assert_eq!(parse_disk(""), None);
    }

    #[test]
    fn the_total_of_some_is_read() {
        let text = "some avg10=0.00 avg60=0.66 avg300=2.49 total=1209163162\nfull avg10=0.00 avg60=0.59 avg300=2.13 total=5\n";
        assert_eq!(parse_pressure(text), Some(Duration::from_micros(1_209_163_162)));
        assert_eq!(parse_pressure("full total=5\n"), None);
        assert_eq!(parse_pressure("some total=many\n"), None);
    }

    #[test]
    fn a_mount_is_found_by_its_number() {
        let mounts = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      36 21 0:33 /a /b rw shared:1 master:2 - btrfs /dev/sda2 rw,subvol=/a\n";
        assert_eq!(mount_source(mounts, 36), Some("/dev/sda2"));
        assert_eq!(mount_source(mounts, 21), Some("/dev/sda1"));
        assert_eq!(mount_source(mounts, 3), None);
    }

    #[test]
    fn without_a_disk_it_is_the_pressure() {
        let proc =
            rustix::fs::open("/proc", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        assert!(matches!(Meter::of(&proc), Meter::Pressure));
    }
}
