//! The `rctl` binary; everything is in the library.

use rctl::io::Io;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    std::process::exit(rctl::run(&args, Io::process()));
}
