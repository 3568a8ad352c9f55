//! What the end-to-end tests share: the testbed that `cargo xtask test` brought up, `rctl` and
//! `kubectl` for it, clients from PyPI, a load loop, terminals, and waiting by watch. Tests here need real etcd, containerd and several nodes;
//! whatever can be tested closer to its code is tested there.

pub mod bed;
pub mod engine;
pub mod follow;
pub mod kubectl;
pub mod load;
pub mod python;
pub mod sctp;
pub mod terminal;
pub mod wait;
pub mod workspace;
