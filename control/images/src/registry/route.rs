//! Paths under `/v2`: repository names hold slashes, so the path is taken apart from its end.

use percent_encoding::percent_decode_str;

use crate::reference::{is_name, is_tag};
use crate::{Digest, Version};

/// What a path addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/NAME/tags/list`
    Tags { name: String },
    /// `/v2/NAME/manifests/REFERENCE`
    Manifest { name: String, version: Version },
    /// `/v2/NAME/blobs/DIGEST`
    Blob { name: String, digest: Digest },
    /// `/v2/NAME/blobs/uploads/`
    NewUpload { name: String },
    /// `/v2/NAME/blobs/uploads/ID`
    Upload { name: String, id: String },
}

/// Why a path addresses nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RouteError {
    NoSuchPath,
    BadName(String),
    BadTag(String),
    BadDigest(String),
}

pub(super) fn parse(path: &str) -> Result<Route, RouteError> {
    let decoded = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| RouteError::NoSuchPath)?;
    let rest = decoded.strip_prefix("/v2").ok_or(RouteError::NoSuchPath)?;
    let rest = match rest {
        "" | "/" => return Ok(Route::Base),
        "/_catalog" => return Ok(Route::Catalog),
        rest => rest.strip_prefix('/').ok_or(RouteError::NoSuchPath)?,
    };
    let named = |name: &str| {
        if is_name(name) {
            Ok(name.to_owned())
        } else {
            Err(RouteError::BadName(name.to_owned()))
        }
    };
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Ok(Route::Tags { name: named(name)? });
    }
    if let Some(name) = rest
        .strip_suffix("/blobs/uploads/")
        .or_else(|| rest.strip_suffix("/blobs/uploads"))
    {
        return Ok(Route::NewUpload { name: named(name)? });
    }
    let (head, last) = rest.rsplit_once('/').ok_or(RouteError::NoSuchPath)?;
    if let Some(name) = head.strip_suffix("/blobs/uploads") {
        return Ok(Route::Upload {
            name: named(name)?,
            id: last.to_owned(),
        });
    }
    if let Some(name) = head.strip_suffix("/blobs") {
        return Ok(Route::Blob {
            name: named(name)?,
            digest: last
                .parse()
                .map_err(|_| RouteError::BadDigest(last.to_owned()))?,
        });
    }
    if let Some(name) = head.strip_suffix("/manifests") {
        let version = if last.contains(':') {
            let digest = last.parse();
            Version::Digest(digest.map_err(|_| RouteError::BadDigest(last.to_owned()))?)
        } else if is_tag(last) {
            Version::Tag(last.to_owned())
        } else {
            return Err(RouteError::BadTag(last.to_owned()));
        };
        return Ok(Route::Manifest {
            name: named(name)?,
            version,
        });
    }
    Err(RouteError::NoSuchPath)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_from_their_end() {
        let digest = Digest::of(b"");
        let name = |n: &str| n.to_owned();
        for (path, expect) in [
            ("/v2".to_owned(), Ok(Route::Base)),
            ("/v2/".into(), Ok(Route::Base)),
            ("/v2/_catalog".into(), Ok(Route::Catalog)),
            (
                "/v2/a/tags/list".into(),
                Ok(Route::Tags { name: name("a") }),
            ),
            (
                "/v2/a/b/tags/list".into(),
                Ok(Route::Tags { name: name("a/b") }),
            ),
            (
                "/v2/blobs/uploads/tags/list".into(),
                Ok(Route::Tags {
                    name: name("blobs/uploads"),
                }),
            ),
            (
                "/v2/a/manifests/v1".into(),
                Ok(Route::Manifest {
                    name: name("a"),
                    version: Version::Tag("v1".into()),
                }),
            ),
            (
                format!("/v2/a/manifests/{digest}"),
                Ok(Route::Manifest {
                    name: name("a"),
                    version: Version::Digest(digest),
                }),
            ),
            (
                format!("/v2/a/blobs/{digest}"),
                Ok(Route::Blob {
                    name: name("a"),
                    digest,
                }),
            ),
            (
                format!("/v2/a/blobs/{}", digest.to_string().replace(':', "%3A")),
                Ok(Route::Blob {
                    name: name("a"),
                    digest,
                }),
            ),
            (
                "/v2/a/blobs/uploads/".into(),
                Ok(Route::NewUpload { name: name("a") }),
            ),
            (
                "/v2/a/blobs/uploads".into(),
                Ok(Route::NewUpload { name: name("a") }),
            ),
            (
                "/v2/a/blobs/uploads/x1".into(),
                Ok(Route::Upload {
                    name: name("a"),
                    id: "x1".into(),
                }),
            ),
            (
                "/v2/A/tags/list".into(),
                Err(RouteError::BadName(name("A"))),
            ),
            (
                "/v2/../x/tags/list".into(),
                Err(RouteError::BadName(name("../x"))),
            ),
            (
                "/v2/%2e%2e/tags/list".into(),
                Err(RouteError::BadName(name(".."))),
            ),
            (
                "/v2/a/manifests/.x".into(),
                Err(RouteError::BadTag(".x".into())),
            ),
            (
                "/v2/a/manifests/sha256:1".into(),
                Err(RouteError::BadDigest("sha256:1".into())),
            ),
            (
                "/v2/a/blobs/sha256:1".into(),
                Err(RouteError::BadDigest("sha256:1".into())),
            ),
            ("/v2/a".into(), Err(RouteError::NoSuchPath)),
            ("/v2/a/referrers/x".into(), Err(RouteError::NoSuchPath)),
            ("/v2x/a/tags/list".into(), Err(RouteError::NoSuchPath)),
            ("/v2/%ff/tags/list".into(), Err(RouteError::NoSuchPath)),
        ] {
            assert_eq!(parse(&path), expect, "{path}");
        }
    }
}
