//! Which representation a client accepts, and which one it sent.

use euston_protobuf::envelope;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use crate::error::{ApiError, Result};
use crate::registry::kind::Kind;

/// What we can make.
const SUPPORTED: &str = "application/json, application/json;as=Table;v=v1;g=meta.k8s.io, application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io, application/vnd.kubernetes.protobuf (built-in kinds)";

/// How an object is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Whole.
    Object,
    /// As the rows that kubectl prints; in JSON alone.
    Table,
    /// Its metadata alone.
    Metadata,
}

/// How it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As text.
    Json,
    /// As Kubernetes' protobuf; built-in kinds alone.
    Protobuf,
}

/// What an answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// How an object is shown.
    pub form: Form,
    /// How it is written down.
    pub encoding: Encoding,
}

/// What the client likes best of what this server can make of a kind.
///
/// # Errors
/// 406 if it likes nothing of that, for example a custom resource in protobuf alone.
pub fn accepted(headers: &HeaderMap, kind: &Kind) -> Result<Accepted> {
    choose(headers, kind.message().is_some()).ok_or_else(|| ApiError::not_acceptable(SUPPORTED))
}

/// How the client likes an answer of the server's own, such as a Status. JSON also where
/// it likes nothing that can be made: an error must be told in some way.
pub fn plain(headers: &HeaderMap) -> Encoding {
    choose(headers, true).map_or(Encoding::Json, |accepted| accepted.encoding)
}

fn choose(headers: &HeaderMap, protobuf: bool) -> Option<Accepted> {
    let all = headers.get_all(ACCEPT).iter();
    let mut clauses: Vec<Clause<'_>> = all
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(Clause::parse)
        .collect();
    if clauses.is_empty() && !headers.contains_key(ACCEPT) {
        return Some(Accepted {
            form: Form::Object,
            encoding: Encoding::Json,
        });
    }
    // The most wanted first; then what says more; then as they stand.
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(a.vague.cmp(&b.vague)));
    clauses.iter().find_map(|clause| clause.accepted(protobuf))
}

/// A part of an Accept header.
struct Clause<'a> {
    encoding: Encoding,
    /// How many of its two halves are a `*`.
    vague: u8,
    quality: f32,
    convert: Option<&'a str>,
    group: Option<&'a str>,
    version: Option<&'a str>,
}

impl<'a> Clause<'a> {
    /// `None` for a type that this server never makes, or that the client refuses.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (encoding, vague) = match parts.next()? {
            "application/json" => (Encoding::Json, 0),
            envelope::MEDIA_TYPE => (Encoding::Protobuf, 0),
            "application/*" => (Encoding::Json, 1),
            "*/*" | "*" => (Encoding::Json, 2),
            _ => return None,
        };
        let mut clause = Clause {
            encoding,
            vague,
            quality: 1.0,
            convert: None,
            group: None,
            version: None,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("as", value)) => clause.convert = Some(value),
                Some(("v", value)) => clause.version = Some(value),
                Some(("g", value)) => clause.group = Some(value),
                Some(("q", value)) => clause.quality = value.parse().unwrap_or(1.0),
                Some(("stream", value)) if !matches!(value, "" | "watch") => return None,
                _ => {}
            }
        }
        (clause.quality > 0.0).then_some(clause)
    }

    fn accepted(&self, protobuf: bool) -> Option<Accepted> {
        if self.encoding == Encoding::Protobuf && !protobuf {
            return None;
        }
        let ours = self.version == Some("v1") && self.group == Some("meta.k8s.io");
        let form = match self.convert {
            None => Form::Object,
            Some("Table") if ours && self.encoding == Encoding::Json => Form::Table,
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if ours => Form::Metadata,
            Some(_) => return None,
        };
        Some(Accepted {
            form,
            encoding: self.encoding,
        })
    }
}

/// The media type of a request's body, without parameters; JSON if none is given.
pub fn content_type(headers: &HeaderMap) -> String {
    headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next())
        .map(|v| v.trim().to_ascii_lowercase())
        .filter(|v| !v.is_empty())
        .unwrap_or_else(|| "application/json".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::Encoding::{Json, Protobuf};
    use super::Form::{Metadata, Object, Table};

    fn check(accept: &str, expect: Option<(Form, Encoding)>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        let got = choose(&headers, true).map(|a| (a.form, a.encoding));
        assert_eq!(got, expect, "{accept}");
    }

    #[test]
    fn the_most_wanted_form_that_can_be_made_wins() {
        let none = choose(&HeaderMap::new(), true).map(|a| (a.form, a.encoding));
        assert_eq!(none, Some((Object, Json)));
        check("application/json", Some((Object, Json)));
        check("application/json, */*", Some((Object, Json)));
        let protobuf = "application/vnd.kubernetes.protobuf";
        check(protobuf, Some((Object, Protobuf)));
        check(
            &format!("{protobuf},application/json"),
            Some((Object, Protobuf)),
        );
        check(&format!("{protobuf}, */*"), Some((Object, Protobuf)));
        check(
            &format!("{protobuf};stream=watch"),
            Some((Object, Protobuf)),
        );
        check(&format!("{protobuf};stream=tables"), None);
        check(
            &format!("application/json,{protobuf}"),
            Some((Object, Json)),
        );
        check(
            &format!("application/json;q=0.9,{protobuf}"),
            Some((Object, Protobuf)),
        );
        check(
            &format!("{protobuf};q=0.1,application/json"),
            Some((Object, Json)),
        );
        check(&format!("*/*,{protobuf}"), Some((Object, Protobuf)));
        check(&format!("{protobuf};q=0,*/*"), Some((Object, Json)));
        check("application/*", Some((Object, Json)));
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Table, Json)),
        );
        check(
            "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Object, Json)),
        );
        check(&format!("{protobuf};as=Table;v=v1;g=meta.k8s.io"), None);
        check(
            &format!("{protobuf};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"),
            Some((Metadata, Protobuf)),
        );
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Some((Metadata, Json)),
        );
        check("text/html", None);
        check("", None);
    }

    #[test]
    fn what_has_no_message_is_not_made_in_protobuf() {
        let check = |accept: &str, expect: Option<Encoding>| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(
                choose(&headers, false).map(|a| a.encoding),
                expect,
                "{accept}"
            );
        };
        check("application/vnd.kubernetes.protobuf", None);
        check("application/vnd.kubernetes.protobuf, */*", Some(Json));
    }
}
