//! The engine with one target: `REEVE_FUZZ_TARGET` names it, the arguments are libFuzzer's.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use reeve_fuzz::{TARGETS, Target};

static CHOSEN: OnceLock<&Target> = OnceLock::new();

fn chosen() -> &'static Target {
    CHOSEN.get_or_init(|| {
        let name = std::env::var("REEVE_FUZZ_TARGET").unwrap_or_default();
        TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            eprintln!("REEVE_FUZZ_TARGET is {name:?}; it must be one of {}", names.join(", "));
            std::process::exit(2);
        })
    })
}

fuzz_target!(|data: &[u8]| (chosen().run)(data));
