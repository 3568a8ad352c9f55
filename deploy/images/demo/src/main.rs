//! reeve-demo

fn main() {}
