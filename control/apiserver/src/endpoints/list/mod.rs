//! LIST: a consistent snapshot, whole or in pages.
//!
//! The first page is served from the caches at the store's revision. Later pages
//! are read from the store's history at that same revision, so a list is
//! consistent while writes go on
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>).

mod options;
mod pieces;
mod token;

use std::sync::Arc;
use std::time::Duration;

use super::selection::Selection;
use crate::error::{ApiError, Result};
use crate::registry::{Registry, Resource};
use crate::storage::Entry;
use token::Continue;

pub use options::{ListOptions, Moment, refuse};
pub use pieces::respond;

/// How long a read waits for a revision that the client says it has seen.
pub const WAIT_FOR_VERSION: Duration = Duration::from_secs(3);

/// Entries read from the store at a time for a later page.
const HISTORY_PAGE: usize = 1_000;

/// A page of a list.
pub struct Page {
    /// The revision that the list stands for.
    pub revision: u64,
    /// What matched.
    pub entries: Vec<Arc<Entry>>,
    token: Option<String>,
    remaining: Option<usize>,
}

impl Page {
    fn at(revision: u64) -> Self {
        Page {
            revision,
            entries: Vec::new(),
            token: None,
            remaining: None,
        }
    }
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
    let mut start = within.clone();
    match &options.moment {
        Moment::Continued(text) => {
            let token = Continue::decode(text, &within)?;
            let revision = token.revision();
            start = token.start;
            match revision {
                Some(revision) => {
                    let read = history(registry, resource, selection, options.limit);
                    return read.page(&within, start, revision, true).await;
                }
                None => registry.storage().fresh().await?,
            }
        }
        &Moment::Exact(revision) => {
            let read = history(registry, resource, selection, options.limit);
            return read.page(&within, start, revision, false).await;
        }
        Moment::Any => 0,
        Moment::MostRecent => registry.storage().fresh().await?,
        &Moment::NotOlderThan(version) => {
            let storage = registry.storage();
            storage.wait_for(version, WAIT_FOR_VERSION).await?
        }
    };
    let (snapshot, revision, _) = resource.cache.snapshot_and_cursor();
    let mut page = Page::at(revision);
    for entry in selection.within(resource.kind, &snapshot, &start) {
        if options.limit > 0 && page.entries.len() == options.limit {
            let key = entry.key.as_str();
            page.token = Some(Continue::encode(Some(revision), key));
            if selection.is_everything() {
                // With a filter this would be a guess, and Kubernetes leaves it out as well.
                page.remaining = Some(selection.within(resource.kind, &snapshot, key).count());
            }
            break;
        }
        page.entries.push(entry.clone());
    }
    Ok(page)
}

/// A read of the store's history.
struct History<'a> {
    registry: &'a Registry,
    resource: Resource<'a>,
    selection: &'a Selection,
    limit: usize,
}

fn history<'a>(
    registry: &'a Registry,
    resource: Resource<'a>,
    selection: &'a Selection,
    limit: usize,
) -> History<'a> {
    History {
        registry,
        resource,
        selection,
        limit,
    }
}

impl History<'_> {
    /// The page at `revision` that begins at `start`. `continued` if it follows others.
    async fn page(
        &self,
        within: &str,
        mut start: String,
        revision: u64,
        continued: bool,
    ) -> Result<Page> {
        let mut page = Page::at(revision);
        loop {
            let read = self
                .registry
                .storage()
                .page_at(self.resource.kind, within, &start, revision, HISTORY_PAGE)
                .await;
            let read = read.map_err(|error| expired(error, continued, &start))?;
            for (index, entry) in read.entries.iter().enumerate() {
                if !self.selection.matches(self.resource.kind, entry) {
                    continue;
                }
                if self.limit > 0 && page.entries.len() == self.limit {
                    page.token = Some(Continue::encode(Some(revision), entry.key.as_str()));
                    let everything = self.selection.is_everything();
                    page.remaining = everything.then(|| read.count.saturating_sub(index));
                    return Ok(page);
                }
                page.entries.push(entry.clone());
            }
            match read.entries.last() {
                // The key right behind it.
                Some(last) if read.more => start = format!("{}\0", last.key.as_str()),
                _ => return Ok(page),
            }
        }
    }
}

/// What a client is told of a revision that is gone.
fn expired(mut error: ApiError, continued: bool, start: &str) -> ApiError {
    if error.reason != "Expired" {
        return error;
    }
    if continued {
        // The client may go on with what is true now, and is told that it differs.
        error.message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.".to_owned();
        error.continue_token = Some(Continue::encode(None, start));
    } else {
        "The resourceVersion for the provided list is too old.".clone_into(&mut error.message);
    }
    error
}
