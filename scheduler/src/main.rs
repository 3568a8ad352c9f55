//! reeve-scheduler

fn main() {}
