//! Whether others wait for the disk.
//!
//! The kernel tells for how long any task was held up by I/O (`/proc/pressure/io`). Ours are tasks, too, and deletion
//! is all I/O; so only a time counts in which we do nothing. It must not be short: the kernel weighs what it counts by
//! whole ticks, and loses the rest each time that somebody looks. A control group's own file would tell of nobody but
//! us.

use std::time::{Duration, Instant};

/// Others who are held up for a larger part of the time do wait.
const HIGH: f64 = 0.005;

/// The pressure since a moment.
pub(crate) struct Pressure {
    since: Instant,
    total: Duration,
}

impl Pressure {
    /// None where the kernel doesn't tell.
    pub fn begin() -> Option<Self> {
        Some(Self { since: Instant::now(), total: total()? })
    }

    /// Whether tasks were held up since.
    pub fn is_high(&self) -> bool {
        let held_up = total().map_or(Duration::ZERO, |total| total.saturating_sub(self.total));
        held_up > self.since.elapsed().mul_f64(HIGH)
    }
}

/// How long at least one task was held up so far.
fn total() -> Option<Duration> {
    parse(&std::fs::read_to_string("/proc/pressure/io").ok()?)
}

/// The total of the line that begins with `some`, in microseconds.
fn parse(text: &str) -> Option<Duration> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let total = line.split(' ').find_map(|field| field.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_some_is_read() {
        let text = "some avg10=0.00 avg60=0.66 avg300=2.49 total=1209163162\nfull avg10=0.00 avg60=0.59 avg300=2.13 total=5\n";
        assert_eq!(parse(text), Some(Duration::from_micros(1_209_163_162)));
        assert_eq!(parse("full total=5\n"), None);
        assert_eq!(parse("some total=many\n"), None);
    }
}
