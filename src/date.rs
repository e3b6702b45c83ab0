//! Dates that say what is old enough to go, in the spellings that `ostree` takes from GNU's `parse_datetime`.

use std::time::SystemTime;

use jiff::tz::TimeZone;
use jiff::Timestamp;

/// Reads a date as seconds since 1970. The error is for people.
///
/// A date in the future is refused: nothing is younger, so all but the newest commits would go, when most probably "ago"
/// was forgotten.
pub fn parse_past(text: &str) -> Result<u64, String> {
    let unparsable = || match text.trim() {
        "" => format!("Could not parse '{text}': a date is missing"),
        _ => format!("Could not parse '{text}'"),
    };
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
    // The crate reads some dates in another zone as later ones. GNU takes no text for midnight, but here it is
    // most probably a variable that is not set.
    let text = text.trim().to_ascii_lowercase();
    if text.is_empty() || text.starts_with("tz=") || !has_known_words_only(&text) {
        return None;
    }
    parse_datetime::parse_datetime(text).ok().map(|date| date.unix_epoch_second())
}

/// Whether every run of letters is a word of a date.
///
/// The crate reads the rest of a mistyped word, as in "yesterdayy", as a military time zone, and GNU's versions disagree
/// about the sign of those: their letters are no words here, but for the "a" of "a day ago", which only keeps more.
fn has_known_words_only(text: &str) -> bool {
    let mut rest = text;
    while let Some(start) = rest.find(char::is_alphabetic) {
        let (before, word_on) = rest.split_at(start);
        let end = word_on.find(|c: char| !c.is_alphabetic() && c != '.').unwrap_or(word_on.len());
        let (word, after) = word_on.split_at(end);
        let known = match word.replace('.', "").as_str() {
            // The crate reads any other "t" as a time zone.
            "t" => ends_with_iso_date(before) && begins_with_time(after),
            word => WORDS.split_ascii_whitespace().any(|known| known == word),
        };
        if !known {
            return false;
        }
        rest = after;
    }
    true
}

fn ends_with_iso_date(text: &str) -> bool {
    let date = text.trim_end().rsplit(' ').next().unwrap_or_default();
    let parts: Vec<_> = date.split('-').collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
}

fn begins_with_time(text: &str) -> bool {
    text.split_once(':').is_some_and(|(hour, _)| hour.trim_start().parse::<u32>().is_ok())
}

/// The words of dates: time zones are those that `ostree` and the crate read alike.
const WORDS: &str = "
    a ago hence last this next now today yesterday tomorrow am pm
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth
    year years month months fortnight fortnights week weeks day days hour hours
    minute minutes min mins seconds sec secs
    january february march april may june july august september october november december
    jan feb mar apr jun jul aug sep sept oct nov dec
    monday tuesday wednesday thursday friday saturday sunday
    mon tue tues wed wednes thu thur thurs fri sat sun
    z wet west wat utc ut sst sgt sast pst pdt nzst nzdt nst ndt mst msk msd mez mesz mest mdt kst jst ist hst
    gst gmt est eet eest edt eat cst clt clst cet cest cdt cat bst brt brst ast art akst akdt adt";

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

    #[test]
    fn a_letter_too_much_is_no_time_zone() {
        let dates = ["yesterday", "today", "now", "2 weeks ago", "1 day ago 10pm", "2020-02-29 12:30", "@12"];
        for date in dates {
            assert!(parse_past(date).is_ok(), "{date}");
            for letter in ('b'..='y').chain('B'..='Y') {
                let mistyped = format!("{date}{letter}");
                assert_eq!(parse_past(&mistyped), Err(format!("Could not parse '{mistyped}'")));
            }
        }
        for empty in ["", " "] {
            assert_eq!(parse_past(empty), Err(format!("Could not parse '{empty}': a date is missing")));
        }
    }
}
