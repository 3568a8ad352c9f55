//! reeve-kubelet

fn main() {}
