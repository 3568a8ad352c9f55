//! reeve-proxy

fn main() {}
