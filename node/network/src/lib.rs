//! The user-space pod network.
//!
//! Guests reach the network only through host calls, so addresses, ports, Services and names need
//! no kernel interface and no privilege: they are tables in this process.
//!
//! - [`ServiceTable`] is the level-driven view of Services and EndpointSlices. One writer applies
//!   events, each costing only what belongs to that Service; readers take no lock.
//! - [`names`] turns a host name, as a pod of some namespace writes it, into a place.
//! - [`PodNet`] owns the pods of this node (address, ports, handlers) and routes a request: into a
//!   pod of this node by a function call, to another node through [`RemoteTransport`], through a
//!   Service to a ready endpoint, or outside under [`policy`].
//! - [`NodePorts`] serves the node ports of Services on the node's own address.
//! - `wire` is HTTP on connections from outside, for node ports and for forwarded ports of pods.
//! - [`tunnel`] is the wire form of a request that travels between two nodes.
//!
//! Nothing here names wasmtime, TLS certificates of the cluster, or the API client: the agent
//! glues those to the small traits of this crate.

mod body;
mod cidr;
mod error;
mod handler;
mod ipam;
mod lend;
pub mod names;
mod nodeport;
mod outside;
mod podnet;
pub mod policy;
mod route;
mod table;
pub mod tunnel;
mod wire;

pub use body::{Body, BoxError, empty, full, plain};
pub use cidr::{Cidr, CidrError};
pub use error::SendError;
pub use handler::{HttpHandler, RemoteTransport, Undelivered};
pub use ipam::{IpPool, PoolExhausted};
pub use nodeport::{NodePortEvent, NodePorts, NodePortsConfig};
pub use outside::{OutsideClient, OutsideConfig, TlsSetupError};
pub use podnet::{PodNet, PodNetConfig, PortInUse};
pub use route::{Caller, SendOptions};
pub use table::{
    Backend, Endpoint, EndpointSet, Place, PortDef, Scope, Service, ServiceDef, ServiceTable,
    SliceDef, Tried,
};
