//! The developer commands: `cargo xtask build`, `up`, `down`, `test`, `machine`, `bench`, and what the container images are
//! made with: `stage`, `certificates`.
//!
//! The testbed is a whole cluster on one machine: etcd, the control plane, and nodes that are a
//! network and a mount namespace each. Everything it writes lies below one folder, and everything
//! else it makes (links, namespaces, cgroups, rules) carries a name that derives from that folder,
//! so that several testbeds can live side by side and `down` finds all of one, also after a crash.
//!
//! It is a library too, because the end-to-end tests bring up their testbed with it.

pub mod bench;
pub mod cargo;
pub mod certificates;
pub mod cgroup;
pub mod command;
pub mod control_plane;
pub mod demo;
pub mod down;
pub mod etcd;
pub mod fuzz;
pub mod images;
pub mod instance;
pub mod join;
pub mod kubeconfig;
pub mod machine;
pub mod network;
pub mod node;
pub mod packages;
pub mod pki;
pub mod processes;
pub mod progress;
pub mod rctl;
pub mod stage;
pub mod test;
pub mod up;
