//! IngressClass: which controller serves an Ingress.

use euston_api::field::{ErrorList, Path};
use euston_api::names;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{
    IngressClass, IngressClassParametersReference, IngressClassSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::validate_reference;
use crate::kinds::cells;
use crate::kinds::pod_spec::text;
use crate::registry::strategy::{AGE, Column, NAME, Strategy, counts_spec_changes};

/// Annotation of the class of Ingresses that name none.
const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

const CONTROLLER_BYTES_MAX: usize = 250;
const CLUSTER: &str = "Cluster";
const NAMESPACE: &str = "Namespace";

/// True for the class of Ingresses that name none.
pub fn is_default(meta: &ObjectMeta) -> bool {
    let annotations = meta.annotations.as_ref();
    annotations
        .and_then(|a| a.get(IS_DEFAULT))
        .is_some_and(|v| v == "true")
}

/// The rules of IngressClasses.
pub struct IngressClassStrategy;

impl Strategy for IngressClassStrategy {
    type Object = IngressClass;

    fn default(&self, class: &mut IngressClass) {
        if let Some(parameters) = class.spec.as_mut().and_then(|s| s.parameters.as_mut()) {
            parameters.scope.get_or_insert_with(|| CLUSTER.to_owned());
        }
    }

    fn validate(&self, class: &IngressClass) -> ErrorList {
        let mut errors = ErrorList::new();
        let default = IngressClassSpec::default();
        let spec = class.spec.as_ref().unwrap_or(&default);
        let path = Path::new("spec");
        let controller = spec.controller.as_deref().unwrap_or_default();
        let here = path.child("controller");
        if controller.len() > CONTROLLER_BYTES_MAX {
            errors.too_long(here.clone(), CONTROLLER_BYTES_MAX);
        }
        if controller.is_empty() {
            errors.required(here, "");
        } else {
            errors.invalid_each(&here, controller, names::domain_prefixed_path(controller));
        }
        if let Some(parameters) = &spec.parameters {
            validate_parameters(parameters, &path.child("parameters"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &IngressClass, old: &IngressClass) -> ErrorList {
        let mut errors = ErrorList::new();
        let controller = |class: &IngressClass| {
            let spec = class.spec.as_ref();
            spec.and_then(|s| s.controller.clone()).unwrap_or_default()
        };
        let path = Path::new("spec").child("controller");
        errors.immutable(path, &controller(new), &controller(old));
        errors
    }

    counts_spec_changes!();

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Controller", "The controller that handles this class."),
            Column::string(
                "Parameters",
                "A reference to a resource with more settings.",
            ),
            AGE,
        ];
        COLUMNS
    }

    fn row(&self, class: &IngressClass, now: Timestamp) -> Vec<Value> {
        let default = IngressClassSpec::default();
        let spec = class.spec.as_ref().unwrap_or(&default);
        let parameters = spec.parameters.as_ref().map(|p| {
            let group = text(&p.api_group).map(|g| format!(".{g}"));
            format!("{}{}/{}", p.kind, group.unwrap_or_default(), p.name)
        });
        vec![
            cells::name(&class.metadata),
            spec.controller.as_deref().unwrap_or_default().into(),
            cells::or_none(parameters.as_deref()),
            cells::age(&class.metadata, now),
        ]
    }
}

fn validate_parameters(
    parameters: &IngressClassParametersReference,
    path: &Path,
    errors: &mut ErrorList,
) {
    let group = text(&parameters.api_group);
    validate_reference(group, &parameters.kind, &parameters.name, path, errors);
    let (scope, here) = (path.child("scope"), path.child("namespace"));
    match (parameters.scope.as_deref(), &parameters.namespace) {
        (None, _) => errors.required(scope, ""),
        (Some(CLUSTER), Some(_)) => {
            errors.forbidden(here, "`parameters.scope` is set to 'Cluster'");
        }
        (Some(NAMESPACE), None) => {
            errors.required(here, "`parameters.scope` is set to 'Namespace'");
        }
        (Some(NAMESPACE), Some(namespace)) => {
            errors.invalid_each(&here, namespace, names::dns1123_label(namespace));
        }
        (Some(CLUSTER), None) => {}
        (Some(other), _) => errors.not_supported(scope, other, &[CLUSTER, NAMESPACE]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update, created};
    use serde_json::json;

    #[test]
    fn a_controller_has_a_domain() {
        let check = |spec: Value, expected: &[&str]| {
            check_create(&IngressClassStrategy, &json!({"spec": spec}), expected);
        };
        check(json!({"controller": "example.com/ingress"}), &[]);
        check(json!({}), &["spec.controller: Required value"]);
        let rule = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        for bad in ["example", "/a", "a/"] {
            let expected = format!("spec.controller: Invalid value: {bad:?}: {rule}");
            check(json!({"controller": bad}), &[&expected]);
        }
        check(
            json!({"controller": "A/b"}),
            &["spec.controller: Invalid value: \"A/b\": a lowercase RFC 1123 subdomain"],
        );
        check(
            json!({"controller": "a/b c"}),
            &["spec.controller: Invalid value: \"a/b c\": Invalid path"],
        );
        check(
            json!({"controller": format!("a/{}", "b".repeat(249))}),
            &["spec.controller: Too long: may not be more than 250 bytes"],
        );
    }

    #[test]
    fn parameters_are_in_one_place() {
        let check = |parameters: Value, expected: &[&str]| {
            let spec = json!({"controller": "a/b", "parameters": parameters});
            check_create(&IngressClassStrategy, &json!({"spec": spec}), expected);
        };
        let here = |field: &str, words: &str| format!("spec.parameters.{field}: {words}");
        check(json!({"kind": "K", "name": "n"}), &[]);
        check(
            json!({"kind": "K", "name": "n", "scope": "Namespace", "namespace": "a"}),
            &[],
        );
        check(
            json!({"kind": "", "name": ""}),
            &[
                &here("kind", "Required value: kind is required"),
                &here("name", "Required value: name is required"),
            ],
        );
        check(
            json!({"kind": "K", "name": "n", "scope": "Namespace"}),
            &[&here(
                "namespace",
                "Required value: `parameters.scope` is set to 'Namespace'",
            )],
        );
        check(
            json!({"kind": "K", "name": "n", "namespace": "a"}),
            &[&here(
                "namespace",
                "Forbidden: `parameters.scope` is set to 'Cluster'",
            )],
        );
        check(
            json!({"kind": "K", "name": "n", "scope": "World"}),
            &[&here(
                "scope",
                "Unsupported value: \"World\": supported values: \"Cluster\", \"Namespace\"",
            )],
        );
        let class =
            json!({"spec": {"controller": "a/b", "parameters": {"kind": "K", "name": "n"}}});
        let made = serde_json::to_value(created(&IngressClassStrategy, &class)).unwrap();
        assert_eq!(made["spec"]["parameters"]["scope"], "Cluster");
    }

    #[test]
    fn the_controller_stays() {
        check_update(
            &IngressClassStrategy,
            &json!({"spec": {"controller": "a/b"}}),
            &json!({"spec": {"controller": "a/c"}}),
            &["spec.controller: Invalid value: \"a/c\": field is immutable"],
        );
        let value = json!({"metadata": {"name": "c"}, "spec": {
            "controller": "a/b", "parameters": {"apiGroup": "g.io", "kind": "K", "name": "n"},
        }});
        let expected = [
            ("Name", "c"),
            ("Controller", "a/b"),
            ("Parameters", "K.g.io/n"),
        ];
        check_row(&IngressClassStrategy, &value, 0, &expected);
        let bare = json!({"spec": {"controller": "a/b"}});
        check_row(&IngressClassStrategy, &bare, 0, &[("Parameters", "<none>")]);
    }
}
