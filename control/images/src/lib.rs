//! The built-in image registry, and the client that pushes to it and pulls from it.
//!
//! [`Registry`] is an OCI Distribution registry (`/v2/...`) over a folder of content-addressed blobs;
//! any OCI client can push to it. Several servers are one registry over a shared [`Catalog`], and have
//! each other's blobs as [`Siblings`]. [`ImageClient`] speaks the same protocol through a
//! `kube::Client`, since the registry is served on the API port, behind the same authentication.
//!
//! What an image is follows the CNCF layout for Wasm artifacts
//! (<https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>): a manifest whose config is
//! `application/vnd.wasm.config.v0+json` and whose one layer is `application/wasm`.

mod client;
mod contents;
mod digest;
mod layout;
mod reference;
mod registry;

pub use client::{ImageClient, ImageError, Inspected, Listed, Pulled, Pushed};
pub use contents::{Contents, Kind, NotWasm};
pub use digest::Digest;
pub use layout::{Layout, LayoutError};
pub use reference::{Reference, ReferenceError, Version};
pub use registry::{
    Alone, BlobStream, Catalog, CatalogError, HttpSiblings, Limits, OpenError, Registry,
    SiblingBody, SiblingError, Siblings, Stored, Swap,
};
