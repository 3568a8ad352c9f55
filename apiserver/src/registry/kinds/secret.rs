//! Secret: confidential data for pods.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use reeve_api::go_text;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use crate::registry::strategy::{RequestContext, Strategy};

/// Most bytes of all values together.
const SIZE_MAX: usize = 1024 * 1024;

/// The strategy.
pub struct Secrets;

impl Strategy for Secrets {
    type Object = Secret;

    fn default(&self, secret: &mut Secret) {
        // What was written as text becomes data.
        if let Some(texts) = secret.string_data.take() {
            let data = secret.data.get_or_insert_default();
            for (key, text) in texts {
                data.insert(key, ByteString(text.into_bytes()));
            }
        }
        if secret.type_.as_deref().unwrap_or_default().is_empty() {
            secret.type_ = Some("Opaque".to_owned());
        }
    }

    fn validate(&self, secret: &Secret) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("data");
        let mut size = 0;
        for (key, value) in secret.data.iter().flatten() {
            errors.invalid_each(&path.key(key), key, format::config_map_key(key));
            size += value.0.len();
        }
        if size > SIZE_MAX {
            errors.too_long(&path, SIZE_MAX);
        }
        let value = |key: &str| secret.data.as_ref()?.get(key).map(|value| value.0.as_slice());
        match secret.type_.as_deref().unwrap_or_default() {
            "kubernetes.io/service-account-token" => {
                let annotations = secret.metadata.annotations.as_ref();
                let key = "kubernetes.io/service-account.name";
                if annotations.and_then(|map| map.get(key)).is_none_or(String::is_empty) {
                    let metadata = Path::new("metadata");
                    errors.required(&metadata.child("annotations").key(key), "");
                }
            }
            "kubernetes.io/dockercfg" => json_value(value(".dockercfg"), ".dockercfg", &mut errors),
            "kubernetes.io/dockerconfigjson" => {
                json_value(value(".dockerconfigjson"), ".dockerconfigjson", &mut errors);
            }
            "kubernetes.io/basic-auth" if value("username").is_none() && value("password").is_none() => {
                for key in ["username", "password"] {
                    errors.required(&path.key(key), "");
                }
            }
            "kubernetes.io/ssh-auth" if value("ssh-privatekey").is_none_or(<[u8]>::is_empty) => {
                errors.required(&path.key("ssh-privatekey"), "");
            }
            "kubernetes.io/tls" => {
                for key in ["tls.crt", "tls.key"] {
                    if value(key).is_none() {
                        errors.required(&path.key(key), "");
                    }
                }
            }
            _ => {}
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, secret: &mut Secret, old: &Secret) {
        // A client that does not know the type keeps it.
        if secret.type_.as_deref().unwrap_or_default().is_empty() {
            secret.type_.clone_from(&old.type_);
        }
    }

    fn validate_update(&self, secret: &Secret, old: &Secret) -> ErrorList {
        let mut errors = ErrorList::new();
        if secret.type_ != old.type_ {
            errors.invalid(&Path::new("type"), secret.type_.as_deref(), "field is immutable");
        }
        if old.immutable == Some(true) {
            let frozen = "field is immutable when `immutable` is set";
            if secret.immutable != Some(true) {
                errors.forbidden(&Path::new("immutable"), frozen);
            }
            let data = |secret: &Secret| BadValue::json(&secret.data.clone().unwrap_or_default());
            if data(secret) != data(old) {
                errors.forbidden(&Path::new("data"), frozen);
            }
        }
        errors.extend(self.validate(secret));
        errors
    }

    fn warnings(&self, secret: &Secret, _old: Option<&Secret>) -> Vec<String> {
        if secret.type_.as_deref() != Some("kubernetes.io/tls") {
            return Vec::new();
        }
        let lacks_blocks = |key: &str| {
            let value = secret.data.as_ref().and_then(|data| data.get(key));
            value.is_none_or(|value| !contains(&value.0, b"-----BEGIN "))
        };
        for (key, what) in [("tls.crt", "certificate"), ("tls.key", "key")] {
            if lacks_blocks(key) {
                return vec![format!("tls: failed to find any PEM data in {what} input")];
            }
        }
        Vec::new()
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn fields(&self, secret: &Secret) -> Vec<(&'static str, String)> {
        vec![("type", secret.type_.clone().unwrap_or_default())]
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

fn not_a_map(what: &str) -> String {
    format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}")
}

fn json_value(value: Option<&[u8]>, key: &str, errors: &mut ErrorList) {
    let path = Path::new("data");
    let path = path.key(key);
    match value.map(serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>) {
        None => errors.required(&path, ""),
        Some(Err(error)) => {
            let text = value.unwrap_or_default();
            let why = go_text::json_problem(text).unwrap_or_else(|| match text.trim_ascii_start().first() {
                Some(b'[') => not_a_map("array"),
                Some(b'"') => not_a_map("string"),
                Some(b't' | b'f') => not_a_map("bool"),
                Some(b'0'..=b'9' | b'-') => not_a_map("number"),
                _ => error.to_string(),
            });
            errors.invalid(&path, "<secret contents redacted>", why);
        }
        Some(Ok(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_in_blocks() {
        let with = |certificate: &str, key: &str| Secret {
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(
                [("tls.crt", certificate), ("tls.key", key)]
                    .map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec())))
                    .into(),
            ),
            ..Secret::default()
        };
        let block = "-----BEGIN X-----";
        assert!(Secrets.warnings(&with(block, block), None).is_empty());
        assert_eq!(Secrets.warnings(&with("", block), None), ["tls: failed to find any PEM data in certificate input"]);
        assert_eq!(Secrets.warnings(&with(block, ""), None), ["tls: failed to find any PEM data in key input"]);
    }
}
