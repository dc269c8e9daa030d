//! What of a list is asked for: which moment, how much.
//!
//! The rules are those of `internalversion/validation` and of the table at
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list>.

use euston_api::field::{ErrorList, Path};

use super::super::request::Query;
use crate::error::{ApiError, Result};
use crate::registry::options::parse_resource_version;

/// Which moment a list stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// As of now: every write acknowledged before is in it.
    MostRecent,
    /// Whatever is at hand.
    Any,
    /// This revision or a later one.
    NotOlderThan(u64),
    /// This revision.
    Exact(u64),
    /// That of the pages before, as their token says.
    Continued(String),
}

/// What of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOptions {
    /// The moment.
    pub moment: Moment,
    /// Objects in a page; 0 for all.
    pub limit: usize,
}

impl ListOptions {
    /// Reads and checks the query.
    ///
    /// # Errors
    /// 422 with every contradiction and unknown word; 400 for what is no number.
    pub fn parse(query: &Query) -> Result<Self> {
        // As in etcd's storage layer, a limit that is not positive is none.
        let limit = query.integer("limit")?.unwrap_or(0);
        let limit = usize::try_from(limit).unwrap_or(0);
        refuse(&contradictions(query))?;
        let version = query.get("resourceVersion");
        if let Some(token) = query.get("continue") {
            if version.is_some_and(|v| v != "0") {
                return Err(ApiError::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            return Ok(ListOptions {
                moment: Moment::Continued(token.to_owned()),
                limit,
            });
        }
        let moment = match version.map(parse_resource_version).transpose()? {
            None => Moment::MostRecent,
            Some(version) => match query.get("resourceVersionMatch") {
                Some("Exact") => Moment::Exact(version),
                _ if version == 0 => Moment::Any,
                // Older than the parameter: the first of many pages of one revision.
                None if limit > 0 => Moment::Exact(version),
                _ => Moment::NotOlderThan(version),
            },
        };
        Ok(ListOptions { moment, limit })
    }
}

fn contradictions(query: &Query) -> ErrorList {
    let mut errors = ErrorList::new();
    if query.flag_given("sendInitialEvents").is_some() {
        errors.forbidden(
            Path::new("sendInitialEvents"),
            "sendInitialEvents is forbidden for list",
        );
    }
    let Some(word) = query.get("resourceVersionMatch") else {
        return errors;
    };
    let path = || Path::new("resourceVersionMatch");
    if query.get("resourceVersion").is_none() {
        errors.forbidden(
            path(),
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        );
    }
    if query.get("continue").is_some() {
        errors.forbidden(
            path(),
            "resourceVersionMatch is forbidden when continue is provided",
        );
    }
    match word {
        "NotOlderThan" => {}
        "Exact" if query.get("resourceVersion") == Some("0") => errors.forbidden(
            path(),
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ),
        "Exact" => {}
        _ => errors.not_supported(path(), word, &["Exact", "NotOlderThan"]),
    }
    errors
}

/// 422 for options of a list or watch with errors.
///
/// # Errors
/// If there are any.
pub fn refuse(errors: &ErrorList) -> Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", errors))
}

#[cfg(test)]
mod tests {
    use super::Moment::{Any, Continued, Exact, MostRecent, NotOlderThan};
    use super::*;

    fn check(query: &str, expect: std::result::Result<Moment, (u16, &str)>) {
        let got = ListOptions::parse(&Query::parse(Some(query)));
        match (got, expect) {
            (Ok(options), Ok(moment)) => assert_eq!(options.moment, moment, "{query}"),
            (Err(error), Err((code, wanted))) => {
                assert_eq!(error.code, code, "{query}: {error}");
                assert!(error.message.contains(wanted), "{query}: {error}");
            }
            (got, _) => panic!("{query}: {got:?}"),
        }
    }

    /// Every cell of the documentation's table.
    #[test]
    fn the_moment_follows_from_version_match_and_paging() {
        let token = || Ok(Continued("abc".to_owned()));
        let unless = || Err((422, "forbidden unless resourceVersion is provided"));
        check("", Ok(MostRecent));
        check("resourceVersion=", Ok(MostRecent));
        check("resourceVersion=0", Ok(Any));
        check("resourceVersion=7", Ok(NotOlderThan(7)));
        check("limit=5", Ok(MostRecent));
        check("limit=5&resourceVersion=0", Ok(Any));
        check("limit=5&resourceVersion=7", Ok(Exact(7)));
        check("limit=0&resourceVersion=7", Ok(NotOlderThan(7)));
        check("limit=-1&resourceVersion=7", Ok(NotOlderThan(7)));
        check("limit=5&continue=abc", token());
        check("continue=abc", token());
        check("limit=5&continue=abc&resourceVersion=0", token());
        check(
            "continue=abc&resourceVersion=7",
            Err((400, "not allowed when using continue")),
        );
        check("resourceVersionMatch=Exact", unless());
        check("resourceVersionMatch=NotOlderThan", unless());
        check("limit=5&resourceVersionMatch=Exact", unless());
        check(
            "resourceVersion=0&resourceVersionMatch=Exact",
            Err((422, "\"exact\" is forbidden for resourceVersion \"0\"")),
        );
        check("resourceVersion=7&resourceVersionMatch=Exact", Ok(Exact(7)));
        check(
            "limit=5&resourceVersion=7&resourceVersionMatch=Exact",
            Ok(Exact(7)),
        );
        check(
            "resourceVersion=0&resourceVersionMatch=NotOlderThan",
            Ok(Any),
        );
        check(
            "resourceVersion=7&resourceVersionMatch=NotOlderThan",
            Ok(NotOlderThan(7)),
        );
        check(
            "limit=5&resourceVersion=7&resourceVersionMatch=NotOlderThan",
            Ok(NotOlderThan(7)),
        );
        check(
            "continue=abc&resourceVersion=0&resourceVersionMatch=NotOlderThan",
            Err((422, "forbidden when continue is provided")),
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_all_at_once() {
        check(
            "resourceVersion=1&resourceVersionMatch=Never",
            Err((
                422,
                "Unsupported value: \"Never\": supported values: \"Exact\", \"NotOlderThan\"",
            )),
        );
        for flag in ["sendInitialEvents=true", "sendInitialEvents=false"] {
            check(flag, Err((422, "sendInitialEvents is forbidden for list")));
        }
        check(
            "resourceVersion=007",
            Err((400, "resourceVersion: Invalid value")),
        );
        check(
            "resourceVersion=x",
            Err((400, "resourceVersion: Invalid value")),
        );
        check(
            "resourceVersion=-1",
            Err((400, "resourceVersion: Invalid value")),
        );
        check("limit=x", Err((400, "limit")));
        let query = "sendInitialEvents=true&resourceVersionMatch=Never&continue=abc";
        let error = ListOptions::parse(&Query::parse(Some(query))).unwrap_err();
        let causes = error.details.unwrap().causes.unwrap();
        assert_eq!(causes.len(), 4, "{causes:?}");
    }
}
