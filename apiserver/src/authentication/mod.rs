//! Who sent a request. For now a verified client certificate is the only proof; anonymous is refused.

use reeve_api::{Reason, StatusError};
use reeve_client::tls::PeerIdentity;

use crate::request::User;

/// The group of everyone who proved who they are.
const AUTHENTICATED: &str = "system:authenticated";

/// The user that the connection's certificate names.
pub fn authenticate(peer: Option<&PeerIdentity>) -> Result<User, StatusError> {
    let Some(peer) = peer else {
        return Err(StatusError::new(Reason::Unauthorized, "Unauthorized"));
    };
    let mut groups = peer.groups.clone();
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    Ok(User { name: peer.user.clone(), groups, ..User::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_names_user_and_groups() {
        let peer = PeerIdentity { user: "a".into(), groups: vec!["g".into()] };
        let user = authenticate(Some(&peer)).unwrap();
        assert_eq!(user.name, "a");
        assert!(user.is_in("g") && user.is_in(AUTHENTICATED));
        assert_eq!(authenticate(None).unwrap_err().code(), 401);
    }
}
