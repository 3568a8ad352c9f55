//! `pods/NAME/proxy`, `services/NAME/proxy` and `nodes/NAME/proxy`: HTTP through the API server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use reeve_api::{Reason, StatusError};
use tonic::body::Body;

use crate::handlers::Handlers;
use crate::outbound::tls::{self, Identity};
use crate::outbound::{Destination, hand_on};
use crate::request::{Target, User, Verb};

/// The files that kubelets know us by, and the authority of theirs. They are read for each request to a kubelet, of
/// which there are few: certificates rotate.
#[derive(Clone, Debug)]
struct Credentials {
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl Credentials {
    async fn load(&self) -> Result<Arc<rustls::ClientConfig>, StatusError> {
        let read = |path: PathBuf| async move {
            tokio::fs::read(&path)
                .await
                .map_err(|error| StatusError::internal(format_args!("cannot read {}: {error}", path.display())))
        };
        let certificate = read(self.certificate.clone()).await?;
        let key = read(self.key.clone()).await?;
        let identity = Identity { certificate: &certificate, key: &key };
        tls::verified(&read(self.authority.clone()).await?, Some(identity)).map_err(StatusError::internal)
    }
}

/// How the other sides are spoken to.
pub struct Proxy {
    kubelet: Option<Credentials>,
    anybody: Arc<rustls::ClientConfig>,
}

impl Proxy {
    /// With the certificate that kubelets know us by, and the authority of theirs. Without them nodes are out of
    /// reach.
    ///
    /// # Errors
    /// When this host has no TLS.
    pub fn new(certificate: Option<&Path>, key: Option<&Path>, authority: Option<&Path>) -> anyhow::Result<Self> {
        let kubelet = match (certificate, key, authority) {
            (Some(certificate), Some(key), Some(authority)) => Some(Credentials {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                authority: authority.to_owned(),
            }),
            _ => None,
        };
        Ok(Self { kubelet, anybody: tls::unverified(None)? })
    }

    /// Hands a request on and its answer back.
    ///
    /// # Errors
    /// When the user may not, and when there is nobody to hand it to.
    pub async fn answer(
        &self,
        handlers: &Handlers,
        user: &User,
        verb: Verb,
        target: &Target,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, StatusError> {
        let place = handlers.locate_proxied(user, verb, target).await?;
        let path = request.uri().path().to_owned();
        let rest = beyond(&path, target);
        if rest.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
            return redirect(&path, request.uri().query());
        }
        let rest = if rest.is_empty() { "/" } else { rest };
        let onward = match request.uri().query() {
            Some(query) => format!("{rest}?{query}"),
            None => rest.to_owned(),
        };
        let tls = match (place.https, place.kubelet) {
            (false, _) => None,
            (true, false) => Some(self.anybody.clone()),
            (true, true) => match &self.kubelet {
                Some(credentials) => Some(credentials.load().await?),
                None => {
                    let why = "the API server has no credentials for kubelets: start it with \
                               --kubelet-client-certificate, --kubelet-client-key and --kubelet-certificate-authority";
                    return Err(StatusError::unavailable(why, 60));
                }
            },
        };
        let destination =
            Destination { host: place.host, port: place.port, tls, server_name: None, through: place.through };
        // Who the user is to us is nobody else's business.
        request.headers_mut().remove(AUTHORIZATION);
        let mut own = vec![(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https"))];
        if let Some(host) = request.headers().get(HOST) {
            own.push((HeaderName::from_static("x-forwarded-host"), host.clone()));
        }
        if let Ok(uri) = HeaderValue::from_str(&path) {
            own.push((HeaderName::from_static("x-forwarded-uri"), uri));
        }
        hand_on(&destination, &onward, &own, request).await.map_err(|error| {
            StatusError::new(Reason::ServiceUnavailable, format!("error trying to reach service: {error}"))
        })
    }
}

/// What of a path is beyond the proxy itself, with its first slash; empty when nothing is.
fn beyond<'a>(path: &'a str, target: &Target) -> &'a str {
    // "/api/v1/nodes/NAME/proxy", or with the namespace before.
    let segments = if target.namespace.is_empty() { 5 } else { 7 };
    path.match_indices('/').nth(segments).map_or("", |(at, _)| &path[at..])
}

/// Relative links of the other side's pages need the slash.
fn redirect(path: &str, query: Option<&str>) -> Result<Response<Body>, StatusError> {
    let location = match query {
        Some(query) => format!("{path}/?{query}"),
        None => format!("{path}/"),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(&location).map_err(StatusError::internal)?);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use reeve_api::GroupVersionResource;

    use super::*;

    #[test]
    fn the_path_beyond_the_proxy_goes_on_as_it_was_written() {
        let target = |resource: &str, namespace: &str| Target {
            resource: GroupVersionResource::new("", "v1", resource),
            namespace: namespace.into(),
            name: "n".into(),
            subresource: "proxy".into(),
        };
        let node = target("nodes", "");
        assert_eq!(beyond("/api/v1/nodes/n/proxy", &node), "");
        assert_eq!(beyond("/api/v1/nodes/n/proxy/", &node), "/");
        assert_eq!(beyond("/api/v1/nodes/n/proxy/stats/a%2Fb", &node), "/stats/a%2Fb");
        let pod = target("pods", "d");
        assert_eq!(beyond("/api/v1/namespaces/d/pods/n/proxy/x/", &pod), "/x/");
    }
}
