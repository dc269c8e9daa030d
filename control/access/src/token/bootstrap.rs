//! Bootstrap tokens: Secrets that let a new node ask for its certificate.
//! Follows <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use crate::User;

/// Where their Secrets live.
pub const NAMESPACE: &str = "kube-system";
/// The type of their Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// What comes before the id in the name of a Secret.
pub const NAME_PREFIX: &str = "bootstrap-token-";
/// Every holder of one is in it.
pub const GROUP: &str = "system:bootstrappers";
const EXTRA_GROUP_BYTES_MAX: usize = 256;

fn word(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Id and secret of a text that may be a bootstrap token.
pub fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    (word(id, 6) && word(secret, 16)).then_some((id, secret))
}

/// Equal, in a time that does not tell where they differ.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

/// The user whom a token shows, going by the data of the Secret with its id; `None` if it shows nobody. `ended` tells
/// whether a time (RFC 3339) has passed, `None` if it is no time.
pub fn user(
    (id, secret): (&str, &str),
    kind: &str,
    data: &BTreeMap<String, ByteString>,
    ended: impl FnOnce(&str) -> Option<bool>,
) -> Option<User> {
    let text = |key: &str| {
        data.get(key)
            .and_then(|bytes| std::str::from_utf8(&bytes.0).ok())
            .unwrap_or_default()
    };
    let good = kind == SECRET_TYPE
        && text("token-id") == id
        && equal(text("token-secret").as_bytes(), secret.as_bytes())
        && text("usage-bootstrap-authentication") == "true"
        && match text("expiration") {
            "" => true,
            time => ended(time) == Some(false),
        };
    if !good {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in text("auth-extra-groups")
        .split(',')
        .filter(|g| !g.is_empty())
    {
        // One that cannot be read makes the whole token useless: better than a node with half its rights.
        if !is_extra_group(group) {
            return None;
        }
        groups.push(group.to_owned());
    }
    Some(User::known(format!("system:bootstrap:{id}"), groups))
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`
fn is_extra_group(group: &str) -> bool {
    group
        .strip_prefix(GROUP)
        .and_then(|rest| rest.strip_prefix(':'))
        .is_some_and(|rest| {
            let letter = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            rest.len() <= EXTRA_GROUP_BYTES_MAX
                && rest.as_bytes().last().is_some_and(letter)
                && rest.bytes().all(|b| letter(&b) || b == b':' || b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "abcdef.0123456789abcdef";

    fn check(change: (&str, &str), expect: Option<&[&str]>) {
        let mut data = BTreeMap::from([
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ]);
        data.insert(change.0, change.1);
        let data = data
            .into_iter()
            .map(|(k, v)| (k.to_owned(), ByteString(v.as_bytes().to_vec())))
            .collect();
        let ended = |time: &str| match time {
            "past" => Some(true),
            "future" => Some(false),
            _ => None,
        };
        let kind = if change.0 == "type" {
            change.1
        } else {
            SECRET_TYPE
        };
        let user = user(parts(TOKEN).unwrap(), kind, &data, ended);
        let groups = user.map(|u| {
            assert_eq!(u.name, "system:bootstrap:abcdef");
            u.groups
        });
        assert_eq!(
            groups,
            expect.map(|e| e.iter().map(|&g| g.to_owned()).collect()),
            "{change:?}"
        );
    }

    #[test]
    fn a_token_is_as_good_as_its_secret_says() {
        let plain: Option<&[&str]> = Some(&["system:bootstrappers", "system:authenticated"]);
        check(("description", "x"), plain);
        check(("token-id", "abcdeg"), None);
        check(("token-secret", "0123456789abcdee"), None);
        check(("token-secret", ""), None);
        check(("usage-bootstrap-authentication", "false"), None);
        check(("usage-bootstrap-authentication", ""), None);
        check(("type", "Opaque"), None);
        check(("expiration", "future"), plain);
        check(("expiration", "past"), None);
        check(("expiration", "tomorrow"), None);
        check(
            (
                "auth-extra-groups",
                "system:bootstrappers:a,system:bootstrappers:b:c-d",
            ),
            Some(&[
                "system:bootstrappers",
                "system:bootstrappers:a",
                "system:bootstrappers:b:c-d",
                "system:authenticated",
            ]),
        );
        check(("auth-extra-groups", ""), plain);
        for group in [
            "system:masters",
            "system:bootstrappers",
            "system:bootstrappers:",
            "system:bootstrappers:A",
            "system:bootstrappers:a-",
            "system:bootstrappersx:a",
        ] {
            check(("auth-extra-groups", group), None);
        }
    }

    #[test]
    fn tokens_have_a_shape() {
        assert_eq!(parts(TOKEN), Some(("abcdef", "0123456789abcdef")));
        for text in [
            "",
            ".",
            "abcdef",
            "abcde.0123456789abcdef",
            "abcdef.0123456789abcde",
            "ABCDEF.0123456789abcdef",
            "abcdef.0123456789abcdef.x",
            "abcdef.0123456789ABCDEF",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
