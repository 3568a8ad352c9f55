//! The groups `authentication.k8s.io` and `authorization.k8s.io`: questions that are answered and not stored.

use super::{row, words};
use crate::registry::kinds::reviews;
use crate::registry::{Review, Row};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(&reviews::SelfSubjectReviews, "", words("selfsubjectreview", &[], &[])).asking(Review::SelfSubject),
        row(&reviews::TokenReviews, "", words("tokenreview", &[], &[])).asking(Review::Token),
        row(&reviews::LocalSubjectAccessReviews, "", words("localsubjectaccessreview", &[], &[]))
            .asking(Review::LocalSubjectAccess),
        row(&reviews::SelfSubjectAccessReviews, "", words("selfsubjectaccessreview", &[], &[]))
            .asking(Review::SelfSubjectAccess),
        row(&reviews::SelfSubjectRulesReviews, "", words("selfsubjectrulesreview", &[], &[]))
            .asking(Review::SelfSubjectRules),
        row(&reviews::SubjectAccessReviews, "", words("subjectaccessreview", &[], &[])).asking(Review::SubjectAccess),
    ]
}
