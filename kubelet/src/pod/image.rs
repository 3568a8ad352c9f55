//! Names of images and the credentials that pull them, by upstream's rules. Pure.

use std::sync::Arc;

use base64::Engine as _;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

/// Why a name is no image's; upstream's words.
pub fn invalid(image: &str) -> Option<String> {
    let refused = |why: &str| Some(format!("couldn't parse image name \"{image}\": invalid reference format{why}"));
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let last = name.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match name[last..].split_once(':') {
        Some((_, tag)) => (&name[..name.len() - tag.len() - 1], Some(tag)),
        None => (name, None),
    };
    let word = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
    let tag_is_good = tag.is_none_or(|it| !it.is_empty() && it.len() <= 128 && it.chars().all(word));
    let digest_is_good = digest.is_none_or(|it| {
        it.split_once(':').is_some_and(|(kind, hex)| {
            !kind.is_empty() && hex.len() >= 32 && hex.chars().all(|it| it.is_ascii_hexdigit())
        })
    });
    let (registry, repository) = split(path);
    let registry_is_good = registry.chars().all(|it| word(it) || matches!(it, ':' | '[' | ']'));
    let part_is_good = |part: &str| {
        let ends = |it: Option<char>| it.is_some_and(|it| it.is_ascii_alphanumeric());
        part.chars().all(word) && ends(part.chars().next()) && ends(part.chars().last())
    };
    if !tag_is_good || !digest_is_good || !registry_is_good || !repository.split('/').all(part_is_good) {
        return refused("");
    }
    if repository.contains(|it: char| it.is_ascii_uppercase()) {
        return refused(&format!(": repository name ({repository}) must be lowercase"));
    }
    None
}

/// The registry of a name and the rest of it; images without a registry are Docker's.
fn split(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", name),
    }
}

/// An image's name without tag and digest, with its registry: what its credentials are for.
pub fn repository(image: &str) -> String {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let last = name.rfind('/').map_or(0, |at| at + 1);
    let name = name[last..].split_once(':').map_or(name, |(_, tag)| &name[..name.len() - tag.len() - 1]);
    let (registry, rest) = split(name);
    let docker = matches!(registry, "docker.io" | "index.docker.io");
    match (docker, rest.contains('/')) {
        (true, false) => format!("docker.io/library/{rest}"),
        (true, true) => format!("docker.io/{rest}"),
        _ => format!("{registry}/{rest}"),
    }
}

/// An image's name as runtimes list it: with its registry, and with the tag `latest` where it has neither tag nor digest.
pub fn full_name(image: &str) -> String {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let repository = repository(name);
    let tag = name.rsplit('/').next().and_then(|last| last.split_once(':')).map_or("latest", |(_, tag)| tag);
    match digest {
        Some(digest) => format!("{repository}@{digest}"),
        None => format!("{repository}:{tag}"),
    }
}

/// The secret that credentials come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretSource {
    /// Its UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A user of a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The registry as the secret names it.
    pub server: String,
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
    /// Where they come from.
    pub source: SecretSource,
}

/// Why a pull secret cannot be used. Says nothing of what is in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("pull secret \"{namespace}/{name}\": {key}: {why}")]
pub struct CredentialsError {
    /// The secret's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key of its data.
    pub key: &'static str,
    /// What is wrong there.
    pub why: String,
}

impl std::fmt::Debug for Credentials {
    /// Without the password, which no log may hold.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Credentials({} at {})", self.user, self.server)
    }
}

