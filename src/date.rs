//! Dates that say what is old enough to go, in the spellings that `ostree` takes from GNU's `parse_datetime`.

use std::time::SystemTime;

use jiff::tz::TimeZone;
use jiff::Timestamp;

/// Reads a date as seconds since 1970. The error is for people.
///
/// A date in the future is refused: nothing is younger, so all but the newest commits would go, when most probably "ago"
/// was forgotten.
pub fn parse_past(text: &str) -> Result<u64, String> {
    let unparsable = || format!("Could not parse '{text}'");
    let seconds = parse(text).ok_or_else(unparsable)?;
    let ago = format!("{} ago", text.trim());
    match u64::try_from(seconds).map_err(|_| unparsable()) {
        Ok(date) => check_past(date).map_err(|reason| match parse(&ago) {
            Some(past) if past < seconds => format!("'{text}' is {reason}; did you mean '{ago}'?"),
            _ => format!("'{text}' is {reason}"),
        }),
        refused => refused,
    }
}

/// Refuses seconds since 1970 that are in the future, naming the date; returns them otherwise.
pub fn check_past(seconds: u64) -> Result<u64, String> {
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    if seconds <= now {
        return Ok(seconds);
    }
    let date = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let local =
        date.map(|date| date.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z").to_string());
    Err(format!("{}, in the future", local.unwrap_or_else(|| format!("@{seconds}"))))
}

fn parse(text: &str) -> Option<i64> {
    let text = match text.trim() {
        // The crate takes no text for now.
        "" => "today 00:00",
        // The crate reads some dates in another zone as later ones.
        zone if zone.starts_with("TZ=") => return None,
        text => text,
    };
    parse_datetime::parse_datetime(text).ok().map(|date| date.unix_epoch_second())
}

#[cfg(test)]
mod tests {
    use super::{check_past, parse_past};

    #[test]
    fn a_date_in_the_future_is_refused_and_told() {
        let error = parse_past("2 weeks").unwrap_err();
        assert!(error.starts_with("'2 weeks' is 2"), "{error}");
        assert!(error.ends_with(", in the future; did you mean '2 weeks ago'?"), "{error}");
        assert!(parse_past("tomorrow").unwrap_err().contains("in the future"));
        assert!(parse_past("2 weeks ago").is_ok());
        assert!(parse_past("now").is_ok());
        assert!(check_past(u64::MAX).is_err());
        assert_eq!(parse_past("1960-01-01"), Err("Could not parse '1960-01-01'".into()));
    }
}
