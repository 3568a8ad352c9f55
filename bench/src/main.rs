//! reeve-bench

fn main() {}
