//! What of a watch is asked for. The rules are those of `internalversion/validation` and of
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-watch>.

use std::time::Duration;

use euston_api::field::{ErrorList, Path};
use rand::Rng;

use super::super::list::refuse;
use super::super::request::Query;
use crate::error::Result;
use crate::registry::options::parse_resource_version;

/// A watch that names no timeout ends after this and up to twice this
/// (kube-apiserver's `min-request-timeout`), so that clients spread out.
const TIMEOUT_MIN: Duration = Duration::from_secs(1800);

/// The longest that a client can ask for.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// What of a watch is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    /// The client has seen everything up to this revision; `None` and 0 for nothing.
    pub from: Option<u64>,
    /// After which time the stream ends.
    pub timeout: Duration,
    /// Bookmarks are welcome.
    pub bookmarks: bool,
    /// The stream begins with what is there already.
    pub state_first: bool,
    /// A bookmark says where that ends.
    pub mark: bool,
}

impl WatchOptions {
    /// Reads and checks the query.
    ///
    /// # Errors
    /// 422 with every contradiction and unknown word; 400 for what is no number.
    pub fn parse(query: &Query) -> Result<Self> {
        let timeout = match query.integer("timeoutSeconds")? {
            None | Some(0) => TIMEOUT_MIN.mul_f64(1.0 + rand::rng().random_range(0.0..1.0)),
            // In Go, a time that is over before it began.
            Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        };
        refuse(&contradictions(query))?;
        let version = query.get("resourceVersion");
        let from = version.map(parse_resource_version).transpose()?;
        let initial_events = query.flag_given("sendInitialEvents");
        Ok(WatchOptions {
            from,
            timeout: timeout.min(TIMEOUT_MAX),
            bookmarks: query.flag("allowWatchBookmarks"),
            state_first: initial_events.unwrap_or_else(|| from.is_none_or(|from| from == 0)),
            mark: initial_events == Some(true) && query.flag("allowWatchBookmarks"),
        })
    }
}

fn contradictions(query: &Query) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = || Path::new("resourceVersionMatch");
    let initial = query.flag_given("sendInitialEvents").is_some();
    let matching = query.get("resourceVersionMatch");
    if initial && matching != Some("NotOlderThan") {
        errors.forbidden(
            path(),
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
    }
    if let Some(word) = matching {
        if !initial {
            errors.forbidden(
                path(),
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        if word != "NotOlderThan" {
            errors.not_supported(path(), word, &["NotOlderThan"]);
        }
    }
    if (initial || matching.is_some()) && query.get("continue").is_some() {
        errors.forbidden(
            path(),
            "resourceVersionMatch is forbidden when continue is provided",
        );
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<WatchOptions> {
        WatchOptions::parse(&Query::parse(Some(query)))
    }

    #[test]
    fn what_is_there_comes_first_unless_the_client_has_it() {
        for (query, state_first, mark) in [
            ("", true, false),
            ("resourceVersion=0", true, false),
            ("resourceVersion=5", false, false),
            ("resourceVersion=5&allowWatchBookmarks=true", false, false),
        ] {
            let got = parse(query).unwrap();
            assert_eq!((got.state_first, got.mark), (state_first, mark), "{query}");
        }
        for version in ["", "resourceVersion=0&", "resourceVersion=5&"] {
            for (flag, bookmarks, state_first, mark) in [
                ("true", "&allowWatchBookmarks=true", true, true),
                ("true", "", true, false),
                ("false", "&allowWatchBookmarks=true", false, false),
            ] {
                let query = format!(
                    "{version}sendInitialEvents={flag}&resourceVersionMatch=NotOlderThan{bookmarks}"
                );
                let got = parse(&query).unwrap();
                assert_eq!((got.state_first, got.mark), (state_first, mark), "{query}");
            }
        }
    }

    #[test]
    fn timeouts_have_bounds() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        for (query, least, most) in [
            ("", minutes(30), minutes(60)),
            ("timeoutSeconds=0", minutes(30), minutes(60)),
            ("timeoutSeconds=300", minutes(5), minutes(5)),
            ("timeoutSeconds=-1", minutes(0), minutes(0)),
            ("timeoutSeconds=99999999999", TIMEOUT_MAX, TIMEOUT_MAX),
        ] {
            let got = parse(query).unwrap().timeout;
            assert!(got >= least && got <= most, "{query}: {got:?}");
        }
    }

    #[test]
    fn contradictions_are_refused_as_kubernetes_does() {
        let check = |query: &str, code: u16, wanted: &str| {
            let error = parse(query).unwrap_err();
            assert_eq!(error.code, code, "{query}: {error}");
            assert!(error.message.contains(wanted), "{query}: {error}");
        };
        for flag in ["true", "false"] {
            check(
                &format!("sendInitialEvents={flag}"),
                422,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        check(
            "sendInitialEvents=true&resourceVersionMatch=Exact",
            422,
            "Unsupported value: \"Exact\": supported values: \"NotOlderThan\"",
        );
        check(
            "resourceVersion=5&resourceVersionMatch=NotOlderThan",
            422,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        );
        check(
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=abc",
            422,
            "forbidden when continue is provided",
        );
        check("resourceVersion=-5", 400, "resourceVersion");
        check("resourceVersion=05", 400, "resourceVersion");
        check("timeoutSeconds=soon", 400, "timeoutSeconds");
    }
}
