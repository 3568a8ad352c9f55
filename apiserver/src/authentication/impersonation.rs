//! Acting as somebody else: the `Impersonate-*` headers, and who may use them.
//!
//! Two ways lead there, as in Kubernetes 1.36. The older one asks for the verb `impersonate` on each part of the
//! wanted identity. The newer one (KEP-5284) asks for a verb per kind of identity, and for one more on what is to be
//! done with it: `impersonate:user-info` on the identity and `impersonate-on:user-info:list` on the request.

use std::collections::BTreeMap;

use http::HeaderMap;
use reeve_api::{Reason, StatusError};

use super::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, service_account};
use crate::authorization::{Attributes, Authorizer, Decision, On, ResourceAttributes, refusal};
use crate::request::User;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";
const NODE_PREFIX: &str = "system:node:";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// The wanted identity, as the headers say it; `None` without such headers.
///
/// # Errors
/// When there are parts of an identity but no user.
fn wanted(headers: &HeaderMap) -> Result<Option<User>, StatusError> {
    let texts = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA_PREFIX), value.to_str()) {
            // Header names are lower case here already.
            let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
            extra.entry(key).or_default().push(value.to_owned());
        }
    }
    let name = texts(USER).into_iter().next().unwrap_or_default();
    let (groups, uid) = (texts(GROUP), texts(UID).into_iter().next().unwrap_or_default());
    if name.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        let why = "requested impersonation of groups, a uid or extra fields without impersonating a user";
        return Err(StatusError::new(Reason::InternalError, why));
    }
    Ok(Some(User { name, uid, groups, extra }))
}

/// Whether a request asks to act as somebody else; nearly none does.
pub fn is_asked(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("impersonate-"))
}

/// The user that a request acts as: the one who sent it, or the one that it asks to be.
///
/// # Errors
/// `Forbidden` when the user may not act as that one.
pub fn apply(
    authorizer: &dyn Authorizer,
    user: User,
    headers: &HeaderMap,
    verb: &str,
    on: On<'_>,
) -> Result<User, StatusError> {
    if !is_asked(headers) {
        return Ok(user);
    }
    let Some(wanted) = wanted(headers)? else { return Ok(user) };
    let allowed = constrained(authorizer, &user, &wanted, verb, on);
    if let Err(error) = allowed
        && !plainly(authorizer, &user, &wanted)
    {
        return Err(error);
    }
    tracing::info!(user = user.name, wanted = wanted.name, verb, "acting as somebody else");
    Ok(completed(wanted))
}

/// The groups that come with an identity.
fn completed(mut user: User) -> User {
    if user.groups.is_empty()
        && let Some((namespace, name)) = account(&user.name)
    {
        user.groups = service_account::user(namespace, name, "").groups;
    }
    let group = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !user.is_in(AUTHENTICATED) && !user.is_in(group) {
        user.groups.push(group.to_owned());
    }
    user
}

fn account(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(service_account::USER_PREFIX)?.split_once(':')
}

fn allows(authorizer: &dyn Authorizer, user: &User, verb: &str, on: ResourceAttributes<'_>) -> bool {
    matches!(authorizer.authorize(&Attributes { user, verb, on: On::Resource(on) }), Decision::Allow(_))
}

/// The newer way.
fn constrained(
    authorizer: &dyn Authorizer,
    user: &User,
    wanted: &User,
    verb: &str,
    on: On<'_>,
) -> Result<(), StatusError> {
    let mode = if account(&wanted.name).is_some() {
        "serviceaccount"
    } else if wanted.name.starts_with(NODE_PREFIX) {
        "arbitrary-node"
    } else {
        "user-info"
    };
    let verb = format!("impersonate-on:{mode}:{verb}");
    let ask = Attributes { user, verb: &verb, on };
    if let Decision::Deny(why) | Decision::NoOpinion(why) = authorizer.authorize(&ask) {
        return Err(refusal(&ask, &why));
    }
    let verb = format!("impersonate:{mode}");
    let mut parts = vec![match (account(&wanted.name), wanted.name.strip_prefix(NODE_PREFIX)) {
        (Some((namespace, name)), _) => part(AUTHENTICATION, "serviceaccounts", "", namespace, name),
        (None, Some(node)) => part(AUTHENTICATION, "nodes", "", "", node),
        (None, None) => part(AUTHENTICATION, "users", "", "", &wanted.name),
    }];
    parts.extend(rest(wanted, AUTHENTICATION));
    for on in parts {
        let ask = Attributes { user, verb: &verb, on: On::Resource(on) };
        if let Decision::Deny(why) | Decision::NoOpinion(why) = authorizer.authorize(&ask) {
            return Err(refusal(&ask, &why));
        }
    }
    Ok(())
}

