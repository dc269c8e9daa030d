//! Which of a group's versions clients should prefer. Follows
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#version-priority>.

use std::cmp::Ordering;

/// Orders API versions so that the most preferred comes first: stable ones before beta
/// before alpha, each with the highest number first; then whatever is called otherwise,
/// by its letters.
pub fn by_priority(a: &str, b: &str) -> Ordering {
    match (Parsed::of(a), Parsed::of(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// `v2beta3` as (beta, 2, 3).
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Parsed {
    stage: Stage,
    major: u64,
    minor: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Alpha,
    Beta,
    Stable,
}

impl Parsed {
    fn of(version: &str) -> Option<Self> {
        let rest = version.strip_prefix('v')?;
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let major = number(&rest[..end])?;
        let tail = &rest[end..];
        let (stage, minor) = match (tail.strip_prefix("alpha"), tail.strip_prefix("beta")) {
            (Some(minor), _) => (Stage::Alpha, number(minor)?),
            (_, Some(minor)) => (Stage::Beta, number(minor)?),
            _ if tail.is_empty() => (Stage::Stable, 0),
            _ => return None,
        };
        Some(Parsed {
            stage,
            major,
            minor,
        })
    }
}

/// A positive number without leading zeros.
fn number(digits: &str) -> Option<u64> {
    let sound = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_first_and_high_numbers_before_low_ones() {
        // The example of Kubernetes' documentation.
        let sorted = [
            "v10",
            "v2",
            "v1",
            "v11beta2",
            "v10beta3",
            "v3beta1",
            "v12alpha1",
            "v11alpha2",
            "foo1",
            "foo10",
        ];
        let mut versions = sorted;
        versions.reverse();
        versions.sort_by(|a, b| by_priority(a, b));
        assert_eq!(versions, sorted);
        let mut odd = [
            "v",
            "v0",
            "v01",
            "v1gamma2",
            "v1beta",
            "v1",
            "v99999999999999999999",
        ];
        odd.sort_by(|a, b| by_priority(a, b));
        assert_eq!(odd[0], "v1");
        assert_eq!(by_priority("v1", "v1"), Ordering::Equal);
    }
}
