//! ResourceClaimTemplate: what each pod of many asks for by itself.

use euston_api::field::{ErrorList, Path};
use euston_api::metadata;
use jiff::Timestamp;
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use serde_json::Value;

use super::devices::{default_claim, validate_claim};
use crate::kinds::cells;
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// The rules of ResourceClaimTemplates.
pub struct ResourceClaimTemplateStrategy;

impl Strategy for ResourceClaimTemplateStrategy {
    type Object = ResourceClaimTemplate;

    fn default(&self, template: &mut ResourceClaimTemplate) {
        if let Some(spec) = template.spec.as_mut().and_then(|s| s.spec.as_mut()) {
            default_claim(spec);
        }
    }

    fn validate(&self, template: &ResourceClaimTemplate) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(spec) = &template.spec else {
            return errors;
        };
        let path = Path::new("spec");
        if let Some(meta) = &spec.metadata {
            let path = path.child("metadata");
            metadata::validate_labels(meta.labels.as_ref(), &path.child("labels"), &mut errors);
            let annotations = meta.annotations.as_ref();
            metadata::validate_annotations(annotations, &path.child("annotations"), &mut errors);
        }
        if let Some(claim) = &spec.spec {
            validate_claim(claim, &path.child("spec"), &mut errors);
        }
        errors
    }

    fn validate_update(
        &self,
        new: &ResourceClaimTemplate,
        old: &ResourceClaimTemplate,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        errors.immutable(Path::new("spec"), &new.spec, &old.spec);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[NAME, AGE];
        COLUMNS
    }

    fn row(&self, template: &ResourceClaimTemplate, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&template.metadata),
            cells::age(&template.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update};
    use serde_json::json;

    #[test]
    fn a_template_is_checked_like_a_claim() {
        let template = |name: &str| {
            json!({"metadata": {"name": "t"}, "spec": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"devices": {"requests": [{"name": name, "exactly": {"deviceClassName": "g"}}]}},
            }})
        };
        check_create(&ResourceClaimTemplateStrategy, &template("a"), &[]);
        check_create(
            &ResourceClaimTemplateStrategy,
            &template("A"),
            &["spec.spec.devices.requests[0].name: Invalid value: \"A\""],
        );
        check_create(
            &ResourceClaimTemplateStrategy,
            &json!({"spec": {"metadata": {"labels": {"a b": ""}}}}),
            &["spec.metadata.labels: Invalid value: \"a b\""],
        );
        check_update(
            &ResourceClaimTemplateStrategy,
            &template("a"),
            &template("b"),
            &["spec: Invalid value: {"],
        );
        check_row(
            &ResourceClaimTemplateStrategy,
            &template("a"),
            0,
            &[("Name", "t")],
        );
    }
}
