//! The header blocks of SPDY/3.1: names and values, compressed by zlib over a whole connection.

use bytes::{Buf as _, BufMut as _};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The largest block, uncompressed: the streams of pods have a few short headers.
const BLOCK_BYTES_MAX: usize = 16 * 1024;
/// What each call may add.
const STEP_BYTES: usize = 1024;

/// The words that begin the dictionary, each with its length before it.
const WORDS: [&str; 65] = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];
/// The text that ends it.
const TEXT: &str = concat!(
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Au",
    "thoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidd",
    "en404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr Ma",
    "y Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,imag",
    "e/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicpri",
    "vatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.",
);

/// The dictionary that both sides know (section 2.6.10.1 of the protocol).
fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in WORDS {
        bytes.put_u32(word.len() as u32);
        bytes.put_slice(word.as_bytes());
    }
    bytes.put_slice(TEXT.as_bytes());
    bytes
}

/// Why a block cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// zlib refuses it.
    #[error("headers cannot be uncompressed: {0}")]
    Compression(String),
    /// It is larger than accepted.
    #[error("headers have more than {BLOCK_BYTES_MAX} bytes")]
    TooLong,
    /// It is cut off, or no text.
    #[error("headers are malformed")]
    Malformed,
}

/// Reads the blocks of one direction of a connection, in order.
pub struct Reader {
    zlib: Decompress,
}

impl Reader {
    /// For a new connection.
    pub fn new() -> Reader {
        Reader { zlib: Decompress::new(true) }
    }

    /// Names, in lower case, and values.
    pub fn read(&mut self, block: &[u8]) -> Result<Vec<(String, String)>, HeaderError> {
        parse(&self.uncompress(block)?)
    }

    fn uncompress(&mut self, block: &[u8]) -> Result<Vec<u8>, HeaderError> {
        let failed = |error: flate2::DecompressError| HeaderError::Compression(error.to_string());
        let mut out = Vec::new();
        let mut rest = block;
        loop {
            out.reserve(STEP_BYTES);
            let (in_before, out_before) = (self.zlib.total_in(), out.len());
            let status = match self.zlib.decompress_vec(rest, &mut out, FlushDecompress::Sync) {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib.set_dictionary(&dictionary()).map_err(failed)?;
                    Status::Ok
                }
                result => result.map_err(failed)?,
            };
            // What was taken is never more than what was given.
            let taken = usize::try_from(self.zlib.total_in() - in_before).unwrap_or(rest.len());
            rest = rest.get(taken..).unwrap_or_default();
            if out.len() > BLOCK_BYTES_MAX {
                return Err(HeaderError::TooLong);
            }
            let stands_still = taken == 0 && out.len() == out_before;
            if status != Status::Ok && !rest.is_empty() && stands_still {
                return Err(HeaderError::Malformed);
            }
            if rest.is_empty() && out.len() < out.capacity() {
                return Ok(out);
            }
        }
    }
}

fn parse(mut bytes: &[u8]) -> Result<Vec<(String, String)>, HeaderError> {
    let count = bytes.try_get_u32().map_err(|_| HeaderError::Malformed)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = text(&mut bytes)?.to_ascii_lowercase();
        headers.push((name, text(&mut bytes)?));
    }
    Ok(headers)
}

fn text(bytes: &mut &[u8]) -> Result<String, HeaderError> {
    let length = bytes.try_get_u32().map_err(|_| HeaderError::Malformed)? as usize;
    let (text, rest) = bytes.split_at_checked(length).ok_or(HeaderError::Malformed)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).map_err(|_| HeaderError::Malformed)
}

/// Writes the blocks of one direction of a connection, in order.
pub struct Writer {
    zlib: Compress,
}

impl Writer {
    /// For a new connection.
    pub fn new() -> Result<Writer, HeaderError> {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&dictionary()).map_err(|error| HeaderError::Compression(error.to_string()))?;
        Ok(Writer { zlib })
    }

    /// A block of headers.
    pub fn write(&mut self, headers: &[(&str, &str)]) -> Result<Vec<u8>, HeaderError> {
        let mut plain = Vec::new();
        plain.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        let mut out = Vec::with_capacity(plain.len() + STEP_BYTES);
        self.zlib
            .compress_vec(&plain, &mut out, FlushCompress::Sync)
            .map_err(|error| HeaderError::Compression(error.to_string()))?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_dictionary_is_the_protocols() {
        let (mut low, mut high) = (1_u32, 0_u32);
        for byte in dictionary() {
            low = (low + u32::from(byte)) % 65521;
            high = (high + low) % 65521;
        }
        // The Adler-32 sum that zlib streams name it by.
        assert_eq!((high << 16) | low, 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_of_one_connection_follow_each_other() {
        let (mut writer, mut reader) = (Writer::new().unwrap(), Reader::new());
        for port in ["80", "8080"] {
            let block = writer.write(&[("streamtype", "data"), ("port", port)]).unwrap();
            let headers = reader.read(&block).unwrap();
            assert_eq!(headers, [("streamtype".into(), "data".into()), ("port".into(), port.to_owned())]);
        }
        assert!(reader.read(&writer.write(&[]).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn a_block_that_grows_without_bound_is_refused() {
        let long = "x".repeat(BLOCK_BYTES_MAX);
        let block = Writer::new().unwrap().write(&[("a", &long)]);
        assert!(matches!(Reader::new().read(&block.unwrap()), Err(HeaderError::TooLong)));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new();
            let ok = reader.read(&bytes).is_ok();
            prop_assert!(!ok || !bytes.is_empty());
        }
    }
}
