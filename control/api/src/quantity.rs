//! Amounts of resources: `500m`, `1.5Gi`, `1e3`. Exact arithmetic in billionths, as
//! `k8s.io/apimachinery/pkg/api/resource` does it: finer values round away from
//! zero, larger ones than 2^63-1 are capped.

use std::cmp::Ordering;
use std::fmt;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

/// Billionths in one.
const NANOS: i128 = 1_000_000_000;
/// The largest magnitude.
const NANOS_MAX: i128 = i64::MAX as i128 * NANOS;
/// With a binary suffix, digits after this many decimals count as rounding only:
/// that far down they are below a billionth of a byte times 2^60.
const BINARY_DECIMALS_MAX: usize = 20;
/// Decimal digits that surely fit into `i128`.
const DIGITS_MAX: usize = 38;

/// How a quantity was written, and so how it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `1e3`
    DecimalExponent,
    /// `1Ki`
    BinarySi,
    /// `1k`, `1`, `1m`
    DecimalSi,
}

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text has the wrong shape.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The number before the suffix is malformed.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// A parsed quantity. Compares by amount, whatever the format.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity {
        nanos: 0,
        format: Format::DecimalSi,
    };

    /// `value` whole units.
    pub fn from_value(value: i64, format: Format) -> Self {
        Quantity {
            nanos: i128::from(value) * NANOS,
            format,
        }
    }

    /// `milli` thousandths.
    pub fn from_milli(milli: i64, format: Format) -> Self {
        Quantity {
            nanos: i128::from(milli) * (NANOS / 1000),
            format,
        }
    }

    /// Parses `500m`, `1.5Gi`, `1e3`. Takes time linear in the text, whatever it says.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            None => return Err(QuantityError::Format),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, rest) = rest.split_at(digits(rest));
        let (decimals, suffix) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(digits(rest)),
            None => ("", rest),
        };
        let known = |b: &u8| b"eEinumkKMGTP".contains(b);
        let letters = suffix.bytes().take_while(|b| known(b)).count();
        let exponent = &suffix[letters..];
        let exponent_digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if !exponent_digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(QuantityError::Format);
        }
        if whole.is_empty() && decimals.is_empty() {
            return Err(QuantityError::Number);
        }
        let (scale, format) = Scale::parse(suffix).ok_or(QuantityError::Suffix)?;
        let magnitude = match scale {
            Scale::Ten(power) => decimal_nanos(whole, decimals, power),
            Scale::Two(power) => binary_nanos(whole, decimals, power),
        };
        let nanos = magnitude.unwrap_or(NANOS_MAX).min(NANOS_MAX);
        Ok(Quantity {
            nanos: if negative { -nanos } else { nanos },
            format,
        })
    }

    /// Parses an API object's quantity.
    pub fn from_api(quantity: &ApiQuantity) -> Result<Self, QuantityError> {
        Quantity::parse(&quantity.0)
    }

    /// The quantity as an API object holds it, in canonical form.
    pub fn to_api(self) -> ApiQuantity {
        ApiQuantity(self.to_string())
    }

    /// Whole units, rounded away from zero.
    pub fn value(self) -> i64 {
        saturate(divide_away(self.nanos, NANOS))
    }

    /// Thousandths, rounded away from zero; saturates.
    pub fn milli(self) -> i64 {
        saturate(divide_away(self.nanos, NANOS / 1000))
    }

    /// The amount as a floating point number, for ratios.
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// True if below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// True if nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// True if there is no fraction of a unit.
    pub fn is_whole(self) -> bool {
        self.nanos % NANOS == 0
    }

    /// The same amount, rounded away from zero to thousandths, as the API stores resources.
    #[must_use]
    pub fn rounded_to_milli(self) -> Self {
        Quantity {
            nanos: divide_away(self.nanos, NANOS / 1000) * (NANOS / 1000),
            ..self
        }
    }

    /// The sum, capped; keeps this quantity's format unless it is nothing.
    #[must_use]
    pub fn plus(self, other: Quantity) -> Self {
        let format = if self.is_zero() {
            other.format
        } else {
            self.format
        };
        Quantity {
            nanos: (self.nanos + other.nanos).clamp(-NANOS_MAX, NANOS_MAX),
            format,
        }
    }

    /// The difference, capped; keeps this quantity's format unless it is nothing.
    #[must_use]
    pub fn minus(self, other: Quantity) -> Self {
        self.plus(Quantity {
            nanos: -other.nanos,
            ..other
        })
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// The canonical form: no fraction, the largest suffix that loses nothing.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Small amounts of bytes have no binary suffix, and may have a decimal one.
        let small = self.nanos.abs() < 1024 * NANOS;
        if self.format == Format::BinarySi && !small {
            let mut value = divide_away(self.nanos, NANOS);
            let suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
            let mut suffix = 0;
            while value % 1024 == 0 && suffix + 1 < suffixes.len() {
                value /= 1024;
                suffix += 1;
            }
            return write!(f, "{value}{}", suffixes[suffix]);
        }
        let mut value = self.nanos;
        let suffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        let mut suffix = 0;
        while value % 1000 == 0 && suffix + 1 < suffixes.len() {
            value /= 1000;
            suffix += 1;
        }
        let exponent = suffix as i32 * 3 - 9;
        match self.format {
            Format::DecimalExponent if exponent != 0 => write!(f, "{value}e{exponent}"),
            _ => write!(f, "{value}{}", suffixes[suffix]),
        }
    }
}

