//! The formats of strings that Kubernetes checks; others say nothing
//! (`k8s.io/kube-openapi/pkg/validation/strfmt`).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use euston_api::names;
use regex::Regex;

/// True if `text` is of that format, or the format is none that is checked.
pub(crate) fn is_of(format: &str, text: &str) -> bool {
    match format {
        "date" => text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10,
        "date-time" | "datetime" => is_date_time(text),
        "duration" => is_duration(text),
        "byte" => is_base64(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uri" => is_uri(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some('3')),
        "uuid4" => is_uuid(text, Some('4')),
        "uuid5" => is_uuid(text, Some('5')),
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "ssn" => like(&SSN, r"^\d{3}[- ]?\d{2}[- ]?\d{4}$", text),
        "hexcolor" => like(&HEX, "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$", text),
        "rgbcolor" => like(&RGB, RGB_PATTERN, text),
        "k8s-short-name" => names::dns1123_label(text).is_empty(),
        "k8s-long-name" => names::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

static SSN: OnceLock<Regex> = OnceLock::new();
static HEX: OnceLock<Regex> = OnceLock::new();
static RGB: OnceLock<Regex> = OnceLock::new();
const RGB_PATTERN: &str = r"^rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*\)$";

fn like(cell: &OnceLock<Regex>, pattern: &str, text: &str) -> bool {
    let regex = cell.get_or_init(|| match Regex::new(pattern) {
        Ok(regex) => regex,
        // Part of the program: a test goes through each.
        Err(error) => unreachable!("a built-in pattern is damaged: {error}"),
    });
    regex.is_match(text)
}

fn is_date_time(text: &str) -> bool {
    // RFC 3339 wants the offset; a name of a zone in brackets is no part of it.
    let plain = text.len() >= 20 && !text.contains('[') && text.as_bytes()[4] == b'-';
    plain && text.parse::<jiff::Timestamp>().is_ok()
}

/// Go's durations (`1h30m`), and those with words (`3 days`) that strfmt takes as well.
fn is_duration(text: &str) -> bool {
    is_go_duration(text) || is_worded_duration(text)
}

fn is_go_duration(text: &str) -> bool {
    const UNITS: &[&str] = &["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut any = false;
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let digits = &rest[..number];
        if digits.matches('.').count() > 1 || !digits.bytes().any(|b| b.is_ascii_digit()) {
            return false;
        }
        let after = &rest[number..];
        let unit = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        if !UNITS.contains(&&after[..unit]) {
            return false;
        }
        rest = &after[unit..];
        any = true;
    }
    any
}

fn is_worded_duration(text: &str) -> bool {
    const UNITS: &[&str] = &[
        "ns", "nano", "us", "µs", "micro", "ms", "milli", "s", "sec", "second", "m", "min",
        "minute", "h", "hr", "hour", "d", "day", "w", "wk", "week",
    ];
    let Some(at) = text.find(|c: char| !c.is_ascii_digit()) else {
        return false;
    };
    let unit = text[at..].trim().to_lowercase();
    let single = unit.strip_suffix('s').unwrap_or(&unit);
    at > 0 && (UNITS.contains(&unit.as_str()) || UNITS.contains(&single))
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    text.len().is_multiple_of(4) && text.len() - body.len() <= 2 && body.bytes().all(alphabet)
}

fn is_email(text: &str) -> bool {
    let address = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(open), Some(_)) => &text[open + 1..text.len() - 1],
        _ => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let odd = |c: char| c.is_whitespace() || "()<>[]:;,\\\"@".contains(c);
    !local.is_empty()
        && !domain.is_empty()
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !address.contains("..")
        && !local.contains(odd)
        && !domain.contains(odd)
}

fn is_hostname(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    !name.is_empty() && text.len() <= 255 && name.split('.').all(label)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let canonical = bits == "0" || !bits.starts_with(['0', '+']);
    let bits = bits.parse::<u8>().ok().filter(|_| canonical);
    match (address.parse::<std::net::IpAddr>(), bits) {
        (Ok(address), Some(bits)) => bits <= if address.is_ipv4() { 32 } else { 128 },
        _ => false,
    }
}

fn is_mac(text: &str) -> bool {
    let groups = |separator: char, digits: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len())
            && (parts.iter()).all(|p| p.len() == digits && p.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10])
}

