//! A connection as its streams: opened, written to, given up by the other side.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;

use super::frame::{self, Frame, FrameError};
use super::headers::{self, HeaderError};

/// Frames on their way to the other side; more make the streams wait.
const FRAMES_IN_FLIGHT_MAX: usize = 16;

/// What the other side did.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It opened a stream, which is accepted already.
    Opened {
        /// Its number.
        stream: u32,
        /// It sends nothing on it.
        ended: bool,
        /// Names, in lower case, and values.
        headers: Vec<(String, String)>,
    },
    /// It sent bytes on a stream.
    Data {
        /// Its number.
        stream: u32,
        /// The bytes.
        data: Bytes,
        /// They are the last ones.
        ended: bool,
    },
    /// It gave a stream up.
    Reset {
        /// Its number.
        stream: u32,
    },
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// It was lost.
    #[error(transparent)]
    Transport(#[from] io::Error),
    /// The other side sent what is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other side sent what are no headers.
    #[error(transparent)]
    Headers(#[from] HeaderError),
}

/// The other side of a connection, as events.
pub struct Reader<Source> {
    source: Source,
    buffer: BytesMut,
    inflate: headers::Reader,
    deflate: headers::Writer,
    writer: Writer,
}

/// A connection over a source of bytes; what is to be sent comes out of the receiver.
pub fn open<Source>(source: Source) -> Result<(Reader<Source>, Writer, mpsc::Receiver<Bytes>), HeaderError> {
    let (sender, receiver) = mpsc::channel(FRAMES_IN_FLIGHT_MAX);
    let writer = Writer { sender };
    let reader = Reader {
        source,
        buffer: BytesMut::new(),
        inflate: headers::Reader::new(),
        deflate: headers::Writer::new()?,
        writer: writer.clone(),
    };
    Ok((reader, writer, receiver))
}

impl<Source: Stream<Item = io::Result<Bytes>> + Unpin> Reader<Source> {
    /// The next event; `None` at the end of the connection. Must not be dropped half-way.
    pub async fn next(&mut self) -> Result<Option<Event>, ConnectionError> {
        loop {
            let Some(frame) = frame::parse(&mut self.buffer)? else {
                match self.source.next().await {
                    Some(bytes) => self.buffer.extend_from_slice(&bytes?),
                    None => return Ok(None),
                }
                continue;
            };
            match frame {
                Frame::Open { stream, ended, block } => {
                    let headers = self.inflate.read(&block)?;
                    let reply = self.deflate.write(&[])?;
                    self.writer.send(frame::reply(stream, &reply)).await;
                    return Ok(Some(Event::Opened { stream, ended, headers }));
                }
                Frame::Headers { block } => {
                    self.inflate.read(&block)?;
                }
                Frame::Data { stream, data, ended } => return Ok(Some(Event::Data { stream, data, ended })),
                Frame::Reset { stream } => return Ok(Some(Event::Reset { stream })),
                // Only the client asks: its pings have odd numbers.
                Frame::Ping { id } if id % 2 == 1 => self.writer.send(frame::ping(id)).await,
                Frame::Ping { .. } | Frame::GoAway | Frame::Other => {}
            }
        }
    }
}

/// Our side of a connection.
#[derive(Clone)]
pub struct Writer {
    sender: mpsc::Sender<Bytes>,
}

impl Writer {
    /// Sends bytes on a stream; `last` ends our side of it.
    pub async fn data(&self, stream: u32, data: &[u8], last: bool) {
        self.send(frame::data(stream, data, last)).await;
    }

    /// Gives a stream up.
    pub async fn refuse(&self, stream: u32) {
        self.send(frame::reset(stream, frame::REFUSED)).await;
    }

    async fn send(&self, bytes: Bytes) {
        if self.sender.send(bytes).await.is_err() {
            tracing::trace!("a frame for a connection that is gone");
        }
    }
}

/// The value of a header.
pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}
