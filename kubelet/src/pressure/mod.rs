//! What the kubelet does before the node runs out of memory, disk or processes: it removes images that nobody uses,
//! says so in the node's conditions, and evicts pods.
//!
//! - [`signals`]: what is left, measured. [`usage`]: what each pod uses.
//! - [`thresholds`]: how much has to be left, and which thresholds are met. Pure.
//! - [`rank`]: who goes first, and the words for it. Pure.
//! - [`images`]: which images go. Pure.
//! - [`keeper`]: looks on its period and has done what the others decide.

pub mod images;
pub mod keeper;
pub mod rank;
pub mod signals;
pub mod thresholds;
pub mod usage;
