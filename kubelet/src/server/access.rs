//! Who asks at the kubelet's port, and whether he may: upstream's delegated authentication and authorization.
//!
//! A client certificate that `--client-ca-file` vouches for names the user; else a bearer token does, which the API
//! server judges (TokenReview). What the user may is the API server's judgement as well (SubjectAccessReview on the
//! node and its subresources). Both judgements are remembered for a while.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use http::{HeaderMap, Method};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use parking_lot::Mutex;
use reeve_client::Client;
use reeve_client::tls::PeerIdentity;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// How many judgements are remembered; beyond it those that have ended go, then all.
const REMEMBERED_MAX: usize = 1024;

/// The administrators' group: the API server lets it do everything, whatever is asked.
const ADMINISTRATORS: &str = "system:masters";
/// The API server, when it has no such group.
const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// What the flags say about access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessOptions {
    /// Requests without credentials are those of `system:anonymous`.
    pub anonymous: bool,
    /// Bearer tokens are judged by the API server.
    pub token_webhook: bool,
    /// How long such a judgement holds.
    pub token_ttl: Duration,
    /// Whether the API server decides what users may; else everybody may do everything.
    pub webhook: bool,
    /// How long a permission holds.
    pub allowed_ttl: Duration,
    /// How long a refusal holds.
    pub denied_ttl: Duration,
}

/// Somebody who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The user's name.
    pub name: String,
    /// The user's uid, if it has one.
    pub uid: String,
    /// Its groups.
    pub groups: Vec<String>,
    /// What else is known of it.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Why somebody is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody knows who it is.
    #[error("Unauthorized")]
    Unauthorized,
    /// He may not.
    #[error("Forbidden (user={user}, verb={verb}, resource=nodes, subresource(s)=[{}])", .subresources.join(" "))]
    Forbidden {
        /// The user.
        user: String,
        /// What he wanted to do.
        verb: &'static str,
        /// The parts of the node, any of which would do.
        subresources: Vec<&'static str>,
    },
    /// The API server could not be asked.
    #[error("{what}: {message}")]
    NoJudge {
        /// What could not be found out.
        what: &'static str,
        /// Why.
        message: String,
    },
}

/// The verb of a method.
pub fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// The parts of the node that a path belongs to; a right to any of them is enough.
pub fn subresources(path: &str) -> Vec<&'static str> {
    let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below("/stats") {
        return vec!["stats"];
    }
    if below("/metrics") {
        return vec!["metrics"];
    }
    if below("/logs") {
        return vec!["log"];
    }
    if below("/checkpoint") {
        return vec!["checkpoint"];
    }
    let own = if below("/healthz") {
        Some("healthz")
    } else if below("/configz") {
        Some("configz")
    } else if below("/pods") || below("/runningpods") {
        Some("pods")
    } else {
        None
    };
    own.into_iter().chain(["proxy"]).collect()
}

/// Judgements that hold for a while.
struct Memory<K, V> {
    entries: Mutex<HashMap<K, (V, Instant)>>,
}

impl<K: Hash + Eq, V: Clone> Memory<K, V> {
    fn new() -> Self {
        Self { entries: Mutex::new(HashMap::new()) }
    }

    fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.entries.lock().get(key).filter(|(_, until)| *until > now).map(|(value, _)| value.clone())
    }

    fn put(&self, key: K, value: V, until: Instant, now: Instant) {
        let mut entries = self.entries.lock();
        if entries.len() >= REMEMBERED_MAX {
            entries.retain(|_, (_, until)| *until > now);
            if entries.len() >= REMEMBERED_MAX {
                entries.clear();
            }
        }
        entries.insert(key, (value, until));
    }
}

/// The guard of the port.
pub struct Access {
    client: Client,
    node: String,
    options: AccessOptions,
    /// Callers by their tokens' digests; `None` for tokens that are not believed.
    tokens: Memory<[u8; 32], Option<Caller>>,
    rights: Memory<(Caller, &'static str, &'static str), bool>,
}

impl Access {
    /// For the port of a node. `client` asks for the judgements.
    pub fn new(client: Client, node: &str, options: AccessOptions) -> Self {
        Self { client, node: node.to_owned(), options, tokens: Memory::new(), rights: Memory::new() }
    }

