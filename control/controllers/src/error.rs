//! Why a reconcile (or the whole run) failed.

use std::time::Duration;

use euston_api::selector::SelectorError;
use euston_client::{Next, errors};

/// A failed reconcile. It is retried with back-off, so it is mostly read in logs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API refused or did not answer.
    #[error("cannot {attempt}: {source}")]
    Api {
        /// What was attempted, on which object.
        attempt: String,
        /// The API's answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object's selector cannot be read.
    #[error("the selector of {object} cannot be used: {source}")]
    Selector {
        /// Kind and name.
        object: String,
        /// What is wrong with it.
        #[source]
        source: SelectorError,
    },
    /// The settings make no sense.
    #[error("the controllers' options are wrong: {0}")]
    Options(String),
    /// Something is not as it should be yet; trying again later will show.
    #[error("{0}")]
    NotYet(String),
}

impl Error {
    /// The API's answer, if that is what failed.
    pub(crate) fn api(&self) -> Option<&kube::Error> {
        match self {
            Self::Api { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// After a conflict the newer object is on its way through the watch and brings its key back by
/// itself; this is when to try again if it does not.
const CONFLICT_RETRY: Duration = Duration::from_millis(100);

/// Takes a conflict for what it is: not a failure, but a plan made on a copy a little too old.
pub(crate) fn unless_conflict(result: Result<Next, Error>) -> Result<Next, Error> {
    match result {
        Err(error) if error.api().is_some_and(errors::is_conflict) => {
            tracing::debug!(%error, "planned on an outdated copy; planning anew");
            Ok(Next::After(CONFLICT_RETRY))
        }
        result => result,
    }
}

/// Takes an object that has gone, or is no longer the one that was meant, for no failure: whatever
/// is there now is looked at anew. `None` then.
pub(crate) fn unless_gone<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if errors::is_not_found(&error) || errors::is_conflict(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names the attempt in a failed API call.
pub(crate) trait Attempt<T> {
    fn attempting(self, attempt: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Attempt<T> for Result<T, kube::Error> {
    fn attempting(self, attempt: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Api {
            attempt: attempt(),
            source: Box::new(source),
        })
    }
}
