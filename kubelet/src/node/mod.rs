//! The node: its object ([`keeper`], [`status`]), its lease, its cgroups, and what the machine has ([`facts`]).

pub mod cgroup;
pub mod facts;
pub mod keeper;
mod lease;
pub mod status;
