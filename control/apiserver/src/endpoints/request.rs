//! What a request is about, read from its method, path and query alone.
//! Follows `k8s.io/apiserver/pkg/endpoints/request/requestinfo.go`.

use std::time::Duration;

use euston_access::Action;

use crate::error::{ApiError, Result};

/// Subresources that give what reading alone must not: a shell, a connection.
const CONNECTING: &[&str] = &["exec", "attach", "portforward"];

/// Path segments past this are no API path.
const SEGMENTS_MAX: usize = 16;

/// The query parameters, decoded.
#[derive(Debug, Default, Clone)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a query string.
    pub fn parse(query: Option<&str>) -> Self {
        Query(
            form_urlencoded::parse(query.unwrap_or_default().as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// The first value of a parameter, unless empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(n, _)| n == name)?;
        Some(value.as_str()).filter(|v| !v.is_empty())
    }

    /// The object that a `fieldSelector` reduces a list or watch to. So a list of one object is asked about as that
    /// object is.
    pub fn one_name(&self) -> Option<&str> {
        let terms = self.get("fieldSelector")?.split(',');
        let name = terms
            .filter_map(|term| term.strip_prefix("metadata.name="))
            .next()?;
        let name = name.strip_prefix('=').unwrap_or(name);
        (!name.is_empty() && !name.contains(['\\', '/', '%'])).then_some(name)
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// The flag's value if it stands there at all. Only `false` and `0` are false: so
    /// `?watch` and `?watch=yes` are true (`Convert_Slice_string_To_bool` of apimachinery).
    pub fn flag_given(&self, name: &str) -> Option<bool> {
        let value = self.all(name).next()?;
        Some(!(value == "0" || value.eq_ignore_ascii_case("false")))
    }

    /// True if the flag is given and true.
    pub fn flag(&self, name: &str) -> bool {
        self.flag_given(name).unwrap_or(false)
    }

    /// A number that may be negative.
    ///
    /// # Errors
    /// 400 if it is none.
    pub fn integer(&self, name: &str) -> Result<Option<i64>> {
        let parse = |text: &str| {
            let number = text.parse();
            number.map_err(|_| bad_parameter(name, text, "must be a whole number"))
        };
        self.get(name).map(parse).transpose()
    }

    /// A duration in Go's words, such as `32s` or `1m30s`.
    ///
    /// # Errors
    /// 400 if it is none.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>> {
        let parse = |text: &str| {
            go_duration(text).ok_or_else(|| {
                bad_parameter(name, text, "must be a duration, such as 30s or 1m30s")
            })
        };
        self.get(name).map(parse).transpose()
    }

    /// A number.
    ///
    /// # Errors
    /// 400 if it is none, or negative.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let number = text.parse().map_err(|_| {
            bad_parameter(name, text, "must be a whole number that is not negative")
        })?;
        Ok(Some(number))
    }

    /// All parameters, for passing on.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

fn bad_parameter(name: &str, value: &str, why: &str) -> ApiError {
    ApiError::bad_request(format!(
        "query parameter {name}: Invalid value: {value:?}: {why}"
    ))
}

/// Reads `1h2m3.5s`, as Go's `time.ParseDuration` does; nothing negative.
fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 8] = [
        // Longer names first, so that `ms` is not read as minutes.
        ("ns", 1e-9),
        ("us", 1e-6),
        ("\u{b5}s", 1e-6),
        ("\u{3bc}s", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let (unit, factor) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        seconds += number * factor;
        rest = &rest[unit.len()..];
        if rest.is_empty() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
    }
}

/// A path below `/api/v1` or `/apis/GROUP/VERSION`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourcePath {
    /// Empty for core.
    pub group: String,
    /// `v1`
    pub version: String,
    /// The namespace, for namespaced resources addressed within one.
    pub namespace: Option<String>,
    /// Plural name.
    pub resource: String,
    /// The object, unless the path is the collection's.
    pub name: Option<String>,
    /// What hangs below the object.
    pub subresource: Option<String>,
    /// What follows `proxy` in the path, as it was sent: empty, or from its slash on.
    pub rest: String,
    /// The old way to ask for a watch: `/api/v1/watch/namespaces/a/pods`.
    pub watch: bool,
}

