//! Service account tokens of projected volumes: asked for once, renewed in time, forgotten with their pod.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use parking_lot::Mutex;
use reeve_client::EventType;
use serde_json::{Value, json};

use super::{Executor, Subject};
use crate::pod::spec;
use crate::volume::content::Tokens;

/// How long a token lasts where the projection names no time, upstream's default in seconds.
const TOKEN_SECONDS: i64 = 3600;
/// No token is kept for longer, upstream's number.
const OLDEST: SignedDuration = SignedDuration::from_hours(24);
/// Between tries to renew a token that is good for a while yet.
const RETRY: SignedDuration = SignedDuration::from_secs(60);

/// What a token is for: the pod's UID, the audience, the seconds that are asked for.
type Purpose = (String, String, i64);

/// The tokens of this node's pods.
#[derive(Default)]
pub struct TokenCache {
    held: Mutex<HashMap<Purpose, Held>>,
}

/// A token and its times.
#[derive(Clone, PartialEq, Eq)]
struct Held {
    token: String,
    renew_at: Timestamp,
    expires_at: Timestamp,
}

impl TokenCache {
    /// Forgets the tokens of a pod.
    pub fn forget(&self, uid: &str) {
        self.held.lock().retain(|(of, _, _), _| of != uid);
    }

    fn get(&self, purpose: &Purpose) -> Option<Held> {
        self.held.lock().get(purpose).cloned()
    }
}

/// Reads an answer. The server may give another time than it was asked for; upstream renews after four fifths of it.
fn read(answer: &Value, asked_seconds: i64, now: Timestamp) -> Option<Held> {
    let token = answer.pointer("/status/token")?.as_str()?.to_owned();
    let told = answer.pointer("/status/expirationTimestamp").and_then(Value::as_str);
    let expires_at = told
        .and_then(|it| it.parse().ok())
        .or_else(|| now.checked_add(SignedDuration::from_secs(asked_seconds)).ok())
        .unwrap_or(now);
    let life = expires_at.duration_since(now).max(SignedDuration::ZERO);
    let renew_after = (life - life / 5).min(OLDEST);
    Some(Held { token, renew_at: now.checked_add(renew_after).unwrap_or(expires_at), expires_at })
}

impl Executor {
    /// The tokens that the pod's projections name, and when they have to be renewed.
    pub(super) async fn tokens(&self, subject: &Subject, pod: &Pod) -> (Tokens, Option<Timestamp>) {
        let mut tokens = Tokens::new();
        let mut refresh_at: Option<Timestamp> = None;
        for volume in spec::mounted_volumes(pod) {
            let sources = volume.projected.iter().flat_map(|it| it.sources.iter().flatten());
            for projection in sources.filter_map(|it| it.service_account_token.as_ref()) {
                let found = match self.token(subject, pod, projection).await {
                    Ok(Some(held)) => {
                        refresh_at = [refresh_at, Some(held.renew_at)].into_iter().flatten().min();
                        Ok(Some(held.token))
                    }
                    Ok(None) => Ok(None),
                    Err(error) => Err(error.to_string()),
                };
                tokens.insert((volume.name.clone(), projection.path.clone()), found);
            }
        }
        (tokens, refresh_at)
    }

    /// The token of a projection: the one that is held while it is fresh, and while no other is to be had.
    async fn token(
        &self,
        subject: &Subject,
        pod: &Pod,
        projection: &ServiceAccountTokenProjection,
    ) -> Result<Option<Held>, reeve_client::Error> {
        let seconds = projection.expiration_seconds.unwrap_or(TOKEN_SECONDS);
        let audience = projection.audience.clone().unwrap_or_default();
        let purpose = (subject.uid.clone(), audience, seconds);
        let held = self.tokens.get(&purpose);
        if let Some(held) = held.clone().filter(|it| Timestamp::now() < it.renew_at) {
            return Ok(Some(held));
        }
        let audiences: Vec<&String> = projection.audience.iter().collect();
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": subject.key.name, "uid": subject.uid},
            },
        });
        let named = spec::spec(pod).service_account_name.as_deref().filter(|it| !it.is_empty());
        let account = named.unwrap_or("default");
        let accounts = self.client.namespaced::<ServiceAccount>(&subject.key.namespace);
        let answer = accounts.create_subresource(account, "token", &request).await;
        let now = Timestamp::now();
        match answer {
            Ok(answer) => {
                let fresh = read(&answer, seconds, now);
                if let Some(fresh) = fresh.clone() {
                    self.tokens.held.lock().insert(purpose, fresh);
                }
                Ok(fresh)
            }
            Err(error) => match held.filter(|it| now < it.expires_at) {
                Some(held) => {
                    tracing::warn!(pod = %subject.key, %error, "a token could not be renewed; the one that is there is good for a while");
                    Ok(Some(Held { renew_at: now.checked_add(RETRY).unwrap_or(now), ..held }))
                }
                None if offers_no_tokens(&error) => {
                    let message = format!(
                        "The API server offers no service account tokens ({error}); the volume comes without {}",
                        projection.path
                    );
                    self.event(subject, None, EventType::Warning, "NoServiceAccountToken", &message);
                    Ok(None)
                }
                None => Err(error),
            },
        }
    }
}

fn offers_no_tokens(error: &reeve_client::Error) -> bool {
    use reeve_api::status::Reason;
    error.is_not_found() || matches!(error.reason(), Some(Reason::MethodNotAllowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_is_renewed_after_four_fifths_of_what_the_server_gave() {
        let answer = |life: i64| json!({"status": {"token": "t", "expirationTimestamp": at(1000 + life).to_string()}});
        let renewed = |life: i64| read(&answer(life), 3600, at(1000)).unwrap().renew_at;
        assert_eq!(renewed(3600), at(1000 + 2880));
        assert_eq!(renewed(600), at(1000 + 480), "the server shortened it");
        assert_eq!(renewed(365 * 86400), at(1000 + 86400), "no token grows older than a day");
        assert_eq!(read(&json!({"status": {"token": "t"}}), 100, at(0)).unwrap().renew_at, at(80));
        assert!(read(&json!({"status": {}}), 100, at(0)).is_none());
    }

    #[test]
    fn tokens_go_with_their_pod() {
        let cache = TokenCache::default();
        let held = Held { token: "t".into(), renew_at: at(1), expires_at: at(2) };
        for uid in ["a", "b"] {
            cache.held.lock().insert((uid.into(), String::new(), 1), held.clone());
        }
        cache.forget("a");
        assert!(cache.get(&("a".into(), String::new(), 1)).is_none());
        assert!(cache.get(&("b".into(), String::new(), 1)).is_some());
    }
}
