//! SelfSubjectAccessReview, SubjectAccessReview, LocalSubjectAccessReview: may I, may they?
//! Follows `k8s.io/kubernetes/pkg/apis/authorization/validation`.

use euston_access::{Action, Asked, User};
use euston_api::field::{ErrorList, Path};
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview,
    SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use serde_json::Value;

use crate::access::Access;
use crate::kinds::cells;
use crate::registry::strategy::{Column, NAME, Strategy};

fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

/// What a review asks about; `None` if it names neither or both.
fn asked<'a>(
    resource: Option<&'a ResourceAttributes>,
    path: Option<&'a NonResourceAttributes>,
) -> Option<Asked<'a>> {
    match (resource, path) {
        (Some(of), None) => Some(Asked::Resource(Action {
            verb: text(&of.verb),
            group: text(&of.group),
            resource: text(&of.resource),
            subresource: text(&of.subresource),
            namespace: text(&of.namespace),
            name: text(&of.name),
            fields: "",
        })),
        (None, Some(of)) => Some(Asked::Path {
            verb: text(&of.verb),
            path: text(&of.path),
        }),
        _ => None,
    }
}

fn answer(
    access: &Access,
    user: &User,
    asked: Option<Asked<'_>>,
) -> Option<SubjectAccessReviewStatus> {
    let decision = access.decide(user, &asked?);
    Some(SubjectAccessReviewStatus {
        allowed: decision.allowed,
        reason: Some(decision.reason).filter(|r| !r.is_empty()),
        ..SubjectAccessReviewStatus::default()
    })
}

fn validate_one(
    resource: Option<&ResourceAttributes>,
    path: Option<&NonResourceAttributes>,
    errors: &mut ErrorList,
) {
    let at = Path::new("spec");
    match (resource, path) {
        (Some(_), Some(of)) => errors.invalid(
            at.child("nonResourceAttributes"),
            of,
            "cannot be specified in combination with resourceAttributes",
        ),
        (None, None) => errors.invalid(
            at.child("resourceAttributes"),
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        _ => {}
    }
}

fn validate(spec: &SubjectAccessReviewSpec) -> ErrorList {
    let mut errors = ErrorList::new();
    let (resource, path) = (&spec.resource_attributes, &spec.non_resource_attributes);
    validate_one(resource.as_ref(), path.as_ref(), &mut errors);
    if text(&spec.user).is_empty() && spec.groups.as_ref().is_none_or(Vec::is_empty) {
        let why = "at least one of user or group must be specified";
        errors.invalid(Path::new("spec").child("user"), text(&spec.user), why);
    }
    errors
}

fn user(spec: &SubjectAccessReviewSpec) -> User {
    User {
        name: text(&spec.user).to_owned(),
        uid: text(&spec.uid).to_owned(),
        groups: spec.groups.clone().unwrap_or_default(),
        extra: spec.extra.clone().unwrap_or_default(),
    }
}

fn answer_about(
    access: &Access,
    spec: &SubjectAccessReviewSpec,
) -> Option<SubjectAccessReviewStatus> {
    let (resource, path) = (&spec.resource_attributes, &spec.non_resource_attributes);
    answer(access, &user(spec), asked(resource.as_ref(), path.as_ref()))
}

/// Answers SelfSubjectAccessReviews.
pub struct SelfSubjectAccessReviewStrategy;

impl Strategy for SelfSubjectAccessReviewStrategy {
    type Object = SelfSubjectAccessReview;

    fn validate(&self, review: &SelfSubjectAccessReview) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = &review.spec;
        let (resource, path) = (&spec.resource_attributes, &spec.non_resource_attributes);
        validate_one(resource.as_ref(), path.as_ref(), &mut errors);
        errors
    }

    fn answer(&self, review: &mut SelfSubjectAccessReview, by: &User, access: &Access) {
        let spec = &review.spec;
        let (resource, path) = (&spec.resource_attributes, &spec.non_resource_attributes);
        review.status = answer(access, by, asked(resource.as_ref(), path.as_ref()));
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn row(&self, review: &SelfSubjectAccessReview, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&review.metadata)]
    }
}