/// The older way.
fn plainly(authorizer: &dyn Authorizer, user: &User, wanted: &User) -> bool {
    let name = match account(&wanted.name) {
        Some((namespace, name)) => part("", "serviceaccounts", "", namespace, name),
        None => part("", "users", "", "", &wanted.name),
    };
    std::iter::once(name).chain(rest(wanted, "")).all(|on| allows(authorizer, user, "impersonate", on))
}

/// The parts of an identity beyond its name.
fn rest<'a>(wanted: &'a User, groups: &'a str) -> impl Iterator<Item = ResourceAttributes<'a>> {
    let names = wanted.groups.iter().map(move |name| part(groups, "groups", "", "", name));
    let uid = Some(wanted.uid.as_str()).filter(|uid| !uid.is_empty());
    let uid = uid.into_iter().map(|uid| part(AUTHENTICATION, "uids", "", "", uid));
    let extra = wanted
        .extra
        .iter()
        .flat_map(|(key, values)| values.iter().map(move |value| part(AUTHENTICATION, "userextras", key, "", value)));
    names.chain(uid).chain(extra)
}

fn part<'a>(
    group: &'a str,
    resource: &'a str,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
) -> ResourceAttributes<'a> {
    ResourceAttributes { group, resource, subresource, namespace, name, fields: "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::ApplyingRules;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    /// Allows one verb on one resource.
    struct Only(&'static str, &'static str);

    impl Authorizer for Only {
        fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
            match attributes.on {
                On::Resource(on) if attributes.verb == self.0 && on.resource == self.1 => Decision::Allow("".into()),
                _ => Decision::none(),
            }
        }

        fn rules(&self, _: &User, _: &str) -> ApplyingRules {
            ApplyingRules::default()
        }
    }

    fn acting(authorizer: &Only, pairs: &[(&'static str, &str)]) -> Result<User, StatusError> {
        let user = User { name: "ann".into(), ..User::default() };
        let on = On::Resource(ResourceAttributes { resource: "pods", namespace: "a", ..Default::default() });
        apply(authorizer, user, &headers(pairs), "list", on)
    }

    #[test]
    fn without_headers_nothing_changes() {
        assert_eq!(acting(&Only("x", "x"), &[]).unwrap().name, "ann");
        assert!(acting(&Only("x", "x"), &[("impersonate-group", "g")]).is_err());
    }

    #[test]
    fn the_older_way_needs_every_part() {
        let may = Only("impersonate", "users");
        let user = acting(&may, &[("impersonate-user", "jane")]).unwrap();
        assert_eq!((user.name.as_str(), user.groups.as_slice()), ("jane", &[AUTHENTICATED.to_owned()][..]));
        assert!(acting(&may, &[("impersonate-user", "jane"), ("impersonate-group", "g")]).is_err());
        let may = Only("impersonate", "serviceaccounts");
        let user = acting(&may, &[("impersonate-user", "system:serviceaccount:n:s")]).unwrap();
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:n", AUTHENTICATED]);
    }

    #[test]
    fn a_refusal_is_that_of_the_newer_way() {
        let error = acting(&Only("x", "x"), &[("impersonate-user", "jane")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pods is forbidden: User \"ann\" cannot impersonate-on:user-info:list resource \"pods\" in API group \
             \"\" in the namespace \"a\""
        );
    }

    #[test]
    fn extra_keys_are_unescaped() {
        let user = wanted(&headers(&[("impersonate-user", "j"), ("impersonate-extra-acme.com%2fproject", "some")]));
        assert_eq!(user.unwrap().unwrap().extra["acme.com/project"], ["some"]);
    }
}
