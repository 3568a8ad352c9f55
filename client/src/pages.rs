//! Gives back the memory of code and constants that only a burst of work needed.
//!
//! A program is read from its file page by page, with neighbours, and stays mapped. Flags, TLS set-up and first lists
//! touch most of it, a running program little. Dropping the mapped pages when it comes to rest costs a few page faults
//! and halves what it is charged for.
//!
//! This is the one module of the package with `unsafe`.
#![allow(unsafe_code, reason = "madvise takes addresses; the proof is beside the call")]

use std::ops::Range;
use std::time::Duration;

use rustix::mm::{Advice, madvise};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a program has to be left alone to be at rest. Programs are ready within a second of their start.
const REST: Duration = Duration::from_secs(5);

/// Memory mappings are the process's, so who stirs it need not know who waits for its rest.
static STIRRED: Notify = Notify::const_new();

/// Drops the pages whenever the program comes to rest: after its start, and after work that was [`stir`] of it.
/// Returns at once.
pub fn release_at_rest() {
    tokio::spawn(async {
        loop {
            while timeout(REST, STIRRED.notified()).await.is_ok() {}
            match std::fs::read_to_string("/proc/self/smaps") {
                Ok(mappings) => unchanged(&mappings).for_each(release),
                Err(error) => tracing::debug!(%error, "the pages of the program are kept"),
            }
            STIRRED.notified().await;
        }
    });
}

/// Tells that the program does more than it does at rest: what that touches is given back afterwards. Cheap.
pub fn stir() {
    STIRRED.notify_one();
}

fn release(range: Range<usize>) {
    let start = std::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the range is a whole mapping of this process that is private, not writable, and backed by a file, and no
    // page in it differs from the file: the kernel counts none as written (relocations have been, so the mappings that
    // hold them are not among these), and nothing can write to it any more. So after the pages are dropped, accesses
    // read the same bytes from the file again.
    if let Err(error) = unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) } {
        tracing::debug!(%error, "the pages of the program are kept");
    }
}

/// The mappings of files of which no page was ever written: private, not writable, without pages of their own.
fn unchanged(mappings: &str) -> impl Iterator<Item = Range<usize>> {
    let mut lines = mappings.lines().peekable();
    std::iter::from_fn(move || {
        loop {
            let candidate = lines.next().map(range);
            let mut own = 0_u64;
            while let Some(field) = lines.next_if(|line| !is_head(line)) {
                let mut words = field.split_ascii_whitespace();
                if matches!(words.next(), Some("Private_Dirty:" | "Anonymous:" | "Swap:")) {
                    own += words.next().and_then(|kilobytes| kilobytes.parse().ok()).unwrap_or(1);
                }
            }
            if let Some(range) = candidate?
                && own == 0
            {
                return Some(range);
            }
        }
    })
}

/// Whether a line begins a mapping; the others are fields: a name, a colon, a value.
fn is_head(line: &str) -> bool {
    !line.split_ascii_whitespace().next().is_some_and(|word| word.ends_with(':'))
}

/// The addresses of a private mapping of a file that cannot be written.
fn range(head: &str) -> Option<Range<usize>> {
    let mut words = head.split_ascii_whitespace();
    let (range, permissions) = (words.next()?, words.next()?);
    let inode = words.nth(2)?;
    let (start, end) = range.split_once('-')?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    (matches!(permissions, "r-xp" | "r--p") && inode != "0" && words.next()?.starts_with('/')).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_equals_its_file_is_given_back() {
        let mapping = |head: &str, dirty: u32| {
            format!(
                "{head}\nSize: 4 kB\nRss: 4 kB\nPrivate_Dirty: {dirty} kB\nAnonymous: {dirty} kB\nSwap: 0 kB\nVmFlags: rd mr\n"
            )
        };
        let mappings = [
            mapping("55d0a000-55d0b000 r--p 00000000 fe:00 1234 /usr/bin/apiserver", 0),
            mapping("55d0b000-55d0d000 r-xp 00001000 fe:00 1234 /usr/bin/apiserver", 0),
            mapping("55d0d000-55d0e000 r--p 00003000 fe:00 1234 /usr/bin/apiserver", 4),
            mapping("55d0e000-55d0f000 rw-p 00004000 fe:00 1234 /usr/bin/apiserver", 0),
            mapping("7f000000-7f001000 rwxp 00000000 fe:00 77 /usr/lib/patched.so", 0),
            mapping("7f100000-7f101000 r-xp 00000000 00:00 0 ", 0),
            mapping("7ffd0000-7ffd1000 r-xp 00000000 00:00 0 [vdso]", 0),
        ]
        .concat();
        let found: Vec<_> = unchanged(&mappings).collect();
        assert_eq!(found, [0x55d0_a000..0x55d0_b000, 0x55d0_b000..0x55d0_d000]);
    }

    #[test]
    fn code_and_constants_are_there_again_after_their_pages_are_gone() {
        let mappings = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let found: Vec<_> = unchanged(&mappings).collect();
        assert!(found.len() > 1, "{mappings}");
        found.into_iter().for_each(release);
        assert_eq!("1,2,3".split(',').map(|word| word.parse::<u32>().unwrap()).sum::<u32>(), 6);
    }
}
