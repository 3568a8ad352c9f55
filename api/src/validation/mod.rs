//! Rules that objects must keep, and the errors that say which one was broken.
//!
//! Texts and types are those of `k8s.io/apimachinery/pkg/util/validation` (`field` and the formats):
//! users search for them and tests compare them.

pub mod format;
pub mod metadata;

mod error;

pub use crate::field_path::Path;
pub use error::{BadValue, ErrorList, ErrorType, FieldError, quote};
