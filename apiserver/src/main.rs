//! reeve-apiserver

fn main() {}
