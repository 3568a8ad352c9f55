//! A container's log: CRI's file format read as a user asks for it, followed by the file's own change events.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::mpsc;

use crate::file_watch::{FileWatch, WatchFlags};

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Go on as lines are written.
    pub follow: bool,
    /// Put each line's time before it.
    pub timestamps: bool,
    /// Only lines at or after this time.
    pub since: Option<Timestamp>,
    /// Only the last lines.
    pub tail: Option<usize>,
    /// No more than so many bytes.
    pub limit: Option<u64>,
}

/// Read at once.
const CHUNK: usize = 64 << 10;

/// Takes apart lines of the form `TIME STREAM TAG CONTENT` and keeps what is wanted of them.
pub struct Formatter {
    timestamps: bool,
    since: Option<Timestamp>,
    left: Option<u64>,
    /// The last piece was partial: the next continues its line.
    inside: bool,
}

impl Formatter {
    /// A formatter at the start of a log.
    pub fn new(options: &LogOptions) -> Self {
        Self { timestamps: options.timestamps, since: options.since, left: options.limit, inside: false }
    }

    /// Whether the limit is reached.
    pub fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    /// Appends what is wanted of one line (without its end) to `out`.
    pub fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(_stream), Some(tag), Some(content)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let continues = std::mem::replace(&mut self.inside, tag.first() == Some(&b'P'));
        if let Some(since) = self.since {
            let at = std::str::from_utf8(time).ok().and_then(|text| text.parse::<Timestamp>().ok());
            if at.is_some_and(|at| at < since) {
                return;
            }
        }
        let begin = out.len();
        if self.timestamps && !continues {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        out.extend_from_slice(content);
        if !self.inside {
            out.push(b'\n');
        }
        if let Some(left) = &mut self.left {
            let length = (out.len() - begin) as u64;
            let taken = length.min(*left);
            out.truncate(begin + usize::try_from(taken).unwrap_or(usize::MAX));
            *left -= taken;
        }
    }
}

/// Sends a log until its end, the limit, or (following) until the container is told to have ended by `ended`.
pub async fn stream(
    path: PathBuf,
    options: LogOptions,
    ended: impl Future<Output = ()>,
    sender: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    // The watch comes before the first read: nothing that is written later goes unnoticed.
    let watch = if options.follow { Some(watch_log(&path)?) } else { None };
    let mut file = File::open(&path).await?;
    if let Some(lines) = options.tail {
        let start = tail_start(&mut file, lines).await?;
        file.seek(io::SeekFrom::Start(start)).await?;
    }
    let mut formatter = Formatter::new(&options);
    let mut rest = Vec::new();
    if !pump(&mut file, &mut rest, &mut formatter, &sender).await? {
        return Ok(());
    }
    let Some(watch) = watch else { return Ok(()) };
    tokio::pin!(ended);
    loop {
        let over = tokio::select! {
            changed = watch.changed() => { changed?; false }
            () = &mut ended => true,
            () = sender.closed() => return Ok(()),
        };
        if !pump(&mut file, &mut rest, &mut formatter, &sender).await? || over {
            return Ok(());
        }
        // A rotation put another file in the log's place: the old one was read to its end just now.
        if replaced(&file, &path).await? {
            file = File::open(&path).await?;
            watch.add(&path, WatchFlags::MODIFY)?;
            rest.clear();
            if !pump(&mut file, &mut rest, &mut formatter, &sender).await? {
                return Ok(());
            }
        }
    }
}

/// Sends all whole lines up to the end of the file; `false` when no more is wanted.
async fn pump(
    file: &mut File,
    rest: &mut Vec<u8>,
    formatter: &mut Formatter,
    sender: &mpsc::Sender<Bytes>,
) -> io::Result<bool> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = file.read(&mut buffer).await?;
        if count == 0 {
            return Ok(true);
        }
        rest.extend_from_slice(&buffer[..count]);
        let mut out = Vec::with_capacity(rest.len());
        let mut begin = 0;
        while let Some(length) = rest[begin..].iter().position(|byte| *byte == b'\n') {
            formatter.line(&rest[begin..begin + length], &mut out);
            begin += length + 1;
        }
        rest.drain(..begin);
        if !out.is_empty() && sender.send(out.into()).await.is_err() {
            return Ok(false);
        }
        if formatter.is_full() {
            return Ok(false);
        }
    }
}

