//! Bootstrap tokens: those that have expired go, and the others sign what strangers may read of the cluster.
//!
//! Watches Secrets `kube-system/bootstrap-token-*` and the ConfigMap `kube-public/cluster-info`; deletes expired
//! Secrets, and keeps a detached signature (JWS, RFC 7515 appendix F) of the ConfigMap's kubeconfig for each token that
//! may sign. A token is valid, expired, or not for signing.
//!
//! Rules from `pkg/controller/bootstrap`.

pub mod shell;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;
use serde_json::json;

use crate::action::Action;
use crate::object::{resource, to_json};

/// The type of tokens' Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// Where tokens are.
pub const TOKENS_NAMESPACE: &str = "kube-system";
/// What their names begin with.
pub const NAME_PREFIX: &str = "bootstrap-token-";
/// Where the signed ConfigMap is.
pub const INFO_NAMESPACE: &str = "kube-public";
/// Its name.
pub const INFO_NAME: &str = "cluster-info";
/// What is signed of it.
const KUBECONFIG: &str = "kubeconfig";
/// What the entries of signatures begin with; the token's id follows.
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

fn text<'a>(secret: &'a Secret, field: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(field)?.0).ok().filter(|text| !text.is_empty())
}

/// How long a token has; `None` for ever. One whose end cannot be read has ended.
fn left(secret: &Secret, now: Timestamp) -> Option<Duration> {
    let end = text(secret, "expiration")?;
    let left = end.parse::<Timestamp>().map(|end| end.duration_since(now));
    Some(left.ok().and_then(|left| Duration::try_from(left).ok()).unwrap_or_default())
}

/// Deletes a token that has expired, or looks again when it will have.
pub fn clean(secret: &Secret, now: Timestamp) -> Option<Action> {
    if secret.type_.as_deref() != Some(SECRET_TYPE) || secret.metadata.is_deleting() {
        return None;
    }
    let left = left(secret, now)?;
    if !left.is_zero() {
        return Some(Action::Again(left));
    }
    Some(Action::Delete {
        resource: resource::<Secret>(),
        key: ObjectKey::of(&secret.metadata),
        uid: secret.metadata.uid.clone().unwrap_or_default(),
        revision: None,
        grace_seconds: None,
        propagation: None,
        told: None,
    })
}

/// A token's id and secret, if it may sign.
fn signer(secret: &Secret, now: Timestamp) -> Option<(&str, &str)> {
    let name = secret.metadata.name();
    let id = text(secret, "token-id")?;
    let valid = secret.type_.as_deref() == Some(SECRET_TYPE)
        && name.strip_prefix(NAME_PREFIX) == Some(id)
        && text(secret, "usage-bootstrap-signing") == Some("true")
        && left(secret, now).is_none_or(|left| !left.is_zero());
    Some((id, text(secret, "token-secret")?)).filter(|_| valid)
}

/// The compact form of a signature by a token, without what is signed.
fn signature(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": id}).to_string());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

/// Brings the signatures of the ConfigMap into line with the tokens.
pub fn sign(info: &ConfigMap, tokens: &[Secret], now: Timestamp) -> Option<Action> {
    let data = info.data.as_ref()?;
    let content = data.get(KUBECONFIG)?;
    let wanted: BTreeMap<String, String> = tokens
        .iter()
        .filter_map(|token| signer(token, now))
        .map(|(id, secret)| (format!("{SIGNATURE_PREFIX}{id}"), signature(content, id, secret)))
        .collect();
    let mut signed = data.clone();
    signed.retain(|name, _| !name.starts_with(SIGNATURE_PREFIX));
    signed.extend(wanted);
    if signed == *data {
        return None;
    }
    // Upstream's role lets the signer update this one ConfigMap, not patch it. The version that was read goes along.
    let changed = ConfigMap { data: Some(signed), ..info.clone() };
    Some(Action::Replace {
        resource: resource::<ConfigMap>(),
        key: ObjectKey::of(&info.metadata),
        subresource: "",
        object: to_json(&changed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn token(id: &str, more: &[(&str, &str)]) -> Secret {
        let mut secret = Secret { type_: Some(SECRET_TYPE.into()), ..Secret::default() };
        secret.metadata.name = Some(format!("{NAME_PREFIX}{id}"));
        secret.metadata.namespace = Some(TOKENS_NAMESPACE.into());
        let fields = [("token-id", id), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-signing", "true")];
        let fields = fields.iter().chain(more);
        secret.data = Some(fields.map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))).collect());
        secret
    }

    #[test]
    fn expired_tokens_go_and_others_are_looked_at_again() {
        assert_eq!(clean(&token("abcdef", &[]), now()), None, "without an end");
        let ended = clean(&token("abcdef", &[("expiration", "2025-12-31T23:59:59Z")]), now()).unwrap();
        assert_eq!(ended.to_string(), "delete secrets kube-system/bootstrap-token-abcdef");
        assert!(clean(&token("abcdef", &[("expiration", "soon")]), now()).unwrap().is_write(), "cannot be read");
        let later = clean(&token("abcdef", &[("expiration", "2026-01-01T01:00:00Z")]), now()).unwrap();
        assert_eq!(later, Action::Again(Duration::from_secs(3600)));
    }

    #[test]
    fn signatures_follow_the_tokens() {
        let mut info = ConfigMap::default();
        info.metadata.name = Some(INFO_NAME.into());
        info.metadata.namespace = Some(INFO_NAMESPACE.into());
        let data = [(KUBECONFIG, "content"), ("jws-kubeconfig-gone00", "old"), ("other", "stays")];
        info.data = Some(data.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        let tokens = [token("abcdef", &[]), token("ended0", &[("expiration", "2025-01-01T00:00:00Z")])];
        let Some(Action::Replace { object, .. }) = sign(&info, &tokens, now()) else { panic!("nothing is signed") };
        // Made with another program: HMAC-SHA256 of the header, a dot and the content, each in base64url.
        let signature = signature("content", "abcdef", "0123456789abcdef");
        let expected = json!({"kubeconfig": "content", "jws-kubeconfig-abcdef": signature, "other": "stays"});
        assert_eq!(object["data"], expected);
        let mut parts = signature.split('.');
        assert_eq!(parts.next(), Some("eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9"));
        assert_eq!((parts.next(), parts.next()), (Some(""), Some(EXPECTED)));
        let data = info.data.as_mut().unwrap();
        data.remove("jws-kubeconfig-gone00");
        data.insert("jws-kubeconfig-abcdef".into(), signature.clone());
        assert_eq!(sign(&info, &tokens, now()), None);
        assert_eq!(sign(&ConfigMap::default(), &tokens, now()), None, "there is nothing to sign");
    }

    const EXPECTED: &str = "psz1NayrXM3IaFzKZGsb5n_mBl7MjtlsZ1xE8MRmF_4";
}
