//! Tests of the registry as a whole.

use super::*;

#[test]
fn a_config_map_is_found_decoded_and_encoded() {
    let registry = Registry::builtin();
    let row = registry.by_word("cm").expect("a row");
    assert_eq!(row.storage_key("ns", "a"), "/registry/configmaps/ns/a");
    let json = br#"{"apiVersion":"v1","kind":"ConfigMap","data":{"k":"v"},"metadata":{"name":"a"},"bogus":1}"#;
    let decoded = row.kind.decode(json, FieldValidation::Warn).expect("decodes");
    assert_eq!(decoded.warnings, [r#"unknown field "bogus""#]);
    assert_eq!(decoded.object.metadata().name.as_deref(), Some("a"));
    assert_eq!(
        decoded.object.encode().expect("encodes"),
        br#"{"apiVersion":"v1","kind":"ConfigMap","data":{"k":"v"},"metadata":{"name":"a"}}"#
    );
    assert!(row.kind.decode(json, FieldValidation::Strict).is_err());
}
