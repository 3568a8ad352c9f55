//! Service account tokens: what they claim, how they are made, and when they are believed.
//!
//! Rules from `pkg/serviceaccount`: a token is as good as its signature, its issuer, its audiences and its times,
//! and only as long as the account and the object that it is bound to are there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use jsonwebtoken::Validation;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::keys::Keys;
use crate::request::User;
use crate::storage::cache::{Entry, Resource};

/// Clocks may differ by this many seconds.
const LEEWAY_SECONDS: i64 = 60;
/// How many verified tokens are remembered, so that their signature is not checked again.
const REMEMBERED_MAX: usize = 4096;
/// The name of a user that is a service account begins so.
pub const USER_PREFIX: &str = "system:serviceaccount:";
/// The extra field that tells which token was used.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// An object by name and uid.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Reference {
    /// The name.
    pub name: String,
    /// The uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What a token says about its account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Private {
    /// The namespace of all that is named.
    pub namespace: String,
    /// The node of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// The pod that the token ends with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The secret that the token ends with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The account.
    pub serviceaccount: Reference,
    /// When its bearer should have got a new one, for tokens that live longer than was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// The claims of a token; times are seconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// For whom.
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Not valid after.
    pub exp: i64,
    /// Issued at.
    pub iat: i64,
    /// By whom.
    pub iss: String,
    /// Which token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// What Kubernetes adds.
    #[serde(rename = "kubernetes.io")]
    pub private: Private,
    /// Not valid before.
    pub nbf: i64,
    /// The user.
    pub sub: String,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

/// The cached objects that tokens are bound to.
#[derive(Clone)]
pub struct Sources {
    /// Service accounts.
    pub accounts: Resource,
    /// Pods.
    pub pods: Resource,
    /// Secrets.
    pub secrets: Resource,
    /// Nodes.
    pub nodes: Resource,
}

/// Why a token is not believed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not one of ours.
    #[error("invalid bearer token")]
    NotOurs,
    /// One of ours, but.
    #[error("[invalid bearer token, {0}]")]
    Refused(String),
}

/// Makes and believes tokens.
pub struct ServiceAccountTokens {
    keys: Arc<Keys>,
    issuer: String,
    audiences: Vec<String>,
    sources: Sources,
    verified: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

impl ServiceAccountTokens {
    /// Tokens of an issuer; `audiences` are the names of this API server.
    pub fn new(keys: Arc<Keys>, issuer: String, audiences: Vec<String>, sources: Sources) -> Self {
        Self { keys, issuer, audiences, sources, verified: Mutex::default() }
    }

    /// The names of this API server.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Who issues.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The objects that tokens are bound to.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The user of a token and the audiences that it shares with `audiences` (this server's, when that is empty).
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn authenticate(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<(User, Vec<String>), TokenError> {
        let claims = self.verified(token)?;
        let audiences = if audiences.is_empty() { &self.audiences } else { audiences };
        let shared: Vec<String> = audiences.iter().filter(|one| claims.aud.contains(one)).cloned().collect();
        if shared.is_empty() {
            let why = format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted(&claims.aud),
                quoted(audiences)
            );
            return Err(TokenError::Refused(why));
        }
        check_times(&claims, now).map_err(TokenError::Refused)?;
        self.check_bindings(&claims, now).map_err(TokenError::Refused)?;
        Ok((user_of(&claims), shared))
    }

    /// The claims of a token whose signature and issuer are right.
    fn verified(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(claims) = self.verified.lock().get(&digest) {
            return Ok(claims.clone());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::NotOurs)?;
        let claims = self.keys.candidates(header.kid.as_deref()).find_map(|key| {
            // The key says the algorithm: what the token says is its bearer's word.
            let mut validation = Validation::new(key.algorithm);
            validation.validate_exp = false;
            validation.validate_nbf = false;
            validation.validate_aud = false;
            validation.required_spec_claims.clear();
            jsonwebtoken::decode::<Claims>(token, &key.key, &validation).ok()
        });
        let claims = Arc::new(claims.ok_or(TokenError::NotOurs)?.claims);
        if claims.iss != self.issuer {
            return Err(TokenError::NotOurs);
        }
        let mut verified = self.verified.lock();
        if verified.len() >= REMEMBERED_MAX {
            verified.clear();
        }
        verified.insert(digest, claims.clone());
        Ok(claims)
    }

    /// The account and what the token is bound to must still be there.
    fn check_bindings(&self, claims: &Claims, now: Timestamp) -> Result<(), String> {
        let private = &claims.private;
        let namespace = private.namespace.as_str();
        if claims.sub != format!("{USER_PREFIX}{namespace}:{}", private.serviceaccount.name) {
            return Err("sub claim does not match the service account".to_owned());
        }
        let bound = [
            (&self.sources.accounts, Some(&private.serviceaccount), namespace, "service account"),
            (&self.sources.secrets, private.secret.as_ref(), namespace, "bound secret"),
            (&self.sources.pods, private.pod.as_ref(), namespace, "bound pod"),
            (&self.sources.nodes, private.node.as_ref().filter(|_| private.pod.is_none()), "", "bound node"),
        ];
        for (source, reference, namespace, what) in bound {
            let Some(reference) = reference else { continue };
            let gone = || format!("{what} \"{namespace}/{}\" has been deleted", reference.name);
            let entry = source.snapshot().get(namespace, &reference.name).ok_or_else(gone)?;
            let metadata = Metadata::of(&entry).ok_or_else(gone)?;
            if metadata.uid != reference.uid {
                return Err(format!("{what} UID ({}) does not match claim ({})", metadata.uid, reference.uid));
            }
            if metadata.ended_before(now) {
                return Err(gone());
            }
        }
        Ok(())
    }