/// [`Quantity::value`] of an API quantity; `None` if it does not parse.
pub fn parse_value(quantity: &ApiQuantity) -> Option<i64> {
    Quantity::from_api(quantity).ok().map(Quantity::value)
}

/// [`Quantity::milli`] of an API quantity; `None` if it does not parse.
pub fn parse_milli(quantity: &ApiQuantity) -> Option<i64> {
    Quantity::from_api(quantity).ok().map(Quantity::milli)
}

/// What a suffix multiplies by.
#[derive(Clone, Copy)]
enum Scale {
    Ten(i64),
    Two(u32),
}

impl Scale {
    fn parse(suffix: &str) -> Option<(Scale, Format)> {
        let decimal = |power| Some((Scale::Ten(power), Format::DecimalSi));
        let binary = |power| Some((Scale::Two(power), Format::BinarySi));
        match suffix {
            "n" => decimal(-9),
            "u" => decimal(-6),
            "m" => decimal(-3),
            "" => decimal(0),
            "k" => decimal(3),
            "M" => decimal(6),
            "G" => decimal(9),
            "T" => decimal(12),
            "P" => decimal(15),
            "E" => decimal(18),
            "Ki" => binary(10),
            "Mi" => binary(20),
            "Gi" => binary(30),
            "Ti" => binary(40),
            "Pi" => binary(50),
            "Ei" => binary(60),
            _ => {
                let power = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
                Some((Scale::Ten(power), Format::DecimalExponent))
            }
        }
    }
}

/// `whole.decimals` times 10^power in billionths, rounded up; `None` if too large.
fn decimal_nanos(whole: &str, decimals: &str, power: i64) -> Option<i128> {
    // All digits as one number, with the point moved into `shift`.
    let decimals = decimals.trim_end_matches('0');
    let digits: String = [whole, decimals].concat();
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let digits = &digits[leading..];
    if digits.is_empty() {
        return Some(0);
    }
    let shift = power
        .saturating_add(9)
        .saturating_sub(i64::try_from(decimals.len()).ok()?);
    let kept = i64::try_from(digits.len()).ok()?.saturating_add(shift);
    if kept > DIGITS_MAX as i64 {
        return None;
    }
    if kept <= 0 {
        // Less than a billionth, and not nothing.
        return Some(1);
    }
    let kept = usize::try_from(kept).ok()?;
    if shift >= 0 {
        let zeros = u32::try_from(shift).ok()?;
        return digits
            .parse::<i128>()
            .ok()?
            .checked_mul(10_i128.checked_pow(zeros)?);
    }
    let (kept, dropped) = digits.split_at(kept);
    let round = i128::from(dropped.bytes().any(|b| b != b'0'));
    Some(kept.parse::<i128>().ok()? + round)
}

