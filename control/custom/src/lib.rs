//! What a CustomResourceDefinition says of its objects, as pure functions.
//!
//! ```text
//! definition   is the definition itself sound? its defaults, its names, what it says of itself
//! schema       structural schemas: pruning, defaulting, validation
//! cel          rules of a schema in the Common Expression Language
//! json_path    the paths of printer columns, of scale, of selectable fields
//! columns      cells of `kubectl get`
//! ```
//!
//! Objects are JSON here: custom resources are what the API has no types for.

pub mod cel;
pub mod columns;
pub mod definition;
pub mod json_path;
pub mod metadata;
pub mod schema;

pub use json_path::JsonPath;
pub use schema::{Pruned, Schema};