    /// The node of a pod, as tokens name it.
    pub fn node_of(&self, pod: &Pod) -> Option<Reference> {
        let name = pod.spec.as_ref()?.node_name.clone().filter(|name| !name.is_empty())?;
        let entry = self.sources.nodes.snapshot().get("", &name);
        let uid = entry.and_then(|entry| Metadata::of(&entry)).map(|metadata| metadata.uid).unwrap_or_default();
        Some(Reference { name, uid })
    }
}

/// The few fields that decide whether an object is still the one that a token is bound to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: String,
    #[serde(default)]
    deletion_timestamp: Option<Timestamp>,
}

impl Metadata {
    fn of(entry: &Entry) -> Option<Self> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        serde_json::from_slice::<Object>(entry.object()).ok().map(|object| object.metadata)
    }

    /// A deletion timestamp says when the object is to be gone.
    fn ended_before(&self, now: Timestamp) -> bool {
        self.deletion_timestamp.is_some_and(|end| end.as_second() + LEEWAY_SECONDS < now.as_second())
    }
}

fn quoted(list: &[String]) -> String {
    let words: Vec<String> = list.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

fn check_times(claims: &Claims, now: Timestamp) -> Result<(), String> {
    let now = now.as_second();
    if now - LEEWAY_SECONDS > claims.exp {
        return Err("service account token has expired".to_owned());
    }
    if now + LEEWAY_SECONDS < claims.nbf {
        return Err("service account token is not valid yet".to_owned());
    }
    Ok(())
}

/// The user that a service account is.
pub fn user(namespace: &str, name: &str, uid: &str) -> User {
    User {
        name: format!("{USER_PREFIX}{namespace}:{name}"),
        uid: uid.to_owned(),
        groups: vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
        extra: BTreeMap::new(),
    }
}

fn user_of(claims: &Claims) -> User {
    let private = &claims.private;
    let mut user = user(&private.namespace, &private.serviceaccount.name, &private.serviceaccount.uid);
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            user.extra.insert(key.to_owned(), vec![value]);
        }
    };
    if !claims.jti.is_empty() {
        add(CREDENTIAL_ID, format!("JTI={}", claims.jti));
    }
    if let Some(pod) = &private.pod {
        add("authentication.kubernetes.io/pod-name", pod.name.clone());
        add("authentication.kubernetes.io/pod-uid", pod.uid.clone());
    }
    if let Some(node) = &private.node {
        add("authentication.kubernetes.io/node-name", node.name.clone());
        add("authentication.kubernetes.io/node-uid", node.uid.clone());
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(exp: i64) -> Claims {
        Claims {
            aud: vec!["a".into()],
            exp,
            iat: 100,
            iss: "i".into(),
            jti: "j".into(),
            private: Private {
                namespace: "n".into(),
                node: None,
                pod: Some(Reference { name: "p".into(), uid: "u".into() }),
                secret: None,
                serviceaccount: Reference { name: "s".into(), uid: "su".into() },
                warnafter: None,
            },
            nbf: 100,
            sub: "system:serviceaccount:n:s".into(),
        }
    }

    #[test]
    fn tokens_end() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(check_times(&claims(200), at(150)).is_ok());
        assert!(check_times(&claims(200), at(259)).is_ok(), "clocks may differ");
        assert_eq!(check_times(&claims(200), at(261)).unwrap_err(), "service account token has expired");
        assert!(check_times(&claims(200), at(30)).is_err());
    }

    #[test]
    fn a_signed_token_is_read_again_and_a_changed_one_is_not() {
        let keys = Keys::load(None, &[] as &[&std::path::Path]).unwrap();
        let token = keys.sign(&claims(200)).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        let key = keys.candidates(header.kid.as_deref()).next().unwrap();
        let mut validation = Validation::new(key.algorithm);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let read = |token: &str| jsonwebtoken::decode::<Claims>(token, &key.key, &validation);
        assert_eq!(read(&token).unwrap().claims.private.serviceaccount.name, "s");
        let (head, signature) = token.rsplit_once('.').unwrap();
        let (head, _) = head.split_once('.').unwrap();
        assert!(read(&format!("{head}.eyJhIjoxfQ.{signature}")).is_err());
    }

    #[test]
    fn an_account_is_a_user_with_groups() {
        let user = user_of(&claims(1));
        assert_eq!(user.name, "system:serviceaccount:n:s");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:n"]);
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(user.extra[CREDENTIAL_ID], ["JTI=j"]);
    }
}
