//! The strategies, one file per kind.

pub mod config_map;