impl ResourcePath {
    /// Reads a path; `None` if it names no resource.
    pub fn parse(path: &str) -> Option<Self> {
        let (path, tail) = split_proxy(path);
        let segments: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .take(SEGMENTS_MAX)
            .map(|s| {
                percent_encoding::percent_decode_str(s)
                    .decode_utf8()
                    .ok()
                    .map(|s| s.into_owned())
            })
            .collect::<Option<_>>()?;
        let mut parts = segments.iter().map(String::as_str);
        let (group, version) = match parts.next()? {
            "api" => ("", parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let mut rest: Vec<&str> = parts.collect();
        if rest.iter().any(|s| s.is_empty()) {
            return None;
        }
        let watch = rest.first() == Some(&"watch");
        if watch {
            rest.remove(0);
        }
        let own = |s: &str| s.to_owned();
        let base = ResourcePath {
            group: own(group),
            version: own(version),
            rest: own(tail),
            watch,
            ..Self::default()
        };
        // `namespaces/NAME/status` is the namespace's own; `namespaces/NAME/pods` is what it holds.
        Some(match rest.as_slice() {
            [resource] => ResourcePath {
                resource: own(resource),
                ..base
            },
            ["namespaces", name] => ResourcePath {
                resource: own("namespaces"),
                name: Some(own(name)),
                ..base
            },
            ["namespaces", name, sub @ ("status" | "finalize")] => ResourcePath {
                resource: own("namespaces"),
                name: Some(own(name)),
                subresource: Some(own(sub)),
                ..base
            },
            ["namespaces", namespace, resource, tail @ ..] if tail.len() <= 2 => ResourcePath {
                namespace: Some(own(namespace)),
                resource: own(resource),
                name: tail.first().map(|s| own(s)),
                subresource: tail.get(1).map(|s| own(s)),
                ..base
            },
            [resource, name] => ResourcePath {
                resource: own(resource),
                name: Some(own(name)),
                ..base
            },
            [resource, name, sub] => ResourcePath {
                resource: own(resource),
                name: Some(own(name)),
                subresource: Some(own(sub)),
                ..base
            },
            _ => return None,
        })
    }

    /// What authorization is asked about a request with `verb`, in order; all must be allowed.
    pub fn actions<'a>(
        &'a self,
        verb: &'static str,
        query: &'a Query,
    ) -> impl Iterator<Item = Action<'a>> {
        let subresource = self.subresource.as_deref().unwrap_or_default();
        // A namespace is its own place: a role in it may say who reads it.
        let itself = (self.group.is_empty() && self.resource == "namespaces")
            .then_some(self.name.as_deref())
            .flatten();
        let action = Action {
            verb,
            group: &self.group,
            resource: &self.resource,
            subresource,
            namespace: self.namespace.as_deref().or(itself).unwrap_or_default(),
            name: match self.name.as_deref() {
                Some(name) => name,
                None if matches!(verb, "list" | "watch") => query.one_name().unwrap_or_default(),
                None => "",
            },
            fields: query.get("fieldSelector").unwrap_or_default(),
        };
        // A WebSocket is opened with GET, and does what POST does (KEP-4006).
        let connects = verb == "get" && CONNECTING.contains(&subresource);
        let also = connects.then_some(Action {
            verb: "create",
            ..action
        });
        std::iter::once(action).chain(also)
    }

    /// The verb that authorization sees.
    pub fn verb(&self, method: &http::Method, watch: bool) -> Option<&'static str> {
        Some(match (method.as_str(), &self.name) {
            ("GET" | "HEAD", Some(_)) => "get",
            ("GET" | "HEAD", None) if watch => "watch",
            ("GET" | "HEAD", None) => "list",
            ("POST", _) => "create",
            ("PUT", Some(_)) => "update",
            ("PATCH", Some(_)) => "patch",
            ("DELETE", Some(_)) => "delete",
            ("DELETE", None) => "deletecollection",
            _ => return None,
        })
    }
}

