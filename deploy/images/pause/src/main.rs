//! reeve-pause

fn main() {}
