//! Fields that hold a number or a percentage, such as `maxSurge: 25%`.
//! Follows `k8s.io/apimachinery/pkg/util/intstr`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::{ErrorList, Path};
use crate::names::format_error;

/// The number in `25%`, or `None` if the text is no percentage.
pub fn percent(value: &str) -> Option<i32> {
    let digits = value.strip_suffix('%')?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The number that `value` stands for where 100% is `total`; `None` if it is neither
/// a number nor a percentage. Rounds up or down as asked; saturates.
pub fn scaled(value: &IntOrString, total: i32, round_up: bool) -> Option<i32> {
    match value {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => {
            let product = i64::from(percent(text)?) * i64::from(total);
            let scaled = if round_up {
                product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0)
            } else {
                product.div_euclid(100)
            };
            Some(i32::try_from(scaled).unwrap_or(if scaled < 0 { i32::MIN } else { i32::MAX }))
        }
    }
}

/// True for `0` and `0%`.
pub fn is_zero(value: &IntOrString) -> bool {
    match value {
        IntOrString::Int(number) => *number == 0,
        IntOrString::String(text) => percent(text) == Some(0),
    }
}

/// Adds an error unless `value` is a number of at least 0 or a percentage.
pub fn validate_non_negative(value: &IntOrString, path: &Path, errors: &mut ErrorList) {
    match value {
        IntOrString::Int(number) if *number < 0 => {
            errors.invalid(path.clone(), number, crate::field::NOT_NEGATIVE);
        }
        IntOrString::Int(_) => {}
        IntOrString::String(text) => {
            if percent(text).is_none() {
                errors.invalid(
                    path.clone(),
                    text,
                    format_error(
                        "a valid percent string must be a numeric string followed by an ending '%'",
                        "[0-9]+%",
                        &["1%", "93%"],
                    ),
                );
            }
        }
    }
}

/// Adds an error if `value` is more than 100%.
pub fn validate_at_most_all(value: &IntOrString, path: &Path, errors: &mut ErrorList) {
    if let IntOrString::String(text) = value
        && percent(text).is_some_and(|percent| percent > 100)
    {
        errors.invalid(path.clone(), text, "must not be greater than 100%");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> IntOrString {
        IntOrString::String(value.to_owned())
    }

    #[test]
    fn percentages_scale_and_round() {
        let cases = [
            (IntOrString::Int(3), 10, true, Some(3)),
            (text("25%"), 10, true, Some(3)),
            (text("25%"), 10, false, Some(2)),
            (text("0%"), 10, true, Some(0)),
            (text("100%"), 7, false, Some(7)),
            (text("1000%"), 7, false, Some(70)),
            (text("2147483647%"), i32::MAX, true, Some(i32::MAX)),
            (text("99999999999%"), 1, true, None),
            (text("25"), 10, true, None),
            (text("-1%"), 10, true, None),
            (text("+1%"), 10, true, None),
            (text("%"), 10, true, None),
        ];
        for (value, total, up, expected) in cases {
            assert_eq!(scaled(&value, total, up), expected, "{value:?} of {total}");
        }
    }

    #[test]
    fn bad_values_are_explained() {
        let cases = [
            (IntOrString::Int(0), ""),
            (
                IntOrString::Int(-1),
                "f: Invalid value: -1: must be greater than or equal to 0",
            ),
            (text("50%"), ""),
            (
                text("half"),
                "f: Invalid value: \"half\": a valid percent string must be a numeric string \
                 followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is \
                 '[0-9]+%')",
            ),
            (
                text("101%"),
                "f: Invalid value: \"101%\": must not be greater than 100%",
            ),
        ];
        for (value, expected) in cases {
            let mut errors = ErrorList::new();
            validate_non_negative(&value, &Path::new("f"), &mut errors);
            validate_at_most_all(&value, &Path::new("f"), &mut errors);
            let shown = if errors.is_empty() {
                String::new()
            } else {
                errors.to_string()
            };
            assert_eq!(shown, expected, "{value:?}");
        }
    }
}