fn is_uri(text: &str) -> bool {
    // Go's url.ParseRequestURI: an absolute URL or an absolute path.
    if text.contains(|c: char| c.is_control() || c == ' ') {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    named && !rest.is_empty()
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let hex: Vec<char> = text.chars().filter(|&c| c != '-').collect();
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let shaped = lengths == [8, 4, 4, 4, 12] || lengths == [32];
    shaped
        && hex.iter().all(char::is_ascii_hexdigit)
        && version.is_none_or(|v| {
            hex[12] == v
                && (v == '3' || matches!(hex[16].to_ascii_lowercase(), '8' | '9' | 'a' | 'b'))
        })
}

fn is_isbn10(text: &str) -> bool {
    let digits: Vec<char> = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    let value = |(i, c): (usize, &char)| match c {
        'X' if i == 9 => Some(10),
        c => c.to_digit(10),
    };
    let values: Option<Vec<u32>> = digits.iter().enumerate().map(value).collect();
    values.is_some_and(|v| {
        v.len() == 10
            && (v
                .iter()
                .zip((1..=10).rev())
                .map(|(d, w)| d * w)
                .sum::<u32>()
                % 11)
                == 0
    })
}

fn is_isbn13(text: &str) -> bool {
    let digits = text.chars().filter(|c| !matches!(c, '-' | ' '));
    let values: Option<Vec<u32>> = digits.map(|c| c.to_digit(10)).collect();
    values.is_some_and(|v| {
        let weighted = v.iter().zip([1, 3].into_iter().cycle()).map(|(d, w)| d * w);
        v.len() == 13 && weighted.sum::<u32>() % 10 == 0
    })
}

fn is_credit_card(text: &str) -> bool {
    let digits = text.chars().filter(|c| !matches!(c, '-' | ' '));
    let values: Option<Vec<u32>> = digits.map(|c| c.to_digit(10)).collect();
    values.is_some_and(|v| {
        let luhn = v.iter().rev().enumerate().map(|(i, d)| match i % 2 {
            0 => *d,
            _ => d * 2 / 10 + d * 2 % 10,
        });
        (13..=19).contains(&v.len()) && luhn.sum::<u32>() % 10 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_tell_what_is_of_them() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("date", &["2026-02-28"], &["2026-02-30", "26-1-1", "x"]),
            (
                "date-time",
                &["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5+02:00"],
                &["2026-01-01", "2026-01-01T00:00:00", "x", ""],
            ),
            (
                "duration",
                &["1h30m", "-1.5s", "0", "3 days", "10ms"],
                &["1", "h", "1x", "", "1.2.3s"],
            ),
            ("byte", &["", "YQ==", "YWJj"], &["YQ=", "Y", "Y!=="]),
            (
                "email",
                &["a@b.c", "A B <a@b.c>"],
                &["a", "@b", "a@", "a b@c"],
            ),
            ("hostname", &["a.b-c", "x"], &["", "-a", "a..b", "a_b"]),
            ("ipv4", &["10.0.0.1"], &["10.0.0.256", "::1"]),
            ("ipv6", &["::1"], &["10.0.0.1", "g::"]),
            (
                "cidr",
                &["10.0.0.0/8", "::/0"],
                &["10.0.0.0", "10.0.0.0/33", "x/8"],
            ),
            (
                "mac",
                &["00:00:5e:00:53:01", "0000.5e00.5301"],
                &["00:00:5e:00:53", "zz:00:5e:00:53:01"],
            ),
            ("uri", &["http://a/b", "/a", "urn:x"], &["", "a b", "http"]),
            (
                "uuid",
                &["123e4567-e89b-12d3-a456-426614174000"],
                &["123e4567", "123e4567-e89b-12d3-a456-42661417400g"],
            ),
            (
                "uuid4",
                &["123e4567-e89b-42d3-a456-426614174000"],
                &["123e4567-e89b-12d3-a456-426614174000"],
            ),
            ("isbn10", &["0-306-40615-2"], &["0-306-40615-3"]),
            ("isbn13", &["978-0-306-40615-7"], &["978-0-306-40615-8"]),
            (
                "creditcard",
                &["4111 1111 1111 1111"],
                &["4111 1111 1111 1112"],
            ),
            ("ssn", &["111-11-1111"], &["11-11-1111"]),
            ("hexcolor", &["#fff", "00ff00"], &["#ff", "red"]),
            ("rgbcolor", &["rgb(1, 20,255)"], &["rgb(1,2,256)"]),
            ("k8s-short-name", &["a-b"], &["a.b", "A"]),
            ("k8s-long-name", &["a.b"], &["A.b", "a..b"]),
            ("int32", &["anything"], &[]),
            ("of-their-own", &["anything"], &[]),
        ];
        for (format, good, bad) in cases {
            for text in *good {
                assert!(is_of(format, text), "{format}: {text:?}");
            }
            for text in *bad {
                assert!(!is_of(format, text), "{format}: {text:?}");
            }
        }
    }
}
