//! Services as rules of the kernel.
//!
//! [`view`] is what is read of Services and EndpointSlices, [`ranges`] of ServiceCIDRs; [`frontend`] decides what each port of a Service
//! leads to; [`objects`] says which nftables objects that takes; [`RuleSet`] holds it all and turns a change
//! into the smallest transaction.
//!
//! The shape in the kernel: a few fixed chains look a packet up in verdict maps (cost per packet does not grow
//! with Services), whose verdicts lead to chains that differ only in *how many* endpoints they choose from. The
//! endpoints themselves are elements of maps keyed by Service and slot. So a change of endpoints changes
//! elements, not rules, and costs the same with ten Services and with ten thousand.

pub mod frontend;
pub mod host_ports;
pub mod objects;
pub mod ranges;
mod ruleset;
pub mod view;

pub use frontend::{Frontend, FrontendKey, frontends};
pub use ruleset::{RuleSet, Update};

#[cfg(test)]
mod tests;
