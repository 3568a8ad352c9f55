//! Objects in the three encodings of the wire, and the cuts through their canonical bytes.

use std::sync::LazyLock;

use reeve_api::json::{Mask, header_len, member, project, splice_resource_version, strip_resource_version};
use reeve_api::yaml;
use reeve_apiserver::{
    edges::rest::parsers,
    encoding::protobuf,
    registry::{FieldValidation, Registry, duplicate_fields},
};
use serde_json::Value;

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::builtin);

/// The first byte picks the kind, the rest is its JSON: what is understood is understood again when it was written.
pub fn json(data: &[u8]) {
    let Some((&pick, text)) = data.split_first() else { return };
    let rows = REGISTRY.rows();
    let Some(kind) = rows.get(usize::from(pick) % rows.len()).map(|row| &row.kind) else { return };
    let strict = kind.decode(text, FieldValidation::Strict);
    let warned = kind.decode(text, FieldValidation::Warn);
    if let Ok(warned) = &warned {
        assert_eq!(
            warned.warnings.is_empty(),
            strict.is_ok(),
            "strict refuses what is warned of: {:?}",
            warned.warnings
        );
    }
    let Ok(decoded) = warned else {
        assert!(strict.is_err(), "strict takes nothing that is refused otherwise");
        return;
    };
    let Ok(written) = decoded.object.encode() else { return };
    let again = kind.decode_stored(&written).expect("what was written can be read");
    assert_eq!(again.encode().expect("it was written before"), written, "canonical bytes stay the same");
}

/// YAML means the same as the JSON that it becomes, to all who read it.
pub fn yaml(data: &[u8]) {
    let all = std::str::from_utf8(data).ok().and_then(|text| yaml::documents(text).ok());
    let Ok(document) = yaml::from_slice(data) else {
        assert!(parsers::yaml(data).is_err(), "the server reads what nobody else does");
        for document in all.into_iter().flatten() {
            written(document);
        }
        return;
    };
    assert!(all.is_some_and(|all| all.len() <= 1), "one document is the only one");
    let json = parsers::yaml(data).expect("the server reads what all do");
    assert!(duplicate_fields(&json).is_empty(), "what is there twice is told, not passed on");
    let value = document.to_json().ok().and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    assert_eq!(value, serde_json::from_slice(&json).ok());
    written(document);
}

/// A document is JSON, and what is written of it is read back.
fn written(document: yaml::Document) {
    let json = document.to_json().expect("a document is JSON");
    let are_unique = document.duplicates.is_empty();
    let value = document.into_value();
    assert_eq!(serde_json::from_slice::<Value>(&json).ok().as_ref(), Some(&value));
    assert_eq!(duplicate_fields(&json).is_empty(), are_unique, "{value}");
    let printed = yaml::to_string(&value);
    assert_eq!(yaml::from_str(&printed), Ok(value), "printed: {printed}");
}

/// Protobuf envelopes: what was understood survives the way there and back.
pub fn protobuf(data: &[u8]) {
    let Ok(json) = protobuf::decode(data, Some(("v1", "Pod"))) else { return };
    let Ok(written) = protobuf::encode(&json) else { return };
    let again = protobuf::decode(&written, None).expect("what was written can be read");
    let (first, second) = (serde_json::from_slice::<Value>(&json), serde_json::from_slice::<Value>(&again));
    assert_eq!(protobuf::encode(&again).ok(), Some(written), "{first:?} became {second:?}");
}

/// Any bytes may be asked for members and cut; canonical bytes of an object stay JSON.
pub fn cut(data: &[u8]) {
    let range = member(data, "metadata");
    assert!(range.is_none_or(|range| range.end <= data.len()));
    assert!(header_len(data) <= data.len());
    let mask = Mask::new(["metadata.name", "spec.containers.image", "status"]);
    let (spliced, projected) = (splice_resource_version(data, 7), project(data, &mask));
    let stripped = strip_resource_version(data);
    let Some(Value::Object(object)) = super::value(data) else { return };
    // The cuts are made for what the server itself wrote: compact, each field once.
    let compact = serde_json::to_vec(&object).unwrap_or_default();
    if compact != data || !duplicate_fields(data).is_empty() || !object.get("metadata").is_some_and(Value::is_object) {
        return;
    }
    for cut in [&spliced[..], &projected, &stripped] {
        let cut = serde_json::from_slice::<Value>(cut);
        assert!(cut.as_ref().is_ok_and(Value::is_object), "{cut:?}");
    }
    let version = serde_json::from_slice::<Value>(&spliced).unwrap_or_default();
    assert_eq!(version["metadata"]["resourceVersion"], "7");
}