/// Answers SubjectAccessReviews.
pub struct SubjectAccessReviewStrategy;

impl Strategy for SubjectAccessReviewStrategy {
    type Object = SubjectAccessReview;

    fn validate(&self, review: &SubjectAccessReview) -> ErrorList {
        validate(&review.spec)
    }

    fn answer(&self, review: &mut SubjectAccessReview, _by: &User, access: &Access) {
        review.status = answer_about(access, &review.spec);
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn row(&self, review: &SubjectAccessReview, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&review.metadata)]
    }
}

/// Answers LocalSubjectAccessReviews, which are about one namespace: so that whoever manages it may ask.
pub struct LocalSubjectAccessReviewStrategy;

impl Strategy for LocalSubjectAccessReviewStrategy {
    type Object = LocalSubjectAccessReview;

    fn validate(&self, review: &LocalSubjectAccessReview) -> ErrorList {
        let mut errors = validate(&review.spec);
        let own = text(&review.metadata.namespace);
        let at = Path::new("spec");
        match &review.spec.resource_attributes {
            Some(of) if text(&of.namespace) != own => errors.invalid(
                at.child("resourceAttributes").child("namespace"),
                text(&of.namespace),
                "must match metadata.namespace",
            ),
            _ => {}
        }
        if review.spec.non_resource_attributes.is_some() {
            let why = "disallowed on this kind of request";
            let of = &review.spec.non_resource_attributes;
            errors.invalid(at.child("nonResourceAttributes"), of, why);
        }
        errors
    }

    fn answer(&self, review: &mut LocalSubjectAccessReview, _by: &User, access: &Access) {
        review.status = answer_about(access, &review.spec);
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn row(&self, review: &LocalSubjectAccessReview, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&review.metadata)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::check_create;
    use serde_json::json;

    #[test]
    fn a_review_asks_about_one_thing_and_somebody() {
        let neither = "spec.resourceAttributes: Invalid value: null: exactly one of";
        let both = "spec.nonResourceAttributes: Invalid value: ";
        let nobody = "spec.user: Invalid value: \"\": at least one of user or group";
        let one = |spec: Value, expected: &[&str]| {
            check_create(
                &SelfSubjectAccessReviewStrategy,
                &json!({ "spec": spec }),
                expected,
            );
        };
        one(json!({"resourceAttributes": {"verb": "get"}}), &[]);
        one(
            json!({"nonResourceAttributes": {"verb": "get", "path": "/"}}),
            &[],
        );
        one(json!({}), &[neither]);
        one(
            json!({"resourceAttributes": {}, "nonResourceAttributes": {}}),
            &[both],
        );
        check_create(&SelfSubjectAccessReviewStrategy, &json!({}), &[neither]);

        let two = |spec: Value, expected: &[&str]| {
            check_create(
                &SubjectAccessReviewStrategy,
                &json!({ "spec": spec }),
                expected,
            );
        };
        two(
            json!({"user": "a", "resourceAttributes": {"verb": "get"}}),
            &[],
        );
        two(
            json!({"groups": ["a"], "resourceAttributes": {"verb": "get"}}),
            &[],
        );
        two(json!({"resourceAttributes": {"verb": "get"}}), &[nobody]);
        two(json!({}), &[neither, nobody]);
    }

    #[test]
    fn a_local_review_is_about_its_namespace() {
        let check = |spec: Value, expected: &[&str]| {
            let review = json!({"metadata": {"namespace": "n"}, "spec": spec});
            check_create(&LocalSubjectAccessReviewStrategy, &review, expected);
        };
        check(
            json!({"user": "a", "resourceAttributes": {"namespace": "n"}}),
            &[],
        );
        check(
            json!({"user": "a", "resourceAttributes": {"namespace": "m"}}),
            &[
                "spec.resourceAttributes.namespace: Invalid value: \"m\": must match metadata.namespace",
            ],
        );
        check(
            json!({"user": "a", "nonResourceAttributes": {"path": "/"}}),
            &["spec.nonResourceAttributes: Invalid value: {\"path\":\"/\"}: disallowed"],
        );
    }
}
