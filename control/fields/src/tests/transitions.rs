//! From client-side to server-side apply.

use serde_json::{Value, json};

use super::story::Story;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What `kubectl apply` leaves: a spec, and the annotation that says it.
fn applied_by_client(spec: Value) -> String {
    let config =
        json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec});
    let mut object = config.clone();
    object["metadata"]["annotations"] = json!({ANNOTATION: config.to_string()});
    object.to_string()
}

#[test]
fn what_the_same_person_applied_before_is_no_conflict() {
    let before = applied_by_client(json!({"replicas": 1, "name": "x"}));
    let story = Story::new()
        .update("kubectl-client-side-apply", &before)
        .apply("kubectl", r#"{"replicas":2,"name":"x"}"#)
        .is(r#"{"replicas":2,"name":"x"}"#)
        .owns("kubectl", &[".name", ".replicas"]);
    let annotation = &story.object.as_ref().unwrap()["metadata"]["annotations"][ANNOTATION];
    let kept: Value = serde_json::from_str(annotation.as_str().unwrap()).unwrap();
    assert_eq!(kept["spec"], json!({"replicas": 2, "name": "x"}));
    assert_eq!(kept["metadata"], json!({"name": "t"}));
}

#[test]
fn what_somebody_changed_since_is_a_conflict() {
    let before = applied_by_client(json!({"replicas": 1, "name": "x"}));
    let changed = before.replace(r#""replicas":1}"#, r#""replicas":5}"#);
    assert_ne!(before, changed);
    Story::new()
        .update("kubectl-client-side-apply", &before)
        .update("autoscaler", &changed)
        .conflict(
            "kubectl",
            r#"{"replicas":2,"name":"y"}"#,
            &[("autoscaler", ".replicas")],
        )
        .conflict(
            "other",
            r#"{"replicas":2,"name":"y"}"#,
            &[
                ("autoscaler", ".replicas"),
                ("kubectl-client-side-apply", ".name"),
            ],
        );
}

#[test]
fn an_annotation_that_says_nothing_of_this_object_is_ignored() {
    for text in [
        "",
        "{",
        "[]",
        r#"{"apiVersion":"v2","spec":{"replicas":1}}"#,
        r#"{"apiVersion":"v1","spec":{"no":1}}"#,
    ] {
        let object = json!({
            "apiVersion": "v1", "kind": "Thing",
            "metadata": {"name": "t", "annotations": {ANNOTATION: text}}, "spec": {"replicas": 1},
        });
        Story::new()
            .update("kubectl-client-side-apply", &object.to_string())
            .conflict(
                "kubectl",
                r#"{"replicas":2}"#,
                &[("kubectl-client-side-apply", ".replicas")],
            );
    }
}