    /// Lets a request in, or says why not.
    ///
    /// # Errors
    /// Who asks is unknown or may not.
    pub async fn admit(
        &self,
        peer: Option<&PeerIdentity>,
        headers: &HeaderMap,
        verb: &'static str,
        subresources: &[&'static str],
    ) -> Result<Caller, Refusal> {
        let caller = self.authenticate(peer, headers).await?;
        let administers = caller.groups.iter().any(|group| group == ADMINISTRATORS) || caller.name == API_SERVER;
        if !self.options.webhook || (peer.is_some() && administers) {
            return Ok(caller);
        }
        for subresource in subresources {
            if self.may(&caller, verb, subresource).await? {
                return Ok(caller);
            }
        }
        Err(Refusal::Forbidden { user: caller.name, verb, subresources: subresources.to_vec() })
    }

    async fn authenticate(&self, peer: Option<&PeerIdentity>, headers: &HeaderMap) -> Result<Caller, Refusal> {
        if let Some(peer) = peer {
            let groups = peer.groups.iter().cloned().chain(["system:authenticated".to_owned()]).collect();
            return Ok(Caller { name: peer.user.clone(), groups, ..Caller::default() });
        }
        if self.options.token_webhook
            && let Some(token) = bearer(headers)
        {
            return self.of_token(token).await?.ok_or(Refusal::Unauthorized);
        }
        if self.options.anonymous && bearer(headers).is_none() {
            return Ok(Caller {
                name: "system:anonymous".into(),
                groups: vec!["system:unauthenticated".into()],
                ..Caller::default()
            });
        }
        Err(Refusal::Unauthorized)
    }

    async fn of_token(&self, token: &str) -> Result<Option<Caller>, Refusal> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let now = Instant::now();
        if let Some(known) = self.tokens.get(&digest, now) {
            return Ok(known);
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
            ..TokenReview::default()
        };
        let judged = self.client.all::<TokenReview>().create(&review).await;
        let judged = judged.map_err(|error| Refusal::NoJudge { what: "TokenReview", message: error.to_string() })?;
        let status = judged.status.unwrap_or_default();
        let caller = status.user.filter(|_| status.authenticated == Some(true)).map(caller_of);
        self.tokens.put(digest, caller.clone(), now + self.options.token_ttl, now);
        Ok(caller)
    }

    async fn may(&self, caller: &Caller, verb: &'static str, subresource: &'static str) -> Result<bool, Refusal> {
        let key = (caller.clone(), verb, subresource);
        let now = Instant::now();
        if let Some(known) = self.rights.get(&key, now) {
            return Ok(known);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(caller.name.clone()),
                uid: Some(caller.uid.clone()).filter(|uid| !uid.is_empty()),
                groups: Some(caller.groups.clone()),
                extra: Some(caller.extra.clone()).filter(|extra| !extra.is_empty()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.into()),
                    version: Some("v1".into()),
                    resource: Some("nodes".into()),
                    subresource: Some(subresource.into()),
                    name: Some(self.node.clone()),
                    ..ResourceAttributes::default()
                }),
                non_resource_attributes: None,
            },
            ..SubjectAccessReview::default()
        };
        let judged = self.client.all::<SubjectAccessReview>().create(&review).await;
        let judged =
            judged.map_err(|error| Refusal::NoJudge { what: "SubjectAccessReview", message: error.to_string() })?;
        let allowed = judged.status.is_some_and(|status| status.allowed);
        let holds = if allowed { self.options.allowed_ttl } else { self.options.denied_ttl };
        self.rights.put(key, allowed, now + holds, now);
        Ok(allowed)
    }
}

fn caller_of(user: UserInfo) -> Caller {
    Caller {
        name: user.username.unwrap_or_default(),
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_parts_of_the_node() {
        for (path, parts) in [
            ("/stats/summary", "stats"),
            ("/metrics", "metrics"),
            ("/metrics/cadvisor", "metrics"),
            ("/metricsx", "proxy"),
            ("/logs/", "log"),
            ("/healthz/ping", "healthz proxy"),
            ("/configz", "configz proxy"),
            ("/pods", "pods proxy"),
            ("/runningpods/", "pods proxy"),
            ("/containerLogs/a/b/c", "proxy"),
            ("/exec/a/b/c", "proxy"),
        ] {
            assert_eq!(subresources(path).join(" "), parts, "{path}");
        }
        assert_eq!((verb(&Method::GET), verb(&Method::POST), verb(&Method::HEAD)), ("get", "create", "get"));
    }

    #[test]
    fn a_refusal_is_in_upstreams_words() {
        let refusal = Refusal::Forbidden { user: "jane".into(), verb: "get", subresources: vec!["pods", "proxy"] };
        let text = "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[pods proxy])";
        assert_eq!(refusal.to_string(), text);
    }

    #[test]
    fn judgements_are_forgotten_in_time_and_in_number() {
        let memory = Memory::new();
        let now = Instant::now();
        memory.put(0, "yes", now + Duration::from_secs(30), now);
        assert_eq!(memory.get(&0, now), Some("yes"));
        assert_eq!(memory.get(&0, now + Duration::from_secs(30)), None);
        for key in 1..=REMEMBERED_MAX {
            memory.put(key, "no", now + Duration::from_secs(1), now);
        }
        assert!(memory.entries.lock().len() <= REMEMBERED_MAX);
    }
}
