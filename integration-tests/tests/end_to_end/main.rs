//! The end-to-end tests: what a user of the three-node testbed sees, through `rctl`, `kubectl`, a
//! Python client, and requests from outside and inside. They need the real parts, all at once,
//! because what they prove is that the parts work together; `cargo xtask test` runs them, one after
//! the other, on one cluster. The names sort those that hurt the cluster to the end.

mod clients;
mod command_line;
mod configuration;
mod demo;
mod evictions;
mod extensions;
mod failures;
mod hooks;
mod identity;
mod lifecycle;
mod logs;
mod machine;
mod maps;
mod pods;
mod probes;
mod resizes;
mod resources;
mod rollouts;
mod runtime_classes;
mod service_kinds;
mod service_owners;
mod service_ranges;
mod service_traffic;
mod services;
mod storms;
mod volumes;
