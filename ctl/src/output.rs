//! How objects become text.

pub mod age;
pub mod colour;
pub mod format;
pub mod go_template;
pub mod jsonpath;
pub mod objects;
pub mod progress;
pub mod table;
pub mod yaml;
