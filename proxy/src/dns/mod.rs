//! Node-local DNS: the cluster's names from the same watch as the rules, everything else from the node's resolvers.
//!
//! [`zone`] decides what a name of the cluster means; [`message`] turns bytes into a question and the decision
//! into bytes; [`forward`] asks upstream and remembers; [`server`] has the sockets. Records follow the
//! Kubernetes DNS-based service discovery specification 1.1.0.

mod cache;
pub mod forward;
pub mod message;
pub mod resolv;
pub mod server;
pub mod zone;

pub use server::{DnsError, Server};
pub use zone::{Answer, Zone};
