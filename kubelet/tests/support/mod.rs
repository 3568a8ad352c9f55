//! What the tests with a real runtime need: an API server in memory, a containerd of their own, and
//! certificates. Everything lies below one temporary folder and is gone when the value is dropped.

#![allow(dead_code, reason = "each test uses a part")]

pub mod api;
pub mod node;
pub mod pods;
