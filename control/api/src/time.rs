//! Ages as `kubectl get` prints them. Follows `k8s.io/apimachinery/pkg/util/duration`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// What a table shows where a time is not set.
pub const UNKNOWN: &str = "<unknown>";

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// A duration in seconds with two or three significant digits: `95s`, `5m3s`, `2d4h`, `3y`.
/// A little in the future counts as now; more is `<invalid>`.
pub fn human_duration(seconds: i64) -> String {
    // The largest unit, and the next smaller one where it still matters.
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{small_unit}")
        }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        s if s < 10 * MINUTE => two(s / MINUTE, "m", s % MINUTE, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(s / HOUR, "h", s % HOUR / MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(s / DAY, "d", s % DAY / HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(s / YEAR, "y", s % YEAR / DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

/// A duration in seconds in its largest unit only: `59s`, `5m`, `2d`.
pub fn short_human_duration(seconds: i64) -> String {
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..MINUTE => format!("{seconds}s"),
        s if s < HOUR => format!("{}m", s / MINUTE),
        s if s < DAY => format!("{}h", s / HOUR),
        s if s < YEAR => format!("{}d", s / DAY),
        s => format!("{}y", s / YEAR),
    }
}

/// How long before `now` something was, or `<unknown>`.
pub fn since(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(
        || UNKNOWN.to_owned(),
        |then| human_duration(seconds_between(then, now)),
    )
}

/// [`since`] for an optional API time.
pub fn since_time(then: Option<&Time>, now: Timestamp) -> String {
    since(then.map(|t| t.0), now)
}

/// [`since`] for an optional API time with microseconds.
pub fn since_micro_time(then: Option<&MicroTime>, now: Timestamp) -> String {
    since(then.map(|t| t.0), now)
}

/// Whole seconds from `then` to `now`, rounded towards zero; negative if `then` is later.
pub fn seconds_between(then: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(then).as_secs()
}

/// `now` as the API writes it: whole seconds.
pub fn whole_seconds(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        let cases = [
            (-2, "<invalid>", "<invalid>"),
            (-1, "0s", "0s"),
            (0, "0s", "0s"),
            (59, "59s", "59s"),
            (60, "60s", "1m"),
            (119, "119s", "1m"),
            (120, "2m", "2m"),
            (303, "5m3s", "5m"),
            (599, "9m59s", "9m"),
            (600, "10m", "10m"),
            (10_799, "179m", "2h"),
            (10_800, "3h", "3h"),
            (10_860, "3h1m", "3h"),
            (28_799, "7h59m", "7h"),
            (28_800, "8h", "8h"),
            (172_799, "47h", "1d"),
            (172_800, "2d", "2d"),
            (187_200, "2d4h", "2d"),
            (691_199, "7d23h", "7d"),
            (691_200, "8d", "8d"),
            (2 * YEAR - 1, "729d", "1y"),
            (2 * YEAR, "2y", "2y"),
            (2 * YEAR + DAY, "2y1d", "2y"),
            (8 * YEAR, "8y", "8y"),
            (i64::MAX, "292471208677y", "292471208677y"),
        ];
        for (seconds, long, short) in cases {
            assert_eq!(human_duration(seconds), long, "{seconds}");
            assert_eq!(short_human_duration(seconds), short, "{seconds}");
        }
    }

    #[test]
    fn unset_times_are_unknown() {
        let now = Timestamp::from_second(1_000).unwrap();
        assert_eq!(since_time(None, now), UNKNOWN);
        assert_eq!(
            since_time(Some(&Time(Timestamp::from_second(970).unwrap())), now),
            "30s"
        );
        let half = Timestamp::from_millisecond(999_500).unwrap();
        assert_eq!(since(Some(half), now), "0s");
        assert_eq!(whole_seconds(half).0.as_second(), 999);
    }
}
