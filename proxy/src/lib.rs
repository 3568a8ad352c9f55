//! The node's network: Services in nftables, pod routes and CNI configuration, node-local DNS.
//!
//! Decisions are pure and live in [`services`], [`node`], [`dns`] and [`conntrack`]; [`nft`] is the typed
//! transaction that carries them into the kernel; [`sync`] runs it all. The binary is wiring.

pub mod acknowledge;
pub mod beside;
pub mod conntrack;
pub mod copies;
pub mod dns;
pub mod flows;
pub mod nft;
pub mod node;
pub mod serve;
pub mod services;
pub mod sync;
