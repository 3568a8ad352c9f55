//! The client of Reeve's API: connection, typed verbs, watches, stores, keyed work, leader election.
//!
//! Everything that reconnects, retries or backs off lives here and nowhere else. From below to above:
//! [`config`] and [`tls`] say whom to trust, [`Client`] and [`Api`] are the verbs, [`watch`] is the one
//! watch state machine, [`store`] is a local copy that it feeds, [`runner`] does the work that changes
//! call for, [`leader`] says whether to, [`events`] tells users what was done, and [`process`] is what
//! every binary starts with ([`pages`] gives back what only the start needed). [`renewal`] takes up credentials that are
//! replaced on disk, told by [`file_watch`].

pub mod api;
pub mod backoff;
pub mod config;
pub mod error;
pub mod events;
pub mod file_watch;
pub mod leader;
pub mod pages;
pub mod process;
pub mod renewal;
pub mod rest;
pub mod runner;
pub mod store;
pub mod streams;
pub mod tls;
pub mod view;
pub mod watch;

mod call;
mod channel;
mod kubeconfig;

pub use api::{
    Api, Client, DeleteOptions, Deleted, ListOptions, ObjectList, Patch, WatchOptions, WriteOptions, Written,
};
pub use config::{ConfigError, ConnectionConfig, Impersonation, Pem};
pub use error::Error;
pub use events::{EventRecorder, EventType};
pub use kubeconfig::Kubeconfig;
pub use leader::{LeaderElector, LeaseConfig};
pub use runner::{Next, Queue, Runner, RunnerConfig, runner};
pub use store::{Change, Store, reflect, reflect_indexed, reflect_resource};
pub use view::{Scope, View};
pub use watch::Follower;
