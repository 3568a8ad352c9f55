//! gzip of large answers, for clients that accept it.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Response;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, VARY};
use tonic::body::Body;

/// Smaller answers are sent as they are: upstream's threshold.
pub const THRESHOLD_BYTES: usize = 128 * 1024;

/// Upstream's level: the time counts more than the last percent.
fn level() -> Compression {
    Compression::new(1)
}

/// Bytes that are there as a whole.
///
/// # Errors
///
/// None that writing to memory does not have.
pub fn whole(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), level());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Chunks, one by one: memory does not grow with their number.
pub fn chunks(mut plain: impl Iterator<Item = Bytes>) -> impl Iterator<Item = io::Result<Bytes>> {
    let mut encoder = Some(GzEncoder::new(Vec::new(), level()));
    std::iter::from_fn(move || {
        loop {
            let writer = encoder.as_mut()?;
            let Some(chunk) = plain.next() else {
                return encoder.take().map(|encoder| encoder.finish().map(Bytes::from));
            };
            if let Err(error) = writer.write_all(&chunk) {
                encoder = None;
                return Some(Err(error));
            }
            let ready = std::mem::take(writer.get_mut());
            if !ready.is_empty() {
                return Some(Ok(ready.into()));
            }
        }
    })
}

/// Tells the client, and caches on the way.
pub fn mark(response: &mut Response<Body>) {
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().append(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn chunks_are_one_stream() {
        let plain: Vec<Bytes> = (0..50_u32).map(|number| Bytes::from(format!("{number} ").repeat(10_000))).collect();
        let packed: Vec<u8> = chunks(plain.clone().into_iter()).flat_map(|chunk| chunk.unwrap().to_vec()).collect();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, plain.concat());
        assert!(packed.len() < back.len() / 10);
    }
}
