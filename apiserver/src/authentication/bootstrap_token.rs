//! Bootstrap tokens: what a new node proves itself with before it has a certificate.
//!
//! Each is a Secret of type `bootstrap.kubernetes.io/token` in `kube-system`, named after the public half of the
//! token. Rules from `plugin/pkg/auth/authenticator/token/bootstrap`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use crate::request::User;
use crate::storage::cache::Resource;

const NAMESPACE: &str = "kube-system";
const NAME_PREFIX: &str = "bootstrap-token-";
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// The public and the secret half.
fn halves(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let word = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (word(id, 6) && word(secret, 16)).then_some((id, secret))
}

/// The user of a token; `None` when it is none of ours.
pub fn authenticate(secrets: &Resource, token: &str, now: Timestamp) -> Option<User> {
    let (id, secret) = halves(token)?;
    let entry = secrets.snapshot().get(NAMESPACE, &format!("{NAME_PREFIX}{id}"))?;
    let stored: Secret = serde_json::from_slice(entry.object()).ok()?;
    user(&stored, id, secret, now)
}

fn user(stored: &Secret, id: &str, secret: &str, now: Timestamp) -> Option<User> {
    let text = |key: &str| {
        let bytes = stored.data.as_ref()?.get(key)?;
        std::str::from_utf8(&bytes.0).ok()
    };
    let fits = stored.metadata.deletion_timestamp.is_none()
        && stored.type_.as_deref() == Some(SECRET_TYPE)
        && text("token-id") == Some(id)
        && text("token-secret").is_some_and(|own| same(own, secret))
        && text("usage-bootstrap-authentication") == Some("true");
    if !fits {
        return None;
    }
    if let Some(end) = text("expiration")
        && !end.parse::<Timestamp>().is_ok_and(|end| end > now)
    {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    let extra = text("auth-extra-groups").unwrap_or_default();
    for group in extra.split(',').filter(|group| !group.is_empty()) {
        if !group.starts_with("system:bootstrappers:") {
            return None;
        }
        groups.push(group.to_owned());
    }
    Some(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() })
}

/// Compares without telling by its time how much is right.
fn same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, |all, (one, other)| all | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret(data: &[(&str, &str)]) -> Secret {
        Secret {
            type_: Some(SECRET_TYPE.into()),
            data: Some(data.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))).collect()),
            ..Secret::default()
        }
    }

    #[test]
    fn a_token_is_its_secret_while_it_lasts() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let fields = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("auth-extra-groups", "system:bootstrappers:kubeadm"),
        ];
        let stored = secret(&fields);
        let user_ = user(&stored, "abcdef", "0123456789abcdef", now).unwrap();
        assert_eq!(user_.name, "system:bootstrap:abcdef");
        assert_eq!(user_.groups, [GROUP, "system:bootstrappers:kubeadm"]);
        assert!(user(&stored, "abcdef", "0123456789abcdee", now).is_none());
        let mut ended = fields.to_vec();
        ended.push(("expiration", "2025-12-31T23:59:59Z"));
        assert!(user(&secret(&ended), "abcdef", "0123456789abcdef", now).is_none());
        assert!(user(&secret(&fields[..2]), "abcdef", "0123456789abcdef", now).is_none(), "not for authentication");
    }

    #[test]
    fn tokens_have_a_form() {
        assert_eq!(halves("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for bad in ["", "abcdef", "abcdef.0123", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcde/"] {
            assert_eq!(halves(bad), None, "{bad}");
        }
    }
}