/// Cuts a path behind the subresource `proxy`: what follows is none of ours.
fn split_proxy(path: &str) -> (&str, &str) {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
    let ends: Vec<usize> = ends.chain([path.len()]).take(SEGMENTS_MAX).collect();
    let segment = |index: usize| {
        let begin = if index == 0 { 0 } else { *ends.get(index - 1)? };
        path.get(begin + 1..*ends.get(index)?)
    };
    let first = if segment(0) == Some("apis") { 3 } else { 2 };
    let namespaced = segment(first) == Some("namespaces");
    let at = first + if namespaced { 4 } else { 2 };
    match (segment(at), ends.get(at)) {
        (Some("proxy"), Some(end)) => path.split_at(*end),
        _ => (path, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_proxy_is_kept_as_it_was_sent() {
        for (path, expect) in [
            ("/api/v1/nodes/n/proxy", ("/api/v1/nodes/n/proxy", "")),
            ("/api/v1/nodes/n/proxy/", ("/api/v1/nodes/n/proxy", "/")),
            (
                "/api/v1/namespaces/a/services/https:b:c/proxy/x//%2F/proxy/",
                (
                    "/api/v1/namespaces/a/services/https:b:c/proxy",
                    "/x//%2F/proxy/",
                ),
            ),
            (
                "/api/v1/namespaces/a/proxy/b",
                ("/api/v1/namespaces/a/proxy/b", ""),
            ),
            ("/api/v1/nodes/n/status", ("/api/v1/nodes/n/status", "")),
            ("/api/v1/proxy", ("/api/v1/proxy", "")),
            ("/", ("/", "")),
            ("", ("", "")),
        ] {
            assert_eq!(split_proxy(path), expect);
        }
        let path = ResourcePath::parse("/api/v1/namespaces/a/pods/b/proxy//c").unwrap();
        assert_eq!(path.subresource.as_deref(), Some("proxy"));
        assert_eq!(path.rest, "//c");
    }

    fn check(path: &str, expect: Option<[&str; 6]>) {
        let got = ResourcePath::parse(path).map(|p| {
            [
                p.group,
                p.version,
                p.namespace.unwrap_or_default(),
                p.resource,
                p.name.unwrap_or_default(),
                p.subresource.unwrap_or_default(),
            ]
        });
        assert_eq!(got, expect.map(|e| e.map(str::to_owned)), "{path}");
    }

    #[test]
    fn paths_name_resources() {
        check("/api/v1/pods", Some(["", "v1", "", "pods", "", ""]));
        check(
            "/api/v1/namespaces",
            Some(["", "v1", "", "namespaces", "", ""]),
        );
        check(
            "/api/v1/namespaces/a",
            Some(["", "v1", "", "namespaces", "a", ""]),
        );
        check(
            "/api/v1/namespaces/a/finalize",
            Some(["", "v1", "", "namespaces", "a", "finalize"]),
        );
        check(
            "/api/v1/namespaces/a/pods",
            Some(["", "v1", "a", "pods", "", ""]),
        );
        check(
            "/api/v1/namespaces/a/pods/b/log",
            Some(["", "v1", "a", "pods", "b", "log"]),
        );
        check(
            "/apis/apps/v1/deployments",
            Some(["apps", "v1", "", "deployments", "", ""]),
        );
        check(
            "/api/v1/nodes/n/status",
            Some(["", "v1", "", "nodes", "n", "status"]),
        );
        check(
            "/apis/apps/v1/namespaces/a/deployments/b/scale",
            Some(["apps", "v1", "a", "deployments", "b", "scale"]),
        );
        for path in [
            "/api/v1/namespaces/a/pods/",
            "/api/v1/watch/namespaces/a/pods",
            "/api/v1/watch/namespaces/a/pods/",
        ] {
            check(path, Some(["", "v1", "a", "pods", "", ""]));
        }
        check(
            "/api/v1/nodes/a%2Fb",
            Some(["", "v1", "", "nodes", "a/b", ""]),
        );
        for path in [
            "/",
            "/api",
            "/api/v1",
            "/apis/apps/v1",
            "/api/v1/",
            "/api/v1/watch",
            "/api/v1/namespaces//pods",
            "/x/y/z",
        ] {
            check(path, None);
        }
        check("/api/v1/namespaces/a/pods/b/log/c", None);
        check("/api/v1/nodes/%ff", None);
    }

    #[test]
    fn flags_and_numbers_are_checked() {
        let query = Query::parse(Some("a=true&b=maybe&c=7&d=-1&e=&f=False&g=0&h"));
        for (name, expect) in [
            ("a", Some(true)),
            ("b", Some(true)),
            ("e", Some(true)),
            ("f", Some(false)),
            ("g", Some(false)),
            ("h", Some(true)),
            ("absent", None),
        ] {
            assert_eq!(query.flag_given(name), expect, "{name}");
            assert_eq!(query.flag(name), expect == Some(true), "{name}");
        }
        assert_eq!(query.number("c").unwrap(), Some(7));
        assert!(query.number("d").is_err());
        assert_eq!(query.integer("d").unwrap(), Some(-1));
        assert_eq!(query.integer("e").unwrap(), None);
        assert!(
            query
                .integer("b")
                .unwrap_err()
                .message
                .contains("\"maybe\"")
        );
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in [
            ("32s", Some(32.0)),
            ("1m30s", Some(90.0)),
            ("1.5h", Some(5400.0)),
            ("300ms", Some(0.3)),
            ("5m", Some(300.0)),
            ("0", Some(0.0)),
            ("0s", Some(0.0)),
            ("32", None),
            ("-5s", None),
            ("s", None),
            ("5x", None),
            ("1e9h", None),
            ("9999999999999999999999h", None),
            ("5s5", None),
        ] {
            let expect = seconds.map(Duration::from_secs_f64);
            assert_eq!(go_duration(text), expect, "{text}");
        }
    }
}
