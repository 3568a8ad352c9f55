//! Frames of SPDY/3.1, from bytes and to bytes.
//!
//! The layout is that of section 2 of <https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// The largest frame that is accepted; the other side sends pieces of 32 KB.
const LENGTH_MAX: usize = 1 << 20;
const HEAD_LENGTH: usize = 8;
const VERSION: u16 = 3;
const FLAG_FIN: u8 = 1;
const STREAM_MASK: u32 = 0x7fff_ffff;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// `REFUSED_STREAM` of a RST_STREAM frame.
pub const REFUSED: u32 = 3;

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The other side opens a stream.
    Open {
        /// Its number.
        stream: u32,
        /// It will send nothing on it.
        ended: bool,
        /// Compressed headers.
        block: Bytes,
    },
    /// Headers that mean nothing here, but take part in the compression.
    Headers {
        /// Compressed headers.
        block: Bytes,
    },
    /// Bytes of a stream.
    Data {
        /// Its number.
        stream: u32,
        /// They are the last ones.
        ended: bool,
        /// The bytes.
        data: Bytes,
    },
    /// A stream is given up.
    Reset {
        /// Its number.
        stream: u32,
    },
    /// Asks for itself to be sent back.
    Ping {
        /// Tells it from others.
        id: u32,
    },
    /// The other side will open no more streams.
    GoAway,
    /// A frame that needs nothing done: settings, windows.
    Other,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than accepted.
    #[error("a frame of {0} bytes is longer than the {LENGTH_MAX} that are accepted")]
    TooLong(usize),
    /// Shorter than its type needs.
    #[error("a frame of type {0} is too short")]
    TooShort(u16),
    /// Another version of the protocol.
    #[error("a frame is of version {0}; 3 is spoken here")]
    Version(u16),
}

/// Takes the first whole frame out of a buffer; `None` if there is none yet.
pub fn parse(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(mut head) = buffer.get(..HEAD_LENGTH) else { return Ok(None) };
    let first = head.get_u32();
    let flags_and_length = head.get_u32();
    let length = (flags_and_length & 0x00ff_ffff) as usize;
    let ended = (flags_and_length >> 24) as u8 & FLAG_FIN != 0;
    if length > LENGTH_MAX {
        return Err(FrameError::TooLong(length));
    }
    if buffer.len() < HEAD_LENGTH + length {
        return Ok(None);
    }
    buffer.advance(HEAD_LENGTH);
    let mut body = buffer.split_to(length).freeze();
    if first & !STREAM_MASK == 0 {
        return Ok(Some(Frame::Data { stream: first, ended, data: body }));
    }
    let version = (first >> 16) as u16 & 0x7fff;
    let kind = first as u16;
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let needed = match kind {
        SYN_STREAM => 10,
        SYN_REPLY | HEADERS | PING => 4,
        RST_STREAM => 8,
        _ => 0,
    };
    if body.len() < needed {
        return Err(FrameError::TooShort(kind));
    }
    Ok(Some(match kind {
        SYN_STREAM => {
            let stream = body.get_u32() & STREAM_MASK;
            // The associated stream, the priority and the slot.
            body.advance(6);
            Frame::Open { stream, ended, block: body }
        }
        SYN_REPLY | HEADERS => {
            body.advance(4);
            Frame::Headers { block: body }
        }
        RST_STREAM => Frame::Reset { stream: body.get_u32() & STREAM_MASK },
        PING => Frame::Ping { id: body.get_u32() },
        GOAWAY => Frame::GoAway,
        _ => Frame::Other,
    }))
}

fn control(kind: u16, body_length: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(HEAD_LENGTH + body_length);
    out.put_u32(!STREAM_MASK | u32::from(VERSION) << 16 | u32::from(kind));
    // Blocks that are written here are short.
    out.put_u32(body_length as u32 & 0x00ff_ffff);
    out
}

/// Accepts a stream.
pub fn reply(stream: u32, block: &[u8]) -> Bytes {
    let mut out = control(SYN_REPLY, 4 + block.len());
    out.put_u32(stream);
    out.put_slice(block);
    out.freeze()
}

/// Bytes of a stream, at most 16 MB.
pub fn data(stream: u32, data: &[u8], last: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD_LENGTH + data.len());
    out.put_u32(stream);
    let flags = if last { u32::from(FLAG_FIN) << 24 } else { 0 };
    out.put_u32(flags | data.len() as u32 & 0x00ff_ffff);
    out.put_slice(data);
    out.freeze()
}

/// Gives a stream up.
pub fn reset(stream: u32, code: u32) -> Bytes {
    let mut out = control(RST_STREAM, 8);
    out.put_u32(stream);
    out.put_u32(code);
    out.freeze()
}

/// A ping.
pub fn ping(id: u32) -> Bytes {
    let mut out = control(PING, 4);
    out.put_u32(id);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let mut buffer = BytesMut::from(bytes);
        std::iter::from_fn(|| parse(&mut buffer).transpose()).collect()
    }

    #[test]
    fn frames_are_what_was_written() {
        let bytes = [data(5, b"abc", true), ping(7), reset(9, REFUSED), reply(3, b"block")].concat();
        let frames = all(&bytes).unwrap();
        assert_eq!(
            frames,
            [
                Frame::Data { stream: 5, ended: true, data: Bytes::from_static(b"abc") },
                Frame::Ping { id: 7 },
                Frame::Reset { stream: 9 },
                Frame::Headers { block: Bytes::from_static(b"block") },
            ]
        );
    }

    #[test]
    fn half_a_frame_waits_for_the_rest() {
        let bytes = data(5, b"abc", false);
        let mut buffer = BytesMut::new();
        for byte in &bytes[..bytes.len() - 1] {
            buffer.put_u8(*byte);
            assert_eq!(parse(&mut buffer), Ok(None));
        }
        buffer.put_u8(b'c');
        assert!(matches!(parse(&mut buffer), Ok(Some(Frame::Data { .. }))));
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(all(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff]), Err(FrameError::TooLong(0xff_ffff)));
        assert_eq!(all(&[0x80, 2, 0, 1, 0, 0, 0, 0]), Err(FrameError::Version(2)));
        assert_eq!(all(&[0x80, 3, 0, 1, 0, 0, 0, 2, 0, 0]), Err(FrameError::TooShort(1)));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(frames) = all(&bytes) {
                prop_assert!(frames.len() <= bytes.len() / HEAD_LENGTH);
            }
        }
    }
}
