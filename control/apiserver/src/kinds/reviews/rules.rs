//! SelfSubjectRulesReview: what may I do in a namespace? (`kubectl auth can-i --list`)

use euston_access::User;
use euston_api::field::{ErrorList, Path};
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{
    NonResourceRule, ResourceRule, SelfSubjectRulesReview, SubjectRulesReviewStatus,
};
use serde_json::Value;

use crate::access::Access;
use crate::kinds::cells;
use crate::registry::strategy::{Column, NAME, Strategy};

/// Answers SelfSubjectRulesReviews.
pub struct SelfSubjectRulesReviewStrategy;

impl Strategy for SelfSubjectRulesReviewStrategy {
    type Object = SelfSubjectRulesReview;

    fn validate(&self, review: &SelfSubjectRulesReview) -> ErrorList {
        let mut errors = ErrorList::new();
        if review.spec.namespace.as_deref().is_none_or(str::is_empty) {
            errors.required(Path::new("spec").child("namespace"), "");
        }
        errors
    }

    fn answer(&self, review: &mut SelfSubjectRulesReview, by: &User, access: &Access) {
        let namespace = review.spec.namespace.as_deref().unwrap_or_default();
        let mut status = SubjectRulesReviewStatus::default();
        for rule in access.rules_of(by, namespace) {
            if rule
                .non_resource_urls
                .as_ref()
                .is_some_and(|urls| !urls.is_empty())
            {
                status.non_resource_rules.push(NonResourceRule {
                    non_resource_urls: rule.non_resource_urls,
                    verbs: rule.verbs.clone(),
                });
            } else {
                status.resource_rules.push(ResourceRule {
                    api_groups: rule.api_groups,
                    resource_names: rule.resource_names,
                    resources: rule.resources,
                    verbs: rule.verbs,
                });
            }
        }
        if by.node().is_some() {
            status.incomplete = true;
            status.evaluation_error =
                Some("node authorizer does not support user rule resolution".to_owned());
        }
        review.status = Some(status);
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn row(&self, review: &SelfSubjectRulesReview, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&review.metadata)]
    }
}
