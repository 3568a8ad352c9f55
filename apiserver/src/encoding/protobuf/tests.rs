//! The transcoder: round trips, the shapes of fields, bodies of clients, bytes of strangers.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// There and back again.
fn again(value: &Value) -> Value {
    decode_value(&encode_value(value).unwrap(), None).unwrap()
}

#[test]
fn objects_come_back() {
    let objects = [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"x": "", "y": "z"}}, "data": {"k": "v"}, "binaryData": {"b": "AAEC"}, "immutable": false}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "managedFields": [
                {"manager": "m", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {".": {}}}}]},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"port": "web", "path": "/"}, "periodSeconds": 3},
                "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": false}}}]}],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "configMap": {"name": "c", "defaultMode": 420}}],
                "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
                "securityContext": {"runAsUser": 0}}, "status": {}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"ports": [{"port": 80, "targetPort": 8080}, {"port": 81, "targetPort": "web"}]}}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
            "spec": {"renewTime": "2026-01-02T03:04:05.000006Z", "leaseDurationSeconds": 0}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"}, "spec": {"rules": [
            {"host": "h", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s",
                "port": {"number": 80}}}}]}}]}}),
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
            "spec": {"user": "u", "extra": {"k": ["a", "b"]}}, "status": {"allowed": false}}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "c"},
            "spec": {"group": "g", "names": {"plural": "cs", "kind": "C"}, "scope": "Namespaced", "versions": [
                {"name": "v1", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object",
                    "properties": {"a": {"default": {"b": [1, "2", null]}, "maximum": 1.5, "items": {"type": "string"},
                        "additionalProperties": true, "enum": ["x", 3]},
                        "d": {"additionalProperties": {"type": "integer"}, "items": [{"type": "string"}, {}],
                            "dependencies": {"e": ["f", "g"], "h": {"type": "null"}}}}}}}]}}),
        json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": "m", "reason": "NotFound",
            "details": {"name": "n", "kind": "pods", "causes": [{"reason": "r", "message": "m", "field": "f"}]}, "code": 404}),
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "n", "generation": 3}}),
    ];
    for object in objects {
        assert_eq!(again(&object), object);
    }
}

#[test]
fn zeros_of_fields_that_are_no_pointers_are_left_out() {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": ""},
        "spec": {"containers": [{"name": "c", "stdin": false}], "hostNetwork": false, "nodeName": ""}});
    let expected = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c"}]}});
    assert_eq!(again(&object), expected);
}

#[test]
fn the_envelope_is_upstreams() {
    let bytes = encode(br#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}"#).unwrap();
    assert_eq!(
        bytes, b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x05\x0a\x03\x0a\x01a\x1a\x00\x22\x00",
        "{bytes:?}"
    );
    // A body may leave the kind to the path.
    let bare = b"k8s\0\x12\x05\x0a\x03\x0a\x01a";
    assert_eq!(decode_value(bare, Some(("v1", "Namespace"))).unwrap()["metadata"]["name"], "a");
    assert_eq!(decode_value(b"{}", None), Err(Error::NoEnvelope));
}

#[test]
fn lists_and_frames_hold_their_objects() {
    let mut list = ListEncoder::default();
    for name in ["a", "b"] {
        list.push(format!(r#"{{"metadata":{{"name":"{name}"}}}}"#).as_bytes(), "v1", "Secret").unwrap();
    }
    let parts = list.finish(&json!({"resourceVersion": "7"}), "v1", "SecretList").unwrap();
    let value = decode_value(&parts.concat(), None).unwrap();
    assert_eq!(
        value,
        json!({"apiVersion": "v1", "kind": "SecretList", "metadata": {"resourceVersion": "7"},
            "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]})
    );
    let frame = watch_frame("ADDED", b"k8s\0");
    assert_eq!(frame, b"\0\0\0\x0f\x0a\x05ADDED\x12\x06\x0a\x04k8s\0");
}

proptest! {
    #[test]
    fn bytes_of_strangers_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut envelope = b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12".to_vec();
        wire::put_varint(&mut envelope, bytes.len() as u64);
        envelope.extend_from_slice(&bytes);
        // Any answer will do, a panic will not.
        drop(decode_value(&envelope, None));
        drop(decode_value(&bytes, Some(("v1", "Pod"))));
    }
}
