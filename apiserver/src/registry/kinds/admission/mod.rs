//! What is asked before an object is taken: webhooks and policies (`pkg/apis/admissionregistration`).

pub mod matching;
pub mod mutating_policy;
pub mod validating_policy;
pub mod webhooks;
