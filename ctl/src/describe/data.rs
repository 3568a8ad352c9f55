//! Config maps and secrets.

use serde_json::Value;

use super::writer::Writer;
use crate::merge::LAST_APPLIED;
use crate::value::{entries, name, namespace, plain, text};

fn head(writer: &mut Writer, object: &Value) {
    writer.field(0, "Name", name(object));
    writer.field(0, "Namespace", namespace(object));
    writer.map(0, "Labels", object, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", object, "metadata.annotations", ": ", &[LAST_APPLIED]);
}

/// Describes a config map, with its texts.
pub fn config_map(writer: &mut Writer, map: &Value) {
    head(writer, map);
    writer.line(0, "\nData\n====");
    for (key, value) in entries(map, "data") {
        writer.line(0, &format!("{key}:\n----\n{}\n", plain(value)));
    }
    writer.line(0, "\nBinaryData\n====");
    for (key, value) in entries(map, "binaryData") {
        writer.line(0, &format!("{key}: {} bytes", decoded_length(value)));
    }
    writer.line(0, "");
}

/// Describes a secret; what is secret is only counted.
pub fn secret(writer: &mut Writer, secret: &Value) {
    head(writer, secret);
    writer.line(0, "");
    writer.field(0, "Type", text(secret, "type"));
    writer.line(0, "\nData\n====");
    for (key, value) in entries(secret, "data") {
        writer.field(0, key, &format!("{} bytes", decoded_length(value)));
    }
}

/// The length of what a base64 text stands for.
fn decoded_length(value: &Value) -> usize {
    let encoded = value.as_str().unwrap_or_default();
    let padding = encoded.bytes().rev().take_while(|byte| *byte == b'=').count();
    (encoded.len() / 4 * 3).saturating_sub(padding)
}
