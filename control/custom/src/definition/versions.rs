//! The order of versions: `v10`, `v2`, `v1`, `v11beta2`, `v3beta1`, `v12alpha1`, `foo1`, `foo10`
//! (`k8s.io/apimachinery/pkg/version`).

use std::cmp::{Ordering, Reverse};

/// The versions, most preferred first.
pub fn sorted<'v>(versions: impl IntoIterator<Item = &'v str>) -> Vec<&'v str> {
    let mut versions: Vec<&str> = versions.into_iter().collect();
    versions.sort_by(|a, b| match (rank(a), rank(b)) {
        (Some(a), Some(b)) => Reverse(a).cmp(&Reverse(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    });
    versions
}

/// Stability, major, minor; `None` for versions that follow no scheme.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let major = number(&rest[..digits])?;
    let rest = &rest[digits..];
    if rest.is_empty() {
        return Some((3, major, 0));
    }
    let (stability, minor) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
        (Some(minor), _) => (2, minor),
        (_, Some(minor)) => (1, minor),
        _ => return None,
    };
    let minor = match minor {
        "" => 0,
        minor => number(minor)?,
    };
    Some((stability, major, minor))
}

fn number(text: &str) -> Option<u64> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_stability_and_age() {
        let expect = [
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
        let mut given = expect;
        given.reverse();
        assert_eq!(sorted(given), expect);
    }
}
