//! The definition itself: its defaults, its rules, its names, what it says of itself.

mod naming;
mod structural;
mod validation;
mod versions;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, CustomResourceDefinitionCondition,
    CustomResourceDefinitionSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub use naming::{Taken, accept};
pub use validation::{validate, validate_status_update, validate_update};
pub use versions::sorted as sorted_versions;

/// Holds a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The condition that says that the objects are served.
pub const ESTABLISHED: &str = "Established";
/// The condition that says that no other definition has its names.
pub const NAMES_ACCEPTED: &str = "NamesAccepted";
/// The condition of a definition whose objects are being deleted.
pub const TERMINATING: &str = "Terminating";

/// Fills in Kubernetes' defaults.
pub fn default(spec: &mut CustomResourceDefinitionSpec) {
    let names = &mut spec.names;
    if names.singular.as_deref().unwrap_or_default().is_empty() {
        names.singular = Some(names.kind.to_lowercase());
    }
    if names.list_kind.as_deref().unwrap_or_default().is_empty() && !names.kind.is_empty() {
        names.list_kind = Some(format!("{}List", names.kind));
    }
    let conversion = spec
        .conversion
        .get_or_insert_with(|| CustomResourceConversion {
            strategy: NO_CONVERSION.to_owned(),
            webhook: None,
        });
    if conversion.strategy.is_empty() {
        conversion.strategy = NO_CONVERSION.to_owned();
    }
    let client = conversion
        .webhook
        .as_mut()
        .and_then(|w| w.client_config.as_mut());
    if let Some(service) = client.and_then(|c| c.service.as_mut()) {
        service.port.get_or_insert(443);
    }
}

/// The conversion that changes `apiVersion` alone.
pub const NO_CONVERSION: &str = "None";

/// The version that objects are stored in.
pub fn storage_version(spec: &CustomResourceDefinitionSpec) -> Option<&str> {
    let stored = spec.versions.iter().find(|version| version.storage);
    stored.map(|version| version.name.as_str())
}

/// Notes that objects may from now on be stored in the storage version.
pub fn note_storage_version(definition: &mut CustomResourceDefinition) {
    let Some(version) = storage_version(&definition.spec).map(str::to_owned) else {
        return;
    };
    let status = definition.status.get_or_insert_default();
    let stored = status.stored_versions.get_or_insert_default();
    if !stored.contains(&version) {
        stored.push(version);
    }
}

/// True if a condition holds.
pub fn is_true(definition: &CustomResourceDefinition, condition: &str) -> bool {
    let conditions = definition
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == condition && c.status == "True")
}

/// Sets a condition; its time is that of the last change of its status.
pub fn set_condition(
    definition: &mut CustomResourceDefinition,
    of: &str,
    holds: bool,
    (reason, message): (&str, &str),
    now: &Time,
) {
    let status = if holds { "True" } else { "False" };
    let conditions = definition
        .status
        .get_or_insert_default()
        .conditions
        .get_or_insert_default();
    let mut new = CustomResourceDefinitionCondition {
        type_: of.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(now.clone()),
        ..CustomResourceDefinitionCondition::default()
    };
    match conditions.iter_mut().find(|c| c.type_ == of) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// Marks a definition whose deletion was asked for.
pub fn mark_terminating(definition: &mut CustomResourceDefinition, now: &Time) {
    let finalizers = definition.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    let why = (
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    );
    set_condition(definition, TERMINATING, true, why, now);
}
