//! The group `certificates.k8s.io`.

use crate::registry::kinds::certificate_request::CertificateRequests;
use crate::registry::{Row, SubresourceAction};

use super::{PART, row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            &CertificateRequests,
            "/registry/certificatesigningrequests/",
            words("certificatesigningrequest", &["csr"], &[]),
        )
        .with("approval", SubresourceAction::Approval, None, PART)
        .with_status(),
    ]
}
