//! Questions that are answered and not kept: who am I, may I, may they.

mod access;
mod rules;
mod token;
mod who;

use crate::registry::kind::Kind;

/// The rows of the table.
pub fn rows() -> Vec<Kind> {
    vec![
        Kind::new(token::TokenReviewStrategy, "tokenreview", false).asked(),
        Kind::new(who::SelfSubjectReviewStrategy, "selfsubjectreview", false).asked(),
        Kind::new(
            access::SelfSubjectAccessReviewStrategy,
            "selfsubjectaccessreview",
            false,
        )
        .asked(),
        Kind::new(
            access::SubjectAccessReviewStrategy,
            "subjectaccessreview",
            false,
        )
        .asked(),
        Kind::new(
            access::LocalSubjectAccessReviewStrategy,
            "localsubjectaccessreview",
            true,
        )
        .asked(),
        Kind::new(
            rules::SelfSubjectRulesReviewStrategy,
            "selfsubjectrulesreview",
            false,
        )
        .asked(),
    ]
}
