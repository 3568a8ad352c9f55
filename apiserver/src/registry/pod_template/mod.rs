//! What all kinds with a pod template share: defaults and rules of a pod's specification.

pub mod defaults;
pub mod quality_of_service;
pub mod validation;
pub mod warnings;
