//! Fuzz targets: one for each parser that meets the network. A target takes any bytes; it fails by a panic, by taking
//! too long or too much memory, or when what the parser understood does not hold together.
//!
//! `seeds/TARGET/` holds what each starts from, and what it once failed on: the tests run all of them. `cargo xtask
//! fuzz` and `cargo xtask test` let the engine look for more.

mod targets;

pub use targets::{TARGETS, Target};
