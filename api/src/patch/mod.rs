//! Changes to objects: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch, and server-side
//! apply.

pub mod apply;
pub(crate) mod go;
mod json_patch;
mod merge;
#[cfg(test)]
mod samples;
pub mod strategic;

pub use json_patch::apply as apply_json_patch;
pub use merge::{apply as apply_merge_patch, between as merge_patch_between};
