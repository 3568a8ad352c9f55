//! rctl

fn main() {}
