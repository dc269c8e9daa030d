//! TokenReview: whose token is this?

use euston_access::User;
use euston_api::field::ErrorList;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus};
use serde_json::Value;

use crate::access::{Access, user_info};
use crate::kinds::cells;
use crate::registry::strategy::{Column, NAME, Strategy};

/// Answers TokenReviews.
pub struct TokenReviewStrategy;

impl Strategy for TokenReviewStrategy {
    type Object = TokenReview;

    fn validate(&self, review: &TokenReview) -> ErrorList {
        let mut errors = ErrorList::new();
        if review.spec.token.is_empty() {
            let path = euston_api::field::Path::new("spec").child("token");
            errors.required(path, "token is required for TokenReview in authentication");
        }
        errors
    }

    fn answer(&self, review: &mut TokenReview, _by: &User, access: &Access) {
        let wanted = review.spec.audiences.as_deref().filter(|a| !a.is_empty());
        review.status = Some(match access.tokens().review(&review.spec.token, wanted) {
            Ok((user, audiences)) => TokenReviewStatus {
                authenticated: Some(true),
                audiences: Some(audiences),
                user: Some(user_info(&user)),
                error: None,
            },
            Err(error) => TokenReviewStatus {
                authenticated: Some(false),
                error: Some(format!("[invalid bearer token, {error}]")),
                user: Some(user_info(&User::default())),
                audiences: None,
            },
        });
    }

    fn columns(&self) -> &'static [Column] {
        &[NAME]
    }

    fn row(&self, review: &TokenReview, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&review.metadata)]
    }
}
