//! `stty`: what size the terminal has, and when that changes.

use std::io;

use rustix::termios::tcgetwinsize;
use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGWINCH},
    iterator::Signals,
};

/// `stty size`: rows and columns of the terminal at standard input. With `--follow` again after each
/// change, until it is interrupted.
pub fn main(arguments: &[String]) -> u8 {
    if arguments.first().map(String::as_str) != Some("size") {
        eprintln!("usage: stty size [--follow]");
        return 2;
    }
    // Before the first look: a change in between is not lost.
    let changes = arguments.iter().any(|word| word == "--follow").then(|| Signals::new([SIGWINCH, SIGINT, SIGTERM]));
    if let Err(error) = size() {
        eprintln!("stty: standard input: {error}");
        return 1;
    }
    match changes {
        None => 0,
        Some(Ok(mut changes)) => follow(&mut changes),
        Some(Err(error)) => {
            eprintln!("stty: {error}");
            1
        }
    }
}

fn follow(changes: &mut Signals) -> u8 {
    for signal in changes.forever() {
        match signal {
            SIGWINCH => {
                if let Err(error) = size() {
                    eprintln!("stty: standard input: {error}");
                    return 1;
                }
            }
            other => return u8::try_from(128 + other).unwrap_or(1),
        }
    }
    0
}

fn size() -> io::Result<()> {
    let size = tcgetwinsize(io::stdin())?;
    println!("{} {}", size.ws_row, size.ws_col);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_size_is_known() {
        assert_eq!(main(&["sane".to_owned()]), 2);
    }
}
