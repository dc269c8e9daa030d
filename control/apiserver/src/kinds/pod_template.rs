//! PodTemplate: a template on its own, for controllers that refer to one.

use euston_api::field::{ErrorList, Path};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PodTemplate, PodTemplateSpec};
use serde_json::Value;

use super::{cells, pod_spec, workload};
use crate::registry::strategy::{AGE, Column, NAME, Strategy};

/// The rules of PodTemplates.
pub struct PodTemplateStrategy;

impl Strategy for PodTemplateStrategy {
    type Object = PodTemplate;

    fn default(&self, object: &mut PodTemplate) {
        workload::default_template(object.template.get_or_insert_default());
    }

    fn validate(&self, object: &PodTemplate) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = PodTemplateSpec::default();
        let template = object.template.as_ref().unwrap_or(&default);
        pod_spec::validate_template(template, &Path::new("template"), &mut errors);
        errors
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn bumps_generation(&self, new: &PodTemplate, old: &PodTemplate) -> bool {
        new.template != old.template
    }

    fn warnings(&self, object: &PodTemplate) -> Vec<String> {
        workload::template_warnings(object.template.as_ref(), &Path::default())
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Containers", "Names of each container in the template."),
            Column::string(
                "Images",
                "Images referenced by each container in the template.",
            ),
            Column::string("Pod Labels", "The labels for the pod template."),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &PodTemplate, now: Timestamp) -> Vec<Value> {
        let template = object.template.as_ref();
        let [names, images] = cells::containers(workload::containers(template));
        let meta = template.and_then(|t| t.metadata.as_ref());
        vec![
            cells::name(&object.metadata),
            names,
            images,
            cells::labels(meta.and_then(|m| m.labels.as_ref())),
            cells::age(&object.metadata, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_create, check_row, created};
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_held_to_what_pods_are() {
        let check = |value: Value, expected: &[&str]| {
            check_create(&PodTemplateStrategy, &value, expected);
        };
        let container = json!({"name": "a", "image": "app:v1"});
        check(
            json!({"template": {"spec": {"containers": [container]}}}),
            &[],
        );
        check(
            json!({"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}}),
            &[],
        );
        check(json!({}), &["template.spec.containers: Required value"]);
        check(
            json!({"template": {"metadata": {"labels": {"a b": "c"}}, "spec": {"containers": [{"image": "x"}]}}}),
            &[
                "template.labels: Invalid value: \"a b\": name part",
                "template.spec.containers[0].name: Required value",
            ],
        );
    }

    #[test]
    fn its_row_and_its_generation() {
        let value = json!({"metadata": {"name": "t"}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "a", "image": "app:v1"}]},
        }});
        check_row(
            &PodTemplateStrategy,
            &value,
            0,
            &[
                ("Name", "t"),
                ("Containers", "a"),
                ("Images", "app:v1"),
                ("Pod Labels", "app=web"),
            ],
        );
        let old = created(&PodTemplateStrategy, &value);
        let mut new = old.clone();
        new.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        assert!(!PodTemplateStrategy.bumps_generation(&new, &old));
        new.template = None;
        assert!(PodTemplateStrategy.bumps_generation(&new, &old));
    }
}
