//! StorageVersionMigration: the wish that objects of a kind be written anew.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::storagemigration::v1::{
    StorageVersionMigration, StorageVersionMigrationSpec, StorageVersionMigrationStatus,
};
use serde_json::Value;

use super::{cells, conditions};
use crate::registry::kind::{Kind, Subresource};
use crate::registry::strategy::{AGE, Column, NAME, Strategy, keeps_status_apart};

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    let row = Kind::new(
        StorageVersionMigrationStrategy,
        "storageversionmigration",
        false,
    );
    vec![row.with(&[Subresource::Status])]
}

/// The rules of StorageVersionMigrations.
pub struct StorageVersionMigrationStrategy;

impl Strategy for StorageVersionMigrationStrategy {
    type Object = StorageVersionMigration;

    fn prepare_for_create(&self, migration: &mut StorageVersionMigration) {
        migration.status = Some(StorageVersionMigrationStatus::default());
    }

    fn validate(&self, migration: &StorageVersionMigration) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = StorageVersionMigrationSpec::default();
        let of = &migration.spec.as_ref().unwrap_or(&default).resource;
        let path = Path::new("spec").child("resource");
        let resource = &of.resource;
        let here = path.child("resource");
        if resource.is_empty() {
            errors.required(here, "resource is required");
        } else {
            errors.invalid_each(&here, resource, names::dns1035_label(resource));
        }
        if !of.group.is_empty() {
            let problems = names::dns1123_subdomain(&of.group);
            errors.invalid_each(&path.child("group"), &of.group, problems);
        }
        errors
    }

    keeps_status_apart!();

    fn validate_update(
        &self,
        new: &StorageVersionMigration,
        old: &StorageVersionMigration,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        errors.immutable(Path::new("spec"), &new.spec, &old.spec);
        errors
    }

    fn validate_status_update(
        &self,
        new: &StorageVersionMigration,
        _old: &StorageVersionMigration,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        let conditions = new.status.as_ref().and_then(|s| s.conditions.as_deref());
        conditions::validate(conditions, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Resource", "What is written anew."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, migration: &StorageVersionMigration, now: Timestamp) -> Vec<Value> {
        let of = migration.spec.as_ref().map(|spec| &spec.resource);
        let of = of.map(|of| crate::error::qualified(&of.resource, &of.group));
        vec![
            cells::name(&migration.metadata),
            of.unwrap_or_default().into(),
            cells::age(&migration.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, check_update};
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_about_one_resource_for_ever() {
        let of = |group: &str, resource: &str| json!({"metadata": {"name": "m"}, "spec": {"resource": {"group": group, "resource": resource}}});
        let check = |value: Value, expected: &[&str]| {
            check_create(&StorageVersionMigrationStrategy, &value, expected);
        };
        check(of("apps", "deployments"), &[]);
        check(of("", "pods"), &[]);
        check(
            of("A", ""),
            &[
                "spec.resource.resource: Required value: resource is required",
                "spec.resource.group: Invalid value: \"A\"",
            ],
        );
        check_update(
            &StorageVersionMigrationStrategy,
            &of("apps", "deployments"),
            &of("apps", "replicasets"),
            &["spec: Invalid value: {"],
        );
        let row = [("Resource", "deployments.apps")];
        check_row(
            &StorageVersionMigrationStrategy,
            &of("apps", "deployments"),
            0,
            &row,
        );
    }
}
