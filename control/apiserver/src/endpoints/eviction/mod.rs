//! The eviction subresource: a deletion that disruption budgets may refuse.
//! Follows <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>.

mod budget;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{Eviction, PodDisruptionBudget};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::binding::typed;
use super::request::Query;
use super::{body, negotiate, respond, write};
use crate::error::{ApiError, Result};
use crate::registry::decode::decode;
use crate::registry::options::{Deletion, WriteOptions};
use crate::registry::{Part, Precondition, Registry, Resource, name_of, namespace_of};
use crate::storage::{Entry, ObjectKey};
use budget::Need;

/// Times that a pod is looked at again because it changed under the eviction.
const ATTEMPTS_MAX: usize = 16;

/// POST `pods/NAME/eviction`.
///
/// # Errors
/// 400, 404; 409 if a precondition of its options fails; 429 if the pod's budget refuses;
/// 500 if it has several.
pub async fn evict(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    headers: &HeaderMap,
    query: &Query,
    request: Body,
) -> Result<Response> {
    let options = write::options(headers, query, "CreateOptions")?;
    let expected = ("policy", "v1", "Eviction");
    let body = body::read_object(headers, request, expected).await?;
    let (asked, _) = decode::<Eviction>(&body.json, None).map_err(|e| {
        ApiError::bad_request(format!(
            "Eviction in version \"v1\" cannot be handled as a Eviction: {e}"
        ))
    })?;
    if asked
        .metadata
        .name
        .as_deref()
        .is_some_and(|name| name != name_of(key))
    {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let mut deletion = Deletion::from_options(&asked.delete_options.unwrap_or_default())?;
    deletion.dry_run |= options.dry_run;

    let mut attempt = 0;
    loop {
        attempt += 1;
        match once(registry, resource, key, &deletion).await {
            // The pod changed meanwhile, and the client does not mind in what way.
            Err(error)
                if error.reason == "Conflict"
                    && deletion.resource_version.is_none()
                    && attempt < ATTEMPTS_MAX => {}
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    let status = Status {
        status: Some("Success".to_owned()),
        ..Status::default()
    };
    respond::serialized(StatusCode::CREATED, negotiate::plain(headers), &status)
}

/// Looks at the pod as it is now, and evicts it.
async fn once(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    deletion: &Deletion,
) -> Result<()> {
    let entry = registry.get(resource, key).await?;
    let pod = pod_of(resource, &entry)?;
    // A precondition that fails must not cost a disruption.
    check(resource, deletion, &pod, &entry)?;
    let mut exact = budget::may_become_healthy(&pod);
    if !budget::is_past_budgets(&pod) {
        exact = false;
        if let Some((budgets, budget)) = budget_of(registry, key, &pod)? {
            let need = budget::need(&pod, &budget.1);
            exact = need == Need::Unready;
            if need == Need::Disruption {
                let uid = budget.1.metadata.uid.clone();
                let write = WriteOptions {
                    dry_run: deletion.dry_run,
                    ..WriteOptions::default()
                };
                spend(
                    registry,
                    budgets.resource(),
                    &budget.0,
                    uid,
                    name_of(key),
                    &write,
                )
                .await?;
            }
        }
    }
    remove(registry, resource, key, deletion, &entry, exact).await
}

/// The one budget of a pod, and its row of the table.
type Found = (
    crate::registry::table::Row,
    (ObjectKey, PodDisruptionBudget),
);

fn budget_of(registry: &Registry, key: &ObjectKey, pod: &Pod) -> Result<Option<Found>> {
    let Some(row) = registry.resource("policy", "v1", "poddisruptionbudgets") else {
        return Ok(None);
    };
    let within = format!("{}/", namespace_of(key).unwrap_or_default());
    let mut found = None;
    for (key, entry) in row.cache.snapshot().range(ObjectKey::parse(&within)..) {
        if !key.as_str().starts_with(&within) {
            break;
        }
        let budget: PodDisruptionBudget =
            serde_json::from_slice(&entry.value).map_err(ApiError::internal)?;
        if !budget::covers(&budget, pod) {
            continue;
        }
        if found.is_some() {
            return Err(budget::several_budgets());
        }
        found = Some((key.clone(), budget));
    }
    Ok(found.map(|budget| (row, budget)))
}

/// Takes a disruption from the budget as it is when that is written: others do the same.
async fn spend(
    registry: &Registry,
    budgets: Resource<'_>,
    key: &ObjectKey,
    uid: Option<String>,
    pod: &str,
    options: &WriteOptions,
) -> Result<()> {
    let same = Precondition {
        uid,
        resource_version: None,
    };
    registry
        .update(budgets, key, Part::Status, options, |old, _| {
            let mut new = old.clone_box();
            let budget = typed::<PodDisruptionBudget>(&mut new)?;
            budget::take_disruption(budget, pod, jiff::Timestamp::now())?;
            Ok((new, same.clone(), Vec::new()))
        })
        .await?;
    Ok(())
}

/// Says in the pod why it ends, then ends it. Where no disruption was needed because of
/// what the pod was (`exact`), it has to be that still.
async fn remove(
    registry: &Registry,
    resource: Resource<'_>,
    key: &ObjectKey,
    deletion: &Deletion,
    seen: &Entry,
    exact: bool,
) -> Result<()> {
    let mut deletion = deletion.clone();
    if exact && deletion.resource_version.is_none() {
        deletion.resource_version = Some(seen.revision.to_string());
    }
    if !deletion.dry_run {
        let believed = Precondition {
            uid: deletion.uid.clone(),
            resource_version: deletion.resource_version.clone(),
        };
        let options = WriteOptions::default();
        let marked = registry
            .update(resource, key, Part::Status, &options, |old, _| {
                let mut new = old.clone_box();
                budget::mark(typed::<Pod>(&mut new)?, jiff::Timestamp::now());
                Ok((new, believed.clone(), Vec::new()))
            })
            .await?;
        // The mark was the last change that the client's precondition, or ours, allows.
        if deletion.resource_version.is_some() {
            deletion.resource_version = Some(marked.entry.revision.to_string());
        }
    }
    registry.delete(resource, key, &deletion).await?;
    Ok(())
}

fn check(resource: Resource<'_>, deletion: &Deletion, pod: &Pod, entry: &Entry) -> Result<()> {
    let believed = Precondition {
        uid: deletion.uid.clone(),
        resource_version: deletion.resource_version.clone(),
    };
    believed.check(resource, pod, entry)
}

fn pod_of(resource: Resource<'_>, entry: &Entry) -> Result<Pod> {
    let mut object = resource
        .kind
        .rules
        .decode_stored(&entry.value)
        .map_err(ApiError::internal)?;
    typed::<Pod>(&mut object).cloned()
}
