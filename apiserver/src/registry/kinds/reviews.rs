//! Questions about identity and rights. They have no rules of their own beyond their shape: who answers them checks.

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};

use crate::registry::strategy::Strategy;

/// The strategy of TokenReview.
pub struct TokenReviews;
/// The strategy of SelfSubjectReview.
pub struct SelfSubjectReviews;
/// The strategy of SubjectAccessReview.
pub struct SubjectAccessReviews;
/// The strategy of LocalSubjectAccessReview.
pub struct LocalSubjectAccessReviews;
/// The strategy of SelfSubjectAccessReview.
pub struct SelfSubjectAccessReviews;
/// The strategy of SelfSubjectRulesReview.
pub struct SelfSubjectRulesReviews;

impl Strategy for TokenReviews {
    type Object = TokenReview;
}

impl Strategy for SelfSubjectReviews {
    type Object = SelfSubjectReview;
}

impl Strategy for SubjectAccessReviews {
    type Object = SubjectAccessReview;
}

impl Strategy for LocalSubjectAccessReviews {
    type Object = LocalSubjectAccessReview;
}

impl Strategy for SelfSubjectAccessReviews {
    type Object = SelfSubjectAccessReview;
}

impl Strategy for SelfSubjectRulesReviews {
    type Object = SelfSubjectRulesReview;
}
