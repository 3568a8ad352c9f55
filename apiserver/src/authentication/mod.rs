//! Who sent a request: a verified client certificate, a bearer token, or nobody.

pub mod bootstrap_token;
pub mod impersonation;
pub mod keys;
pub mod service_account;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use jiff::Timestamp;
use reeve_api::{Reason, StatusError};
use reeve_client::tls::PeerIdentity;

use self::service_account::{ServiceAccountTokens, TokenError};
use crate::request::User;

/// The group of everyone who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everyone else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user that nobody is.
pub const ANONYMOUS: &str = "system:anonymous";

/// What is believed.
pub struct Authenticator {
    tokens: ServiceAccountTokens,
    bootstrap_tokens: bool,
    anonymous: bool,
}

fn unauthorized() -> StatusError {
    StatusError::new(Reason::Unauthorized, "Unauthorized")
}

impl Authenticator {
    /// Certificates, the given tokens, and what else is wanted.
    pub fn new(tokens: ServiceAccountTokens, bootstrap_tokens: bool, anonymous: bool) -> Self {
        Self { tokens, bootstrap_tokens, anonymous }
    }

    /// Service account tokens.
    pub fn tokens(&self) -> &ServiceAccountTokens {
        &self.tokens
    }

    /// The user of a request.
    ///
    /// # Errors
    /// `Unauthorized` for a token that is not believed, and for a request without any proof where nobody is let in.
    pub fn authenticate(
        &self,
        peer: Option<&PeerIdentity>,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<User, StatusError> {
        if let Some(peer) = peer {
            return Ok(proven(User { name: peer.user.clone(), groups: peer.groups.clone(), ..User::default() }));
        }
        if let Some(token) = bearer(headers).map(Cow::Borrowed).or_else(|| offered(headers).map(Cow::Owned)) {
            return match self.of_token(&token, &[], now) {
                Ok((user, _)) => Ok(user),
                Err(error) => {
                    tracing::info!(%error, "a bearer token is refused");
                    Err(unauthorized())
                }
            };
        }
        if self.anonymous {
            return Ok(User {
                name: ANONYMOUS.to_owned(),
                groups: vec![UNAUTHENTICATED.to_owned()],
                ..User::default()
            });
        }
        Err(unauthorized())
    }

    /// The user of a token and the audiences that it shares with those asked for.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn of_token(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<(User, Vec<String>), TokenError> {
        if self.bootstrap_tokens
            && let Some(user) = bootstrap_token::authenticate(&self.tokens.sources().secrets, token, now)
        {
            return Ok((proven(user), self.tokens.audiences().to_vec()));
        }
        let (user, audiences) = self.tokens.authenticate(token, audiences, now)?;
        Ok((proven(user), audiences))
    }
}

/// A user with the group of those who proved who they are.
pub fn proven(mut user: User) -> User {
    if !user.is_in(AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// What the protocol begins with under which browsers, which cannot set headers, offer a token for a WebSocket.
const OFFERED: &str = "base64url.bearer.authorization.k8s.io.";

/// A token among the protocols that a WebSocket offers. One that offers nothing else cannot be answered: such a request
/// has no token.
fn offered(headers: &HeaderMap) -> Option<String> {
    let upgrade = headers.get(UPGRADE)?.to_str().ok()?;
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return None;
    }
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let (tokens, others): (Vec<&str>, Vec<&str>) =
        values.flat_map(|value| value.split(',')).map(str::trim).partition(|protocol| protocol.starts_with(OFFERED));
    let [token] = tokens.as_slice() else { return None };
    let token = URL_SAFE_NO_PAD.decode(token.strip_prefix(OFFERED)?).ok()?;
    String::from_utf8(token).ok().filter(|token| !token.is_empty() && !others.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_found() {
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            headers
        };
        assert_eq!(bearer(&headers("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&headers("bearer  abc")), Some("abc"));
        assert_eq!(bearer(&headers("Basic abc")), None);
        assert_eq!(bearer(&headers("Bearer ")), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn a_websocket_offers_a_token_beside_its_protocol() {
        let headers = |protocols: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(UPGRADE, "websocket".parse().unwrap());
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocols.parse().unwrap());
            headers
        };
        let token = "base64url.bearer.authorization.k8s.io.YWJj";
        assert_eq!(offered(&headers(&format!("v4.channel.k8s.io, {token}"))).as_deref(), Some("abc"));
        assert_eq!(offered(&headers(token)), None, "nothing else is offered");
        assert_eq!(offered(&headers(&format!("{token}, {token}, v4.channel.k8s.io"))), None, "two tokens");
        assert_eq!(offered(&headers("v4.channel.k8s.io")), None);
        let mut plain = headers(&format!("v4.channel.k8s.io, {token}"));
        plain.remove(UPGRADE);
        assert_eq!(offered(&plain), None, "no WebSocket");
    }

    #[test]
    fn whoever_proved_who_he_is_is_in_a_group_once() {
        let user = proven(proven(User { name: "a".into(), ..User::default() }));
        assert_eq!(user.groups, [AUTHENTICATED]);
    }
}
