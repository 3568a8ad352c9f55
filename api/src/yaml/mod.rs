//! Objects as YAML: one reader and one writer for all manifests, by the rules of the tools around Kubernetes.
//!
//! Those read YAML with go-yaml v2 and turn it into JSON with `sigs.k8s.io/yaml`: plain scalars are those of YAML 1.1
//! (`0400` is octal, `yes` is true), keys that are numbers or booleans become texts, and a mapping may be merged into
//! another. The text itself is taken apart by [`saphyr_parser`], which tells how each scalar was written and where;
//! what its events mean is decided here. It is of YAML 1.2 and stricter than theirs with layout: a text that it refuses is
//! laid out anew where theirs would take it (`layout`), and tried again.

mod compose;
mod error;
mod layout;
mod number;
mod scalar;
mod tree;
mod write;

#[cfg(test)]
mod tests;

pub use compose::{document, documents, from_slice, from_str};
pub use error::{Error, Problem};
pub use tree::{Document, Duplicate};
pub use write::to_string;
