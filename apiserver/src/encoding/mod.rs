//! Encodings beside the canonical JSON. Only the REST edge uses them: what is stored and cached stays JSON.

pub mod protobuf;
