//! How long placing takes, without IO.

fn main() {}