/// All credentials in pull secrets that are for an image, those for the longest part of its name first. Secrets of type
/// `kubernetes.io/dockerconfigjson` and `kubernetes.io/dockercfg`; others hold none.
///
/// # Errors
/// What such a secret holds cannot be read. Upstream pulls nothing then, with none of the secrets.
pub fn credentials(secrets: &[Arc<Secret>], image: &str) -> Result<Vec<Credentials>, CredentialsError> {
    let mut found = Vec::new();
    for secret in secrets {
        let source = SecretSource {
            uid: secret.metadata.uid.clone().unwrap_or_default(),
            namespace: secret.metadata.namespace.clone().unwrap_or_default(),
            name: secret.metadata.name.clone().unwrap_or_default(),
        };
        let key = match secret.type_.as_deref() {
            Some("kubernetes.io/dockerconfigjson") => ".dockerconfigjson",
            Some("kubernetes.io/dockercfg") => ".dockercfg",
            _ => continue,
        };
        let Some(text) = secret.data.as_ref().and_then(|it| it.get(key)).filter(|it| !it.0.is_empty()) else {
            continue;
        };
        let refused =
            |why: String| CredentialsError { namespace: source.namespace.clone(), name: source.name.clone(), key, why };
        let servers: Value = serde_json::from_slice(&text.0).map_err(|error| refused(error.to_string()))?;
        let servers = if key == ".dockercfg" { Some(&servers) } else { servers.get("auths") };
        let Some(servers) = servers.filter(|it| !it.is_null()) else { continue };
        let servers = servers.as_object().ok_or_else(|| refused("the registries must be an object".into()))?;
        for (server, auth) in servers {
            let login = login(auth).map_err(|why| refused(format!("{server}: {why}")))?;
            if let Some((user, password)) = login.filter(|_| matches(server, image)) {
                found.push(Credentials { server: server.clone(), user, password, source: source.clone() });
            }
        }
    }
    found.sort_by_key(|it| std::cmp::Reverse(it.server.len()));
    Ok(found)
}

/// User and password of an entry, if it has both.
fn login(auth: &Value) -> Result<Option<(String, String)>, &'static str> {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    let text = |field: &str| auth.get(field).and_then(Value::as_str).filter(|it| !it.is_empty()).map(str::to_owned);
    if let Some(packed) = text("auth") {
        let packed = packed.trim();
        let bytes = STANDARD.decode(packed).or_else(|_| STANDARD_NO_PAD.decode(packed)).ok();
        let unpacked = bytes.and_then(|it| String::from_utf8(it).ok());
        let pair = unpacked.as_deref().and_then(|it| it.split_once(':'));
        let (user, password) =
            pair.ok_or("unable to parse auth field, must be formatted as base64 of username:password")?;
        return Ok(Some((user.to_owned(), password.to_owned())));
    }
    Ok(text("username").zip(text("password")))
}

/// Whether a secret's server, which may have a path and a `*` for a part of its host, is for an image.
fn matches(server: &str, image: &str) -> bool {
    let server = server.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let path = path.trim_end_matches('/');
    let (registry, repository) = split(image);
    let docker = |host: &str| matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    if docker(registry) {
        // Docker's own server is named with the version of its API.
        return docker(host) && (matches!(path, "" | "v1" | "v2") || below(repository, path));
    }
    let (host_name, host_port) = host.split_once(':').unwrap_or((host, ""));
    let (name, port) = registry.split_once(':').unwrap_or((registry, ""));
    let wanted: Vec<&str> = host_name.split('.').collect();
    let given: Vec<&str> = name.split('.').collect();
    let fits = wanted.len() == given.len() && wanted.iter().zip(&given).all(|(pattern, part)| glob(pattern, part));
    fits && host_port == port && (matches!(path, "" | "v1" | "v2") || below(repository, path))
}

fn below(repository: &str, path: &str) -> bool {
    repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
}

