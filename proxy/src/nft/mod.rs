//! nftables as typed transactions.
//!
//! [`model`] has the objects (sets, chains, rules, elements) and prints each in nft's own syntax;
//! [`Transaction`] collects changes, checks each when it is added, and is applied whole or not at all;
//! [`kernel`] hands it to the kernel; [`FakeTables`] is the kernel's twin in memory, which tests dump and
//! walk packets through ([`trace`]); [`removal`] tells when somebody else removes it. Nothing here knows what a Service is.

mod fake;
pub mod kernel;
pub mod model;
pub mod removal;
pub mod trace;
mod transaction;

pub use fake::{FakeError, FakeTables};
pub use kernel::{Existing, Kernel, KernelError, Nft};
pub use transaction::{Command, InvalidObject, Transaction};
