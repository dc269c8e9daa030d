//! Patches as pure functions from an object and a request body to an object.
//!
//! Three media types: [`json_patch`] (RFC 6902), [`merge_patch`] (RFC 7386) and
//! [`strategic_merge`] (Kubernetes' own). None of them looks at names, versions or
//! validity; the caller decodes, validates and stores the outcome.
//!
//! Bodies are hostile: operations, copied bytes, shifted elements and nesting are bounded
//! by the constants here, so that the work of a patch is bounded by the size of its body.

mod go_format;
mod json;
mod strategic;
#[cfg(test)]
mod tests;

pub use json::json_patch;
pub use strategic::strategic_merge;

use serde_json::Value;

/// Operations in one JSON patch; kube-apiserver's bound.
pub const OPERATIONS_MAX: usize = 10_000;

/// Bytes (of JSON) that all `copy` operations of one patch may add together;
/// kube-apiserver's bound.
pub const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Values that one JSON patch may look at or shift in order to move values and to insert
/// into lists. Room for 10,000 operations on lists of 1,600 items; some 100 ms of work.
pub const WORK_MAX: usize = 16 * 1024 * 1024;

/// Objects and lists inside one another. What serde_json reads back by default: a deeper
/// object could be stored and then never be decoded again.
pub const DEPTH_MAX: usize = 127;

/// Why a patch was not applied. Always the client's fault; the original is untouched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The body is no patch of its type, or breaks the rules of directives
    /// (Kubernetes answers 400 BadRequest).
    #[error("{0}")]
    Malformed(String),
    /// A patch, but not one for this object: a path that is not there, a failed test
    /// (Kubernetes answers 422 with reason Invalid).
    #[error("{0}")]
    Unprocessable(String),
    /// A patch that asks for more work or memory than is given to one request
    /// (Kubernetes answers 413 RequestEntityTooLarge).
    #[error("{0}")]
    TooLarge(String),
}

/// Applies a JSON merge patch (RFC 7386): objects merge, null deletes, all else replaces.
///
/// # Errors
/// [`PatchError::Malformed`] if `patch` is not JSON, is nested too deeply, or is not an object.
pub fn merge_patch(mut original: Value, patch: &[u8]) -> Result<Value, PatchError> {
    let patch = object(patch)?;
    json_patch::merge(&mut original, &patch);
    Ok(original)
}

/// A body that has to be a JSON object. serde_json refuses what exceeds [`DEPTH_MAX`].
fn object(body: &[u8]) -> Result<Value, PatchError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|e| PatchError::Malformed(format!("error decoding patch: {e}")))?;
    if value.is_object() {
        return Ok(value);
    }
    let got = go_format::kind(&value);
    Err(PatchError::Malformed(format!(
        "error decoding patch: expected an object, got a {got}"
    )))
}