/// Whether a part of a host matches a pattern with at most a few `*`.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            let Some(rest) = text.strip_prefix(head) else { return false };
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| glob(tail, &rest[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_image_has() {
        for good in [
            "web",
            "web:1.2",
            "a/b/web:x_y",
            "host:5000/web",
            "localhost/web",
            "web@sha256:0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(invalid(good), None, "{good}");
        }
        for bad in ["", ":1", "web:", "we b", "a//b", "web@sha256:x", "/web", "web:1:2"] {
            assert!(invalid(bad).is_some(), "{bad}");
        }
        assert_eq!(
            invalid("host.example/Web:1").unwrap(),
            "couldn't parse image name \"host.example/Web:1\": invalid reference format: repository name (Web) must be \
             lowercase"
        );
    }

    fn secret(kind: &str, text: &str) -> Arc<Secret> {
        let data = k8s_openapi::ByteString(text.as_bytes().to_vec());
        let type_ = Some(format!("kubernetes.io/{}", kind.trim_start_matches('.')));
        let mut secret = Secret { data: Some([(kind.to_owned(), data)].into()), type_, ..Secret::default() };
        (secret.metadata.namespace, secret.metadata.name) = (Some("n".into()), Some("s".into()));
        Arc::new(secret)
    }

    #[test]
    fn repositories_are_named_in_full() {
        for (image, repository_name, full) in [
            ("web", "docker.io/library/web", "docker.io/library/web:latest"),
            ("team/web:1", "docker.io/team/web", "docker.io/team/web:1"),
            ("host:5000/web:1", "host:5000/web", "host:5000/web:1"),
            ("a.example/x@sha256:0", "a.example/x", "a.example/x@sha256:0"),
            ("a.example/x:1@sha256:0", "a.example/x", "a.example/x@sha256:0"),
        ] {
            assert_eq!((repository(image).as_str(), full_name(image).as_str()), (repository_name, full), "{image}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_without_the_secret() {
        let told = |kind: &str, text: &str| credentials(&[secret(kind, text)], "web").unwrap_err().to_string();
        let broken = told(".dockerconfigjson", r#"{"auths": {"x": "hidden"#);
        assert!(broken.starts_with("pull secret \"n/s\": .dockerconfigjson: EOF while parsing"), "{broken}");
        let packed = told(".dockercfg", r#"{"a.example": {"auth": "hidden"}}"#);
        assert!(packed.contains("a.example: unable to parse auth field"), "{packed}");
        assert!(told(".dockerconfigjson", r#"{"auths": "hidden"}"#).contains("must be an object"));
        assert!(![broken, packed].iter().any(|it| it.contains("hidden")));
        let mut other = Secret::clone(&secret(".dockercfg", "{"));
        other.type_ = Some("Opaque".into());
        assert!(credentials(&[Arc::new(other)], "web").unwrap().is_empty());
        assert!(credentials(&[secret(".dockerconfigjson", "{}")], "web").unwrap().is_empty());
    }

    #[test]
    fn credentials_go_by_the_registry_the_longest_first() {
        let config = r#"{"auths": {
            "https://one.example/v1/": {"auth": "dXNlcjpwYXNz"},
            "one.example/team": {"username": "team", "password": "p"},
            "*.two.example:5000": {"username": "star", "password": "p"},
            "https://index.docker.io/v1/": {"username": "hub", "password": "p"}
        }}"#;
        let secrets = [
            secret(".dockerconfigjson", config),
            secret(".dockercfg", r#"{"old.example": {"username": "old", "password": "p"}}"#),
        ];
        let users = |image: &str| -> Vec<String> {
            credentials(&secrets, image).unwrap().into_iter().map(|it| it.user).collect()
        };
        assert_eq!(users("one.example/team/web:1"), ["user", "team"]);
        assert_eq!(users("one.example/teams/web:1"), ["user"]);
        assert_eq!(users("a.two.example:5000/web"), ["star"]);
        assert!(users("a.two.example/web").is_empty() && users("b.a.two.example:5000/web").is_empty());
        assert_eq!(users("old.example/web"), ["old"]);
        assert_eq!((users("web"), users("library/web:1")), (vec!["hub".to_owned()], vec!["hub".to_owned()]));
        assert_eq!(credentials(&secrets, "one.example/web").unwrap()[0].password, "pass");
    }
}
