//! The node: its object ([`keeper`], [`status`]), its lease, its cgroups, what the machine has
//! ([`facts`]) and what of it pods may ask for ([`allocatable`]).

pub mod allocatable;
pub mod cgroup;
pub mod facts;
pub mod keeper;
mod lease;
pub mod status;
pub mod view;