/// Where the last `lines` whole lines begin. Reads backwards, so the cost does not grow with the log. A partial
/// piece counts with the line that it belongs to.
async fn tail_start(file: &mut File, lines: usize) -> io::Result<u64> {
    let mut position = file.metadata().await?.len();
    if lines == 0 {
        return Ok(position);
    }
    let mut held: Vec<u8> = Vec::new();
    let mut found: usize = 0;
    while position > 0 {
        let step = position.min(CHUNK as u64);
        position -= step;
        file.seek(io::SeekFrom::Start(position)).await?;
        let mut chunk = vec![0; usize::try_from(step).unwrap_or(CHUNK)];
        file.read_exact(&mut chunk).await?;
        chunk.append(&mut held);
        // Every line that begins in what is held, from the last to the first.
        let starts = std::iter::once(0).filter(|_| position == 0);
        let mut starts: Vec<usize> =
            starts.chain(chunk.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1)).collect();
        starts.retain(|at| *at < chunk.len());
        found = 0;
        for at in starts.iter().rev() {
            let line = chunk[*at..].split(|byte| *byte == b'\n').next().unwrap_or_default();
            let is_whole = line.split(|byte| *byte == b' ').nth(2).is_some_and(|tag| tag.first() != Some(&b'P'));
            if is_whole {
                found += 1;
            }
            if found > lines {
                let next = chunk[*at..].iter().position(|byte| *byte == b'\n').map_or(chunk.len(), |end| *at + end + 1);
                return Ok(position + next as u64);
            }
        }
        held = chunk;
    }
    tracing::trace!(found, "the log is shorter than the tail");
    Ok(0)
}

async fn replaced(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let open = file.metadata().await?;
    match tokio::fs::metadata(path).await {
        Ok(named) => Ok(named.ino() != open.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A watch over a log's file, and over its folder for the file that a rotation puts there.
fn watch_log(path: &Path) -> io::Result<FileWatch> {
    let watch = FileWatch::new()?;
    if let Some(folder) = path.parent() {
        watch.add(folder, WatchFlags::CREATE | WatchFlags::MOVED_TO)?;
    }
    watch.add(path, WatchFlags::MODIFY)?;
    Ok(watch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-01-01T00:00:01.000000001Z stdout F one
2026-01-01T00:00:02Z stderr P tw
2026-01-01T00:00:02Z stderr F o
2026-01-01T00:00:03Z stdout F three
";

    async fn read(options: LogOptions) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (sender, mut receiver) = mpsc::channel(8);
        stream(path, options, std::future::pending(), sender).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn partial_pieces_are_one_line() {
        assert_eq!(read(LogOptions::default()).await, "one\ntwo\nthree\n");
    }

    #[tokio::test]
    async fn tail_counts_whole_lines() {
        assert_eq!(read(LogOptions { tail: Some(2), ..LogOptions::default() }).await, "two\nthree\n");
        assert_eq!(read(LogOptions { tail: Some(1), ..LogOptions::default() }).await, "three\n");
        assert_eq!(read(LogOptions { tail: Some(0), ..LogOptions::default() }).await, "");
        assert_eq!(read(LogOptions { tail: Some(9), ..LogOptions::default() }).await, "one\ntwo\nthree\n");
    }

    #[tokio::test]
    async fn since_limit_and_timestamps() {
        let since = Some("2026-01-01T00:00:02Z".parse().unwrap());
        assert_eq!(read(LogOptions { since, ..LogOptions::default() }).await, "two\nthree\n");
        assert_eq!(read(LogOptions { limit: Some(5), ..LogOptions::default() }).await, "one\nt");
        let text = read(LogOptions { timestamps: true, tail: Some(2), ..LogOptions::default() }).await;
        assert_eq!(text, "2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n");
    }

    #[tokio::test]
    async fn following_sees_new_lines_and_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        std::fs::write(&path, "2026-01-01T00:00:01Z stdout F a\n").unwrap();
        let (sender, mut receiver) = mpsc::channel(8);
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let task = tokio::spawn(stream(path.clone(), options, std::future::pending(), sender));
        assert_eq!(receiver.recv().await.unwrap(), "a\n");
        std::fs::rename(&path, folder.path().join("0.log.1")).unwrap();
        std::fs::write(&path, "2026-01-01T00:00:02Z stdout F b\n").unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "b\n");
        drop(receiver);
        task.await.unwrap().unwrap();
    }
}
