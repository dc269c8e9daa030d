//! What goes wrong with images, in sentences.

use http::StatusCode;

use crate::ReferenceError;
use crate::contents::NotWasm;
use crate::layout::LayoutError;

/// What went wrong with an image, as a sentence that names it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The name is not one.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The name is another registry's.
    #[error(
        "image {reference} is in the registry {host}; this cluster pulls from its built-in registry \
         only: push the .wasm file with `euston image push FILE {name}` and use that name"
    )]
    OtherRegistry {
        /// As it was written.
        reference: String,
        /// The registry's host.
        host: String,
        /// The name without the host.
        name: String,
    },
    /// It was never pushed, or it was deleted.
    #[error(
        "image {reference} is not in the cluster's registry; push it with \
         `euston image push FILE {reference}`"
    )]
    NotFound {
        /// The image.
        reference: String,
    },
    /// It was pushed, and nothing in it can run here.
    #[error("image {reference} cannot be used: {source}")]
    Layout {
        /// The image.
        reference: String,
        /// What it is instead.
        source: LayoutError,
    },
    /// What is to be pushed is not a Wasm binary.
    #[error("cannot push {reference}: {source}")]
    NotWasm {
        /// The name it was to have.
        reference: String,
        /// What it is instead.
        source: NotWasm,
    },
    /// The registry answered with an error.
    #[error("cannot {action} {reference}: the registry answered {status}: {message}")]
    Refused {
        /// A verb.
        action: &'static str,
        /// The image.
        reference: String,
        /// HTTP status.
        status: StatusCode,
        /// Its explanation.
        message: String,
    },
    /// The registry's answer is not what was asked for.
    #[error("cannot {action} {reference}: {why}")]
    Damaged {
        /// A verb.
        action: &'static str,
        /// The image.
        reference: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The registry was not reached, or the connection broke.
    #[error("cannot {action} {reference}: {source}")]
    Transport {
        /// A verb.
        action: &'static str,
        /// The image.
        reference: String,
        /// The cause.
        source: Box<kube::Error>,
    },
}
