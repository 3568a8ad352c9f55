//! reeve-controller-manager

fn main() {}
