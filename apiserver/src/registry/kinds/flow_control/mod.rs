//! How requests share the server: schemas sort requests into priority levels (`pkg/apis/flowcontrol`).

pub mod priority_level;
pub mod schema;
