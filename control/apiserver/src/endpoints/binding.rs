//! The binding subresource: the scheduler's decision, fenced. And `finalize`,
//! the namespace controller's.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use k8s_openapi::api::core::v1::{Binding, Namespace, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::request::Query;
use super::{body, negotiate, respond, write};
use crate::error::{ApiError, Result};
use crate::registry::decode::decode;
use crate::registry::kind::Subresource;
use crate::registry::object::BoxObject;
use crate::registry::{Part, Precondition, Registry, Resource, name_of};
use crate::storage::ObjectKey;

/// POST `pods/NAME/binding`. A pod is bound once: a second decision, or one made
/// for another incarnation or version of the pod, is refused.
///
/// # Errors
/// 400, 404, 409.
pub async fn bind(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
) -> Result<Response> {
    let mut options = write::options(headers, query, "CreateOptions")?;
    // As in Kubernetes: where a pod runs is nobody's field.
    options.manager = None;
    let body = body::read_object(headers, request, ("", "v1", "Binding")).await?;
    let (binding, _) = decode::<Binding>(&body.json, None).map_err(|e| {
        ApiError::bad_request(format!(
            "Binding in version \"v1\" cannot be handled as a Binding: {e}"
        ))
    })?;
    let node = binding.target.name.clone().unwrap_or_default();
    let kind = binding.target.kind.as_deref().unwrap_or("Node");
    if node.is_empty() || !matches!(kind, "Node" | "") {
        return Err(ApiError::bad_request(format!(
            "a Binding's target must be a Node with a name, not {kind} {node:?}"
        )));
    }
    let precondition = Precondition::of(&binding);
    let name = name_of(key);
    registry
        .update(resource, key, Part::Computed, &options, |old, _| {
            let mut new = old.clone_box();
            let pod = typed::<Pod>(&mut new)?;
            if pod.metadata.deletion_timestamp.is_some() {
                return Err(resource.conflict(
                    name,
                    &format!("pod {name} is being deleted, cannot be assigned to a host"),
                ));
            }
            let spec = pod.spec.get_or_insert_default();
            if let Some(assigned) = spec.node_name.as_deref().filter(|n| !n.is_empty()) {
                return Err(resource.conflict(
                    name,
                    &format!("pod {name} is already assigned to node {assigned:?}"),
                ));
            }
            if spec
                .scheduling_gates
                .as_ref()
                .is_some_and(|gates| !gates.is_empty())
            {
                return Err(resource.conflict(
                    name,
                    &format!("pod {name} has non-empty .spec.schedulingGates"),
                ));
            }
            spec.node_name = Some(node.clone());
            if let Some(annotations) = &binding.metadata.annotations {
                pod.metadata
                    .annotations
                    .get_or_insert_default()
                    .extend(annotations.clone());
            }
            mark_scheduled(pod);
            Ok((new, precondition.clone(), Vec::new()))
        })
        .await?;
    let status = Status {
        status: Some("Success".to_owned()),
        ..Status::default()
    };
    respond::serialized(StatusCode::CREATED, negotiate::plain(headers), &status)
}

fn mark_scheduled(pod: &mut Pod) {
    let conditions = pod
        .status
        .get_or_insert_default()
        .conditions
        .get_or_insert_default();
    conditions.retain(|c| c.type_ != "PodScheduled");
    conditions.push(PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(euston_api::time::whole_seconds(jiff::Timestamp::now())),
        ..PodCondition::default()
    });
}

/// PUT `namespaces/NAME/finalize`: sets `spec.finalizers`, which ordinary updates may not.
///
/// # Errors
/// 400, 404, 409.
pub async fn finalize(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
) -> Result<Response> {
    let mut options = write::options(headers, query, "UpdateOptions")?;
    options.subresource = Subresource::Finalize.name();
    let body = body::read_object(headers, request, resource.kind.names.gvk()).await?;
    let validation = body.validation(options.validation);
    let (mut object, _) = registry.decode(resource, &body.json, validation)?;
    let precondition = Precondition::of(object.as_ref());
    let finalizers = typed::<Namespace>(&mut object)?
        .spec
        .clone()
        .and_then(|s| s.finalizers);
    let done = registry
        .update(resource, key, Part::Computed, &options, |old, _| {
            let mut new = old.clone_box();
            typed::<Namespace>(&mut new)?
                .spec
                .get_or_insert_default()
                .finalizers = finalizers.clone();
            Ok((new, precondition.clone(), Vec::new()))
        })
        .await?;
    write::saved(headers, query, resource, &done)
}

/// The object of a kind that is of the type `T`.
///
/// # Errors
/// 404 for another kind: the subresource is not for it.
pub fn typed<T: 'static>(object: &mut BoxObject) -> Result<&mut T> {
    object
        .as_any_mut()
        .downcast_mut::<T>()
        .ok_or_else(ApiError::no_such_path)
}
