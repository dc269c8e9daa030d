//! SelfSubjectReview: who am I?

use euston_access::User;
use euston_api::field::ErrorList;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, SelfSubjectReviewStatus};
use serde_json::Value;

use crate::access::{Access, user_info};
use crate::kinds::cells;
use crate::registry::strategy::{Column, NAME, Strategy};

/// Answers SelfSubjectReviews.
pub struct SelfSubjectReviewStrategy;

impl Strategy for SelfSubjectReviewStrategy {
    type Object = SelfSubjectReview;

    fn validate(&self, _review: &SelfSubjectReview) -> ErrorList {
        ErrorList::new()
    }

    fn answer(&self, review: &mut SelfSubjectReview, by: &User, _access: &Access) {
        review.status = Some(SelfSubjectReviewStatus {
            user_info: Some(user_info(by)),
        });
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn row(&self, review: &SelfSubjectReview, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&review.metadata)]
    }
}
