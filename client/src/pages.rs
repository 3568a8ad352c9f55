//! Gives back the memory of code that only the start needed.
//!
//! A program's code is read from its file page by page, with neighbours, and stays mapped. Flags, TLS set-up and
//! first lists touch most of it, a running program little. Dropping the mapped pages once costs a few page faults and
//! halves what a resting process is charged for.
//!
//! This is the one module of the package with `unsafe`.
#![allow(unsafe_code, reason = "madvise takes addresses; the proof is beside the call")]

use std::ops::Range;
use std::time::Duration;

use rustix::mm::{Advice, madvise};

/// When the start is over, generously: programs are ready within a second.
const AFTER: Duration = Duration::from_secs(5);

/// Drops the pages of code, once, when the start is over. Returns at once.
pub fn release_after_start() {
    tokio::spawn(async {
        tokio::time::sleep(AFTER).await;
        match std::fs::read_to_string("/proc/self/maps") {
            Ok(maps) => code(&maps).for_each(release),
            Err(error) => tracing::debug!(%error, "the pages of the start are kept"),
        }
    });
}

fn release(range: Range<usize>) {
    let start = std::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the range is a whole mapping of this process that is readable and executable but not writable, private,
    // and backed by a file. No page in it can differ from the file: nothing could write to it, and relocations lie in
    // other mappings. So after their pages are dropped, accesses read the same bytes from the file again.
    if let Err(error) = unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) } {
        tracing::debug!(%error, "the pages of the start are kept");
    }
}

/// The mappings of code that come from files: private, executable, never writable.
fn code(maps: &str) -> impl Iterator<Item = Range<usize>> {
    maps.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (range, permissions) = (words.next()?, words.next()?);
        let inode = words.nth(2)?;
        let (start, end) = range.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        (permissions == "r-xp" && inode != "0" && words.next()?.starts_with('/')).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_from_files_is_given_back() {
        let maps = "\
55d0a000-55d0b000 r--p 00000000 fe:00 1234 /usr/bin/apiserver
55d0b000-55d0d000 r-xp 00001000 fe:00 1234 /usr/bin/apiserver
55d0d000-55d0e000 r--p 00003000 fe:00 1234 /usr/bin/apiserver
55d0e000-55d0f000 rw-p 00004000 fe:00 1234 /usr/bin/apiserver
7f000000-7f001000 rwxp 00000000 fe:00 77 /usr/lib/patched.so
7f100000-7f101000 r-xp 00000000 00:00 0 
7ffd0000-7ffd1000 r-xp 00000000 00:00 0 [vdso]
";
        let mut found = code(maps);
        assert_eq!(found.next(), Some(0x55d0_b000..0x55d0_d000));
        assert_eq!(found.next(), None);
    }

    #[test]
    fn code_goes_on_after_its_pages_are_gone() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        code(&maps).for_each(release);
        assert_eq!("1,2,3".split(',').map(|word| word.parse::<u32>().unwrap()).sum::<u32>(), 6);
    }
}
