//! The pure core: what to do for a pod, and what to say about it.
//!
//! Nothing here performs IO, reads a clock or knows the CRI's wire types. A pod is in one of these
//! buckets, and [`plan::next_actions`] moves it between them: *waiting* (volumes, network, image),
//! *starting* (sandbox, init containers, app containers), *running*, *finished* (nothing will be
//! started again), *terminating* (being stopped), *gone* (nothing left in the runtime).

pub mod admission;
pub mod allocation;
pub mod backoff;
pub mod env;
pub mod env_file;
pub mod image;
pub mod observed;
pub mod plan;
pub mod probe;
pub mod resize;
pub mod resources;
pub mod spec;
pub mod status;
pub mod user;
