//! A small operator as its users write them, with kube-rs: a custom resource, a controller that
//! applies children and reports a status, a finalizer that cleans up what lies elsewhere, events,
//! and a lease that lets one copy work. The end-to-end tests run it against a testbed.

pub mod controller;
pub mod leader;
pub mod site;
