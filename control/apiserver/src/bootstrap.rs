//! What every cluster has from its first moment: the namespaces that Kubernetes
//! starts with, its roles, the objects that describe the cluster itself, and the Service that stands for
//! the API.

mod objects;
mod roles;

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Namespace, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::error::Result;
use crate::registry::Registry;
use crate::registry::object::{AnyObject, BoxObject};
use crate::registry::options::WriteOptions;
use crate::storage::ObjectKey;

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// The API's own Service address: the first of the service network, as in Kubernetes.
const API_SERVICE_IP: &str = "10.96.0.1";

/// Who owns what is created here.
const MANAGER: &str = "euston";

/// Creates what is missing.
///
/// # Errors
/// The store's.
pub async fn run(registry: &Registry, api: Option<(IpAddr, u16)>) -> Result<()> {
    for name in NAMESPACES {
        let meta = ObjectMeta {
            name: Some((*name).to_owned()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace {
            metadata: meta,
            ..Namespace::default()
        };
        ensure(
            registry,
            ("", "v1", "namespaces"),
            None,
            Box::new(namespace),
        )
        .await?;
    }
    roles::run(registry).await?;
    objects::ensure_all(registry).await?;
    let Some((address, port)) = api else {
        return Ok(());
    };
    let meta = || ObjectMeta {
        name: Some("kubernetes".to_owned()),
        namespace: Some("default".to_owned()),
        labels: Some(
            [("component", "apiserver"), ("provider", "kubernetes")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
        ),
        ..ObjectMeta::default()
    };
    let service = Service {
        metadata: meta(),
        spec: Some(ServiceSpec {
            cluster_ip: Some(API_SERVICE_IP.to_owned()),
            type_: Some("ClusterIP".to_owned()),
            ports: Some(vec![ServicePort {
                name: Some("https".to_owned()),
                port: 443,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::Int(i32::from(port))),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    ensure(
        registry,
        ("", "v1", "services"),
        Some("default"),
        Box::new(service),
    )
    .await?;
    if address.is_loopback() {
        // An endpoint may not be on loopback: pods have no such neighbour.
        return Ok(());
    }
    let mut metadata = meta();
    let label = (
        "kubernetes.io/service-name".to_owned(),
        "kubernetes".to_owned(),
    );
    metadata.labels.get_or_insert_default().extend([label]);
    let slice = EndpointSlice {
        metadata,
        address_type: if address.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
        endpoints: Some(vec![Endpoint {
            addresses: vec![address.to_string()],
            ..Endpoint::default()
        }]),
        ports: Some(vec![EndpointPort {
            name: Some("https".to_owned()),
            port: Some(i32::from(port)),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    };
    let of = ("discovery.k8s.io", "v1", "endpointslices");
    ensure(registry, of, Some("default"), Box::new(slice)).await
}

async fn ensure(
    registry: &Registry,
    (group, version, plural): (&str, &str, &str),
    namespace: Option<&str>,
    object: Box<dyn AnyObject>,
) -> Result<()> {
    let Some(row) = registry.resource(group, version, plural) else {
        return Ok(());
    };
    let resource = row.resource();
    let name = object.meta().name.clone().unwrap_or_default();
    if resource
        .cache
        .get(&ObjectKey::new(namespace, &name))
        .is_some()
    {
        return Ok(());
    }
    let object: BoxObject = object;
    let options = WriteOptions {
        manager: Some(MANAGER.to_owned()),
        ..WriteOptions::default()
    };
    match registry.create(resource, namespace, object, &options).await {
        Err(error) if error.reason != "AlreadyExists" => Err(error),
        _ => Ok(()),
    }
}
