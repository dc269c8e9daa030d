//! Values that JSON writes in another way than protobuf, and the small messages they are in.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

use crate::wire::{Reader, Value, WireError};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MICRO: i64 = 1_000;

/// The fields 1 to `N` of a message; of one that is repeated, the last.
pub fn pick<const N: usize>(bytes: &[u8]) -> Result<[Option<Value<'_>>; N], WireError> {
    let mut picked = [None; N];
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        if let Some(place) = picked.get_mut(number as usize - 1) {
            *place = Some(value);
        }
    }
    Ok(picked)
}

/// RFC 3339 in UTC: whole seconds, or microseconds. What is finer is dropped, as Go does.
///
/// # Errors
/// Outside the years 1 to 9999.
pub fn time_text(seconds: i64, nanos: i64, micro: bool) -> Result<String, String> {
    let nanos = if micro {
        nanos / NANOS_PER_MICRO * NANOS_PER_MICRO
    } else {
        0
    };
    let time = i32::try_from(nanos)
        .ok()
        .filter(|n| (0..NANOS_PER_SECOND).contains(&i64::from(*n)))
        .and_then(|nanos| Timestamp::new(seconds, nanos).ok())
        .filter(|t| (1..=9999).contains(&t.to_zoned(jiff::tz::TimeZone::UTC).year()))
        .ok_or_else(|| {
            format!("{seconds} s and {nanos} ns after 1970 is no time in the years 1 to 9999")
        })?;
    let precision = if micro { 6 } else { 0 };
    Ok(DateTimePrinter::new()
        .precision(Some(precision))
        .timestamp_to_string(&time))
}

/// Seconds since 1970, and nanoseconds, of a time in RFC 3339.
pub fn parse_time(text: &str, micro: bool) -> Result<(i64, i64), String> {
    let time: Timestamp = text
        .parse()
        .map_err(|e| format!("{text:?} is no time in RFC 3339: {e}"))?;
    // Rounded down, so that the nanoseconds count forward.
    let nanos = i64::from(time.subsec_nanosecond());
    let seconds = time.as_second() - i64::from(nanos < 0);
    let nanos = nanos.rem_euclid(NANOS_PER_SECOND);
    let kept = if micro {
        nanos / NANOS_PER_MICRO * NANOS_PER_MICRO
    } else {
        0
    };
    Ok((seconds, kept))
}

/// As Go's `time.Duration` prints: `1h0m30.5s`, `1.5ms`, `0s`.
pub fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let all = nanos.unsigned_abs();
    let decimal = |unit: u64, name: &str| {
        let (whole, part) = (all / unit, all % unit);
        let digits = unit.ilog10() as usize;
        let part = format!("{part:0digits$}");
        let part = part.trim_end_matches('0');
        let dot = if part.is_empty() || digits == 0 {
            ""
        } else {
            "."
        };
        let part = if digits == 0 { "" } else { part };
        format!("{sign}{whole}{dot}{part}{name}")
    };
    match all {
        0 => "0s".to_owned(),
        1..1_000 => decimal(1, "ns"),
        1_000..1_000_000 => decimal(1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(1_000_000, "ms"),
        _ => {
            let seconds = all / 1_000_000_000;
            let part = format!("{:09}", all % 1_000_000_000);
            let part = part.trim_end_matches('0');
            let dot = if part.is_empty() { "" } else { "." };
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            match (hours, minutes) {
                (0, 0) => format!("{sign}{seconds}{dot}{part}s"),
                (0, _) => format!("{sign}{minutes}m{seconds}{dot}{part}s"),
                _ => format!("{sign}{hours}h{minutes}m{seconds}{dot}{part}s"),
            }
        }
    }
}

/// Nanoseconds of a duration as Go writes it.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|e| format!("{text:?} is no duration: {e}"))?;
    i64::try_from(duration.as_nanos()).map_err(|_| format!("{text:?} is too long a duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does_and_read_back() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_000_000, "2ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (3_630_500_000_000, "1h0m30.5s"),
            (-90_000_000_000, "-1m30s"),
        ] {
            assert_eq!(duration_text(nanos), text);
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
        }
        assert!(parse_duration("soon").is_err());
    }

    #[test]
    fn times_round_trip_and_lose_what_go_drops() {
        for (text, micro, expect) in [
            ("1970-01-01T00:00:00Z", false, "1970-01-01T00:00:00Z"),
            (
                "2026-11-25T10:11:12.987654321Z",
                false,
                "2026-11-25T10:11:12Z",
            ),
            (
                "2026-11-25T10:11:12.987654321Z",
                true,
                "2026-11-25T10:11:12.987654Z",
            ),
            (
                "2026-11-25T10:11:12+02:00",
                true,
                "2026-11-25T08:11:12.000000Z",
            ),
            (
                "1969-12-31T23:59:59.5Z",
                true,
                "1969-12-31T23:59:59.500000Z",
            ),
        ] {
            let (seconds, nanos) = parse_time(text, micro).unwrap();
            assert_eq!(time_text(seconds, nanos, micro).unwrap(), expect);
        }
        assert!(parse_time("yesterday", false).is_err());
        for (seconds, nanos) in [
            (i64::MAX, 0),
            (i64::MIN, 0),
            (0, -5_000),
            (0, i64::MAX),
            (253_402_300_800, 0),
        ] {
            assert!(
                time_text(seconds, nanos, true).is_err(),
                "{seconds} {nanos}"
            );
        }
    }
}
