//! What a request says beside its body: path, query, `Accept`.

use reeve_apiserver::edges::rest::parsers;

/// Paths of URLs.
pub fn paths(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    parsers::target(path);
}

/// Queries, and on a line below a body of `DeleteOptions` and a content type.
pub fn queries(data: &[u8]) {
    let [query, body] = super::lines::<2>(data).unwrap_or([data, &[]]);
    let Ok(query) = std::str::from_utf8(query) else { return };
    for error in parsers::query(query, body) {
        assert!((400..500).contains(&error.code()), "the client's mistake, not ours: {error:?}");
    }
}

/// `Accept` headers.
pub fn accept(data: &[u8]) {
    parsers::accept(data);
}
