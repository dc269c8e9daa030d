//! LIST: a consistent snapshot, whole or in pages.
//!
//! The first page is served from the caches at the store's revision. Later pages
//! are read from the store's history at that same revision, so a list is
//! consistent while writes go on
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>).

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::negotiate::{Accepted, Form};
use super::request::Query;
use super::selection::Selection;
use super::table::IncludeObject;
use super::{partial, respond, table};
use crate::error::{ApiError, Result};
use crate::registry::options::parse_resource_version;
use crate::registry::{Registry, Resource};
use crate::storage::{Entry, ObjectKey};

/// How long a list waits for a revision that the client says it has seen.
const WAIT_FOR_VERSION: Duration = Duration::from_secs(3);

/// Entries read from the store at a time for a later page.
const HISTORY_PAGE: usize = 1_000;

/// Where a list goes on. The revision is -1 where the client accepts a page that
/// does not fit the ones before.
#[derive(Serialize, Deserialize)]
struct Continue {
    v: String,
    rv: i64,
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

impl Continue {
    fn encode(rv: i64, start: &str) -> String {
        let token = Continue {
            v: TOKEN_VERSION.to_owned(),
            rv,
            start: start.to_owned(),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    fn decode(text: &str, within: &str) -> Result<Self> {
        let bad = || ApiError::bad_request(format!("continue key is not valid: {text:?}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|_| bad())?;
        let token: Continue = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let sound = token.v == TOKEN_VERSION
            && (token.rv > 0 || token.rv == -1)
            && token.start.starts_with(within);
        if sound { Ok(token) } else { Err(bad()) }
    }
}

/// What of a list is asked for.
pub struct ListOptions {
    limit: usize,
    token: Option<String>,
    version: Option<u64>,
    exact: bool,
}

impl ListOptions {
    /// Reads and checks the query, as `internalversion/validation` does.
    ///
    /// # Errors
    /// 400 for contradictions and unknown words.
    pub fn parse(query: &Query) -> Result<Self> {
        let token = query.get("continue").map(str::to_owned);
        let version = query
            .get("resourceVersion")
            .map(parse_resource_version)
            .transpose()?;
        if query.flag("sendInitialEvents")? {
            return Err(ApiError::bad_request(
                "sendInitialEvents is forbidden for list",
            ));
        }
        let exact = match query.get("resourceVersionMatch") {
            None => false,
            Some(word) => {
                if version.is_none() {
                    return Err(ApiError::bad_request(
                        "resourceVersionMatch is forbidden unless resourceVersion is provided",
                    ));
                }
                if token.is_some() {
                    return Err(ApiError::bad_request(
                        "resourceVersionMatch is forbidden when continue is provided",
                    ));
                }
                match (word, version) {
                    ("Exact", Some(0)) => {
                        return Err(ApiError::bad_request(
                            "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
                        ));
                    }
                    ("Exact", _) => true,
                    ("NotOlderThan", _) => false,
                    _ => {
                        return Err(ApiError::bad_request(format!(
                            "resourceVersionMatch: Unsupported value: {word:?}: supported values: \"Exact\", \"NotOlderThan\""
                        )));
                    }
                }
            }
        };
        if token.is_some() && version.is_some_and(|v| v != 0) {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let limit = usize::try_from(query.number("limit")?.unwrap_or(0)).unwrap_or(usize::MAX);
        Ok(ListOptions {
            limit,
            token,
            version,
            exact,
        })
    }
}

/// A page of a list.
pub struct Page {
    /// The revision that the list stands for.
    pub revision: u64,
    /// What matched.
    pub entries: Vec<Arc<Entry>>,
    token: Option<String>,
    remaining: Option<usize>,
}

/// Selects a page.
///
/// # Errors
/// 410 for a page whose revision is gone, with a token that goes on regardless;
/// 504 for a revision not reached yet.
pub async fn page(
    registry: &Registry,
    resource: Resource<'_>,
    selection: &Selection,
    options: &ListOptions,
) -> Result<Page> {
    let within = selection.key_prefix();
    let token = options
        .token
        .as_deref()
        .map(|t| Continue::decode(t, &within))
        .transpose()?;
    let start = token.as_ref().map_or(within.clone(), |t| t.start.clone());
    let history = match &token {
        Some(token) => u64::try_from(token.rv).ok(),
        None => options.version.filter(|_| options.exact),
    };
    if let Some(revision) = history {
        return history_page(
            registry, resource, selection, options, &within, start, revision,
        )
        .await;
    }
    match options.version {
        Some(0) => {}
        Some(version) => {
            registry
                .storage()
                .wait_for(version, WAIT_FOR_VERSION)
                .await?;
        }
        None => {
            registry.storage().fresh().await?;
        }
    }
    let (snapshot, revision, _) = resource.cache.snapshot_and_cursor();
    let mut page = Page {
        revision,
        entries: Vec::new(),
        token: None,
        remaining: None,
    };
    let in_range = snapshot
        .range(ObjectKey::parse(&start)..)
        .take_while(|(key, _)| key.as_str().starts_with(&within));
    let mut seen = 0usize;
    for (_, entry) in in_range {
        seen += 1;
        if !selection.matches(resource.kind, entry) {
            continue;
        }
        if options.limit > 0 && page.entries.len() == options.limit {
            page.token = Some(Continue::encode(revision.cast_signed(), entry.key.as_str()));
            if selection.is_everything() {
                let all = snapshot
                    .range(ObjectKey::parse(&start)..)
                    .take_while(|(key, _)| key.as_str().starts_with(&within))
                    .count();
                page.remaining = Some(all - (seen - 1));
            }
            break;
        }
        page.entries.push(entry.clone());
    }
    Ok(page)
}

async fn history_page(
    registry: &Registry,
    resource: Resource<'_>,
    selection: &Selection,
    options: &ListOptions,
    within: &str,
    mut start: String,
    revision: u64,
) -> Result<Page> {
    let mut page = Page {
        revision,
        entries: Vec::new(),
        token: None,
        remaining: None,
    };
    loop {
        let read = registry
            .storage()
            .page_at(resource.kind, within, &start, revision, HISTORY_PAGE)
            .await;
        let (entries, more) = read.map_err(|mut error| {
            if error.reason == "Expired" {
                // The client may go on with what is true now, and is told that it differs.
                error.message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.".to_owned();
                error.continue_token = Some(Continue::encode(-1, &start));
            }
            error
        })?;
        for entry in &entries {
            if !selection.matches(resource.kind, entry) {
                continue;
            }
            if options.limit > 0 && page.entries.len() == options.limit {
                page.token = Some(Continue::encode(revision.cast_signed(), entry.key.as_str()));
                return Ok(page);
            }
            page.entries.push(entry.clone());
        }
        match entries.last() {
            Some(last) if more => start = format!("{}\0", last.key.as_str()),
            _ => return Ok(page),
        }
    }
}

/// The page as the client accepts it.
///
/// # Errors
/// 500 if a stored object is broken.
pub fn respond(
    resource: Resource<'_>,
    page: &Page,
    accepted: Accepted,
    include: IncludeObject,
) -> Result<Response> {
    let mut meta = json!({ "resourceVersion": page.revision.to_string() });
    if let Some(token) = &page.token {
        meta["continue"] = json!(token);
    }
    if let Some(remaining) = page.remaining {
        meta["remainingItemCount"] = json!(remaining);
    }
    if accepted.form == Form::Table {
        let mut writer = table::Writer::new(resource, include, &meta, true)?;
        for entry in &page.entries {
            writer.push(entry)?;
        }
        return Ok(respond::json(StatusCode::OK, writer.finish()));
    }
    let size: usize = page.entries.iter().map(|e| e.value.len() + 64).sum();
    let mut out = Vec::with_capacity(size + 256);
    let names = &resource.kind.names;
    let (kind, version) = match accepted.form {
        Form::Metadata => (partial::LIST_KIND, partial::API_VERSION.to_owned()),
        _ => (names.list_kind.as_str(), names.api_version()),
    };
    out.extend_from_slice(
        format!(r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":"#).as_bytes(),
    );
    serde_json::to_writer(&mut out, &meta).map_err(ApiError::internal)?;
    out.extend_from_slice(br#","items":["#);
    for (i, entry) in page.entries.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match accepted.form {
            Form::Metadata => partial::write(entry, &mut out)?,
            _ => entry.write_json(&mut out),
        }
    }
    out.extend_from_slice(b"]}");
    respond::encoded(StatusCode::OK, accepted.encoding, (&version, kind), out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expect: std::result::Result<(), &str>) {
        match (ListOptions::parse(&Query::parse(Some(query))), expect) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(wanted)) => {
                assert!(error.message.contains(wanted), "{query}: {error}")
            }
            (got, _) => panic!("{query}: {:?}", got.err()),
        }
    }

    #[test]
    fn list_options_are_checked_as_kubernetes_does() {
        check("limit=5&resourceVersion=0", Ok(()));
        check("resourceVersion=12&resourceVersionMatch=Exact", Ok(()));
        check(
            "resourceVersion=0&resourceVersionMatch=NotOlderThan",
            Ok(()),
        );
        check(
            "resourceVersionMatch=Exact",
            Err("unless resourceVersion is provided"),
        );
        check(
            "resourceVersion=0&resourceVersionMatch=Exact",
            Err("forbidden for resourceVersion"),
        );
        check(
            "resourceVersion=1&resourceVersionMatch=Never",
            Err("Unsupported value: \"Never\""),
        );
        check("resourceVersion=007", Err("resourceVersion: Invalid value"));
        check("resourceVersion=x", Err("resourceVersion: Invalid value"));
        check("sendInitialEvents=true", Err("forbidden for list"));
        check(
            "continue=abc&resourceVersion=5",
            Err("not allowed when using continue"),
        );
        check("limit=-1", Err("limit"));
    }

    #[test]
    fn continue_tokens_round_trip_and_stay_in_their_namespace() {
        let token = Continue::encode(7, "a/b");
        let back = Continue::decode(&token, "a/").unwrap();
        assert_eq!((back.rv, back.start.as_str()), (7, "a/b"));
        assert!(Continue::decode(&token, "c/").is_err());
        for bad in [
            "",
            "%%%",
            "e30",
            &Continue::encode(0, "a/b"),
            &Continue::encode(-2, "a/b"),
        ] {
            assert!(Continue::decode(bad, "a/").is_err(), "{bad}");
        }
    }
}
