//! Changes to objects: JSON patch (RFC 6902) and merge patch (RFC 7386).

mod json_patch;
mod merge;

pub use json_patch::apply as apply_json_patch;
pub use merge::{apply as apply_merge_patch, between as merge_patch_between};
