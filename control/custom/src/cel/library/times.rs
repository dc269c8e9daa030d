//! Times and durations.

use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};

use super::{Error, Result, Value};

/// `None` if it is no function of these.
pub(super) fn function(name: &str, args: &[Value]) -> Option<Result<Value>> {
    use Value::{Duration, Timestamp as Time};
    let range = |value: Option<Value>| value.ok_or_else(|| Error::failed("timestamp overflow"));
    Some(match (name, args) {
        ("timestamp", [Value::String(text)]) => text
            .parse::<Timestamp>()
            .map(Time)
            .map_err(|_| Error::failed(format!("invalid timestamp {text:?}"))),
        ("timestamp", [Value::Int(seconds)]) => {
            range(Timestamp::from_second(*seconds).ok().map(Time))
        }
        ("timestamp", [time @ Time(_)]) => Ok(time.clone()),
        ("duration", [Value::String(text)]) => parse_duration(text)
            .map(Duration)
            .ok_or_else(|| Error::failed(format!("invalid duration {text:?}"))),
        ("duration", [duration @ Duration(_)]) => Ok(duration.clone()),
        ("+", [Time(time), Duration(d)] | [Duration(d), Time(time)]) => {
            range(time.checked_add(*d).ok().map(Time))
        }
        ("-", [Time(time), Duration(d)]) => range(time.checked_sub(*d).ok().map(Time)),
        ("-", [Time(a), Time(b)]) => Ok(Duration(a.duration_since(*b))),
        ("+", [Duration(a), Duration(b)]) => range(a.checked_add(*b).map(Duration)),
        ("-", [Duration(a), Duration(b)]) => range(a.checked_sub(*b).map(Duration)),
        ("neg", [Duration(d)]) => range(SignedDuration::ZERO.checked_sub(*d).map(Duration)),
        _ => return None,
    })
}

/// `None` if it is no method of these.
pub(super) fn method(name: &str, target: &Value, args: &[Value]) -> Option<Result<Value>> {
    match target {
        Value::Timestamp(time) => {
            let zone = match args {
                [] => TimeZone::UTC,
                [Value::String(zone)] => match zone_named(zone) {
                    Some(zone) => zone,
                    None => return Some(Err(Error::failed(format!("unknown time zone {zone}")))),
                },
                _ => return None,
            };
            part_of(name, &time.to_zoned(zone)).map(|n| Ok(Value::Int(n)))
        }
        Value::Duration(duration) if args.is_empty() => {
            let whole = match name {
                "getHours" => duration.as_secs() / 3600,
                "getMinutes" => duration.as_secs() / 60,
                "getSeconds" => duration.as_secs(),
                "getMilliseconds" => i64::from(duration.subsec_millis()),
                _ => return None,
            };
            Some(Ok(Value::Int(whole)))
        }
        _ => None,
    }
}

fn part_of(name: &str, time: &Zoned) -> Option<i64> {
    Some(match name {
        "getFullYear" => time.year().into(),
        "getMonth" => i64::from(time.month()) - 1,
        "getDate" => time.day().into(),
        "getDayOfMonth" => i64::from(time.day()) - 1,
        "getDayOfWeek" => time.weekday().to_sunday_zero_offset().into(),
        "getDayOfYear" => i64::from(time.day_of_year()) - 1,
        "getHours" => time.hour().into(),
        "getMinutes" => time.minute().into(),
        "getSeconds" => time.second().into(),
        "getMilliseconds" => time.millisecond().into(),
        _ => return None,
    })
}

/// `UTC`, a name, or an offset such as `-08:00`.
fn zone_named(name: &str) -> Option<TimeZone> {
    let offset = name.strip_prefix(['+', '-']).unwrap_or(name);
    if let Some((hours, minutes)) = offset.split_once(':') {
        let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
        let seconds = if name.starts_with('-') {
            -seconds
        } else {
            seconds
        };
        let offset = jiff::tz::Offset::from_seconds(seconds).ok()?;
        return Some(TimeZone::fixed(offset));
    }
    TimeZone::get(name).ok()
}

/// Go's durations: `1h30m`, `-1.5s`.
pub(in crate::cel) fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut nanos: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let digits = |text: &str| match text {
            "" => Some(0),
            text => text.parse::<i128>().ok(),
        };
        nanos = nanos.checked_add(digits(whole)?.checked_mul(scale)?)?;
        let fraction = &fraction[..fraction.len().min(18)];
        let power = 10i128.pow(u32::try_from(fraction.len()).ok()?);
        nanos = nanos.checked_add(digits(fraction)?.checked_mul(scale)? / power)?;
        rest = after;
    }
    let nanos = if negative { -nanos } else { nanos };
    let seconds = i64::try_from(nanos / 1_000_000_000).ok()?;
    Some(SignedDuration::new(seconds, (nanos % 1_000_000_000) as i32))
}
