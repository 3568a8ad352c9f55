//! The group `admissionregistration.k8s.io`.

use crate::registry::Row;
use crate::registry::kinds::admission::{mutating_policy, validating_policy, webhooks};

use super::{row, words};

const CATEGORIES: &[&str] = &["api-extensions"];

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            &mutating_policy::MutatingPolicies,
            "/registry/mutatingadmissionpolicies/",
            words("mutatingadmissionpolicy", &[], CATEGORIES),
        ),
        row(
            &mutating_policy::MutatingPolicyBindings,
            "/registry/mutatingadmissionpolicybindings/",
            words("mutatingadmissionpolicybinding", &[], CATEGORIES),
        ),
        row(
            &webhooks::MutatingWebhooks,
            "/registry/mutatingwebhookconfigurations/",
            words("mutatingwebhookconfiguration", &[], CATEGORIES),
        ),
        row(
            &validating_policy::ValidatingPolicies,
            "/registry/validatingadmissionpolicies/",
            words("validatingadmissionpolicy", &[], CATEGORIES),
        )
        .with_status(),
        row(
            &validating_policy::ValidatingPolicyBindings,
            "/registry/validatingadmissionpolicybindings/",
            words("validatingadmissionpolicybinding", &[], CATEGORIES),
        ),
        row(
            &webhooks::ValidatingWebhooks,
            "/registry/validatingwebhookconfigurations/",
            words("validatingwebhookconfiguration", &[], CATEGORIES),
        ),
    ]
}
