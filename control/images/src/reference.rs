//! Image references: `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`, as manifests and `image push` spell them.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// Longest repository name. The grammar has no bound, registries use 255 with the host; this one
/// also keeps the file name of a repository's index legal.
pub(crate) const NAME_CHARS_MAX: usize = 240;
/// Longest tag, from the OCI distribution specification.
const TAG_CHARS_MAX: usize = 128;

/// Which image of a repository is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// A movable name.
    Tag(String),
    /// The one image with that manifest.
    Digest(Digest),
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A parsed image reference. Without a tag or digest, the tag is `latest`; a digest wins over a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The registry, with its port; `None` is the cluster's built-in one.
    pub host: Option<String>,
    /// The repository.
    pub name: String,
    /// The tag or digest.
    pub version: Version,
}

/// Why a text is not an image reference.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image reference: {why}")]
pub struct ReferenceError {
    text: String,
    why: &'static str,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |why| ReferenceError {
            text: text.chars().take(300).collect(),
            why,
        };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse::<Digest>().map_err(|_| {
                    wrong("after @, a digest is expected: sha256: and 64 hexadecimal digits")
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (host, path) = match rest.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
                (Some(first), path)
            }
            _ => (None, rest),
        };
        let (name, tag) = match path.split_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (path, None),
        };
        if let Some(host) = host
            && !is_host(host)
        {
            return Err(wrong(
                "the part before the first / is not a host name with an optional port",
            ));
        }
        if !is_name(name) {
            return Err(wrong(
                "a name consists of lower-case letters and digits, with single . or _ or with - \
                 or __ between them, in parts separated by /",
            ));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(wrong(
                "a tag consists of at most 128 letters, digits, _, . and -, and does not begin \
                 with . or -",
            ));
        }
        let version = match (digest, tag) {
            (Some(digest), _) => Version::Digest(digest),
            (None, Some(tag)) => Version::Tag(tag.to_owned()),
            (None, None) => Version::Tag("latest".to_owned()),
        };
        Ok(Self {
            host: host.map(str::to_owned),
            name: name.to_owned(),
            version,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}/")?;
        }
        let separator = match self.version {
            Version::Tag(_) => ':',
            Version::Digest(_) => '@',
        };
        write!(f, "{}{separator}{}", self.name, self.version)
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    !name.is_empty()
        && name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
        && port.is_none_or(|p| p.parse::<u16>().is_ok_and(|n| n != 0))
}

/// A repository name by the grammar of the OCI distribution specification.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= NAME_CHARS_MAX && name.split('/').all(is_component)
}

fn is_component(component: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(|b| is_word(*b)) || !bytes.last().is_some_and(|b| is_word(*b)) {
        return false;
    }
    // What stands between two words must be one of . _ __ or any number of -.
    bytes
        .split(|b| is_word(*b))
        .filter(|gap| !gap.is_empty())
        .all(|gap| matches!(gap, b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

pub(crate) fn is_tag(tag: &str) -> bool {
    tag.len() <= TAG_CHARS_MAX
        && tag
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_split_into_host_name_and_version() {
        let at = format!("app@sha256:{HEX}");
        let both = format!("ghcr.io/a/b:v1@sha256:{HEX}");
        let long = format!("app@sha256:{HEX}");
        let full = format!("ghcr.io/a/b@sha256:{HEX}");
        for (text, host, name, shown) in [
            ("app", None, "app", "app:latest"),
            ("app:v1", None, "app", "app:v1"),
            ("team/app:V1.0_x-y", None, "team/app", "team/app:V1.0_x-y"),
            (
                "x/a__b-c--d.e_f/0",
                None,
                "x/a__b-c--d.e_f/0",
                "x/a__b-c--d.e_f/0:latest",
            ),
            (
                "localhost/app",
                Some("localhost"),
                "app",
                "localhost/app:latest",
            ),
            (
                "localhost:5000/a/b:t",
                Some("localhost:5000"),
                "a/b",
                "localhost:5000/a/b:t",
            ),
            ("ghcr.io/a/b", Some("ghcr.io"), "a/b", "ghcr.io/a/b:latest"),
            (&at, None, "app", &long),
            (&both, Some("ghcr.io"), "a/b", &full),
        ] {
            let parsed: Reference = text.parse().unwrap();
            assert_eq!(parsed.host.as_deref(), host, "{text}");
            assert_eq!(parsed.name, name, "{text}");
            assert_eq!(parsed.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn malformed_references_say_which_part_is_wrong() {
        let tag = format!("app:{}", "t".repeat(129));
        let name = "n".repeat(NAME_CHARS_MAX + 1);
        for (text, why) in [
            ("", "empty"),
            ("App", "lower-case"),
            ("a//b", "lower-case"),
            ("/a", "lower-case"),
            ("a/", "lower-case"),
            ("a..b", "lower-case"),
            ("a___b", "lower-case"),
            ("-a", "lower-case"),
            ("../etc", "host name"),
            ("a/../b", "lower-case"),
            ("a b", "lower-case"),
            (&name, "lower-case"),
            ("app:", "tag"),
            ("app:.x", "tag"),
            ("app:a:b", "tag"),
            ("app:a/b", "host name"),
            (&tag, "tag"),
            ("app@sha256:12", "digest"),
            ("app@v1", "digest"),
            ("host:0/app", "host name"),
            ("host:99999/app", "host name"),
            ("-x.io/app", "host name"),
            (".io/app", "host name"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
