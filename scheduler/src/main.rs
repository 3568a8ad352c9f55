//! The scheduler's program.

fn main() {}