/// `whole.decimals` times 2^power in billionths, rounded up; `None` if too large.
fn binary_nanos(whole: &str, decimals: &str, power: u32) -> Option<i128> {
    let whole = whole.trim_start_matches('0');
    if whole.len() > DIGITS_MAX {
        return None;
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let whole = whole.checked_mul(1 << power)?.checked_mul(NANOS)?;

    let decimals = decimals.trim_end_matches('0');
    let (decimals, dropped) = decimals.split_at(decimals.len().min(BINARY_DECIMALS_MAX));
    let mut fraction: i128 = if decimals.is_empty() {
        0
    } else {
        decimals.parse().ok()?
    };
    fraction += i128::from(!dropped.is_empty());
    // fraction / 10^n * 2^power * 10^9, without leaving i128: 10^20 * 2^60 < 2^127.
    let fraction = match 9_i64 - decimals.len() as i64 {
        shift @ 0.. => (fraction << power).checked_mul(10_i128.pow(shift as u32))?,
        shift => divide_away(fraction << power, 10_i128.pow(-shift as u32)),
    };
    whole.checked_add(fraction)
}

/// Division that rounds away from zero.
fn divide_away(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 {
        quotient
    } else {
        quotient + value.signum()
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        let cases = [
            ("0", "0"),
            ("0Ki", "0"),
            ("-0", "0"),
            ("1", "1"),
            ("+1", "1"),
            ("-1", "-1"),
            ("1.", "1"),
            (".5", "500m"),
            ("1.5", "1500m"),
            ("0.1m", "100u"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1000Mi", "1000Mi"),
            ("0.5Ki", "512"),
            ("0.5Mi", "512Ki"),
            ("0.001Ki", "1024m"),
            ("1023", "1023"),
            ("2048", "2048"),
            ("1000", "1k"),
            ("1000k", "1M"),
            ("1500k", "1500k"),
            ("1000m", "1"),
            ("100m", "100m"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1e-3", "1e-3"),
            ("1e4", "10e3"),
            ("12e0", "12"),
            ("1E", "1E"),
            ("5n", "5n"),
            ("0.5n", "1n"),
            ("-0.5n", "-1n"),
            ("1u", "1u"),
            ("0001", "1"),
            ("1.0000000000000000000000000000000000000000000", "1"),
            ("1.0000000001", "1000000001n"),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "9223372036854775807"),
            ("-9223372036854775809", "-9223372036854775807"),
            ("100E", "9223372036854775807"),
            ("1e99999", "9223372036854775807"),
            ("8Ei", "9223372036854775807"),
            ("1e-99999", "1e-9"),
            ("0e99999", "0"),
            ("3Ei", "3Ei"),
            ("1.00000000000000000001Gi", "1073741825"),
        ];
        for (text, expected) in cases {
            let shown = Quantity::parse(text).map(|q| q.to_string());
            assert_eq!(shown.as_deref(), Ok(expected), "{text:?}");
            let again = Quantity::parse(expected).unwrap().to_string();
            assert_eq!(again, expected, "canonical form of {text:?} is stable");
        }
    }

    #[test]
    fn malformed_quantities_are_refused() {
        use QuantityError::{Format, Number, Suffix};
        let cases = [
            ("", Format),
            ("a", Format),
            (" 1", Format),
            ("1 ", Format),
            ("1 Gi", Format),
            ("--1", Number),
            ("1.1.1", Format),
            ("1Gb", Format),
            ("1e1.5", Format),
            ("1e9e", Format),
            ("é", Format),
            ("-", Number),
            (".", Number),
            ("Gi", Number),
            ("1g", Format),
            ("1K", Suffix),
            ("1mi", Suffix),
            ("1kk", Suffix),
            ("1e+", Suffix),
            ("1e", Suffix),
            ("1i", Suffix),
            ("1Ki3", Suffix),
            ("1e99999999999999999999", Suffix),
        ];
        for (text, expected) in cases {
            assert_eq!(
                Quantity::parse(text).map(|q| q.to_string()),
                Err(expected),
                "{text:?}"
            );
        }
    }

    #[test]
    fn hostile_lengths_are_quick() {
        let long = "9".repeat(3 << 20);
        for text in [
            long.clone(),
            format!("{long}Gi"),
            format!("0.{long}"),
            format!("0.{long}Ei"),
            format!("1e{long}"),
            format!("1{}", "e".repeat(3 << 20)),
        ] {
            let _ = Quantity::parse(&text);
        }
        assert_eq!(Quantity::parse(&long).unwrap().value(), i64::MAX);
    }

    #[test]
    fn values_round_away_from_zero() {
        let cases = [
            ("100m", 1, 100),
            ("1", 1, 1000),
            ("1.0001", 2, 1001),
            ("-1.5", -2, -1500),
            ("1Gi", 1 << 30, (1 << 30) * 1000),
            ("8E", 8_000_000_000_000_000_000, i64::MAX),
            ("1n", 1, 1),
        ];
        for (text, value, milli) in cases {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!(
                (quantity.value(), quantity.milli()),
                (value, milli),
                "{text}"
            );
        }
        assert_eq!(parse_value(&ApiQuantity("x".into())), None);
        assert_eq!(parse_milli(&ApiQuantity("2".into())), Some(2000));
    }

    #[test]
    fn arithmetic_and_order() {
        let q = |text| Quantity::parse(text).unwrap();
        assert_eq!(q("1Gi"), q("1073741824"));
        assert!(q("999m") < q("1"));
        assert!(q("-1").is_negative());
        assert_eq!(q("1Gi").plus(q("512Mi")).to_string(), "1536Mi");
        assert_eq!(Quantity::ZERO.plus(q("1Gi")).to_string(), "1Gi");
        assert_eq!(q("500m").plus(q("500m")).to_string(), "1");
        assert_eq!(q("1").minus(q("1500m")).to_string(), "-500m");
        assert_eq!(q("9E").plus(q("9E")).value(), i64::MAX);
        assert_eq!(q("1u").rounded_to_milli().to_string(), "1m");
        assert_eq!(
            Quantity::from_milli(250, Format::DecimalSi).to_string(),
            "250m"
        );
        assert_eq!(
            Quantity::from_value(2048, Format::BinarySi).to_string(),
            "2Ki"
        );
        assert!(q("1k").is_whole() && !q("1m").is_whole());
    }
}
