//! Custom resources: kinds that are defined while the server serves.
//!
//! ```text
//! kind       what a definition makes: a served kind for each of its versions
//! rules      what those kinds do with their objects, by schemas (crate euston-custom)
//! object     an object without a type
//! follow     on every server: definitions -> rows of the table of kinds
//! keep       on one server: names, conditions, and the end of a definition's objects
//! ```

mod follow;
mod keep;
mod kind;
mod object;
mod rules;

pub use follow::Follower;
pub use keep::run as keep;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::storage::Entry;

/// Group, version and plural of the definitions themselves.
pub const DEFINITIONS: (&str, &str, &str) =
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions");

/// The definition that an entry of their cache holds.
fn definition(entry: &Entry) -> Option<CustomResourceDefinition> {
    match serde_json::from_slice::<CustomResourceDefinition>(&entry.value) {
        Ok(mut definition) => {
            definition.metadata.resource_version = Some(entry.revision.to_string());
            Some(definition)
        }
        Err(error) => {
            // Only a write by another version could do this.
            tracing::error!(name = entry.name(), %error, "a stored CustomResourceDefinition cannot be decoded; its objects are not served");
            None
        }
    }
}
