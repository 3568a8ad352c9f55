//! One GET over HTTP/1.1, with or without TLS. TLS certificates are not verified, as upstream.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming, header};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;

use super::{Place, ReachError, dial, insecure};

/// The longest part of an answer's body that is read, upstream's limit.
const BODY_LIMIT: usize = 10 << 10;
/// How many redirects to the same host are followed, upstream's limit.
const REDIRECTS: u32 = 10;

/// What is asked for.
struct Target {
    address: SocketAddr,
    https: bool,
    path: String,
}

impl Target {
    fn url(&self) -> String {
        format!("{}://{}{}", if self.https { "https" } else { "http" }, self.address, self.path)
    }
}

/// A probe: codes from 200 to 399 are success. A redirect to the same host is followed, one to another host is a
/// success.
pub async fn probe(place: &Place, action: &HTTPGetAction, timeout: Duration) -> Result<(), ReachError> {
    let mut target = target(place, action)?;
    let work = async {
        for _ in 0..REDIRECTS {
            let response = get(&target, action).await?;
            let code = response.status();
            let location = response.headers().get(header::LOCATION).and_then(|it| it.to_str().ok()).map(str::to_owned);
            // The body is read so that the server does not see its answer cut off.
            if let Err(error) = Limited::new(response.into_body(), BODY_LIMIT).collect().await {
                tracing::trace!(%error, "the body of a probe's answer was not read whole");
            }
            match location.filter(|_| code.is_redirection()).map(|it| same_host(&target, &it)) {
                Some(Some(path)) => target.path = path,
                Some(None) => return Ok(()),
                None if code.is_success() || code.is_redirection() => return Ok(()),
                None => return Err(ReachError::StatusCode(code.as_u16())),
            }
        }
        Err(ReachError::Redirects(REDIRECTS))
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(ReachError::Http { url: url(place, action), source: Box::new(ReachError::HttpTimeout) }),
    }
}

/// A hook: any answer will do.
pub async fn call(place: &Place, action: &HTTPGetAction) -> Result<StatusCode, ReachError> {
    let target = target(place, action)?;
    Ok(get(&target, action).await?.status())
}

fn url(place: &Place, action: &HTTPGetAction) -> String {
    target(place, action).map(|it| it.url()).unwrap_or_default()
}

fn target(place: &Place, action: &HTTPGetAction) -> Result<Target, ReachError> {
    let address = place.address(action.host.as_deref(), &action.port)?;
    let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Target { address, https: action.scheme.as_deref() == Some("HTTPS"), path })
}

/// The path of a redirect that stays on the host; `None` for one that leaves it.
fn same_host(target: &Target, location: &str) -> Option<String> {
    let uri: Uri = location.parse().ok()?;
    let path = uri.path_and_query().map_or("/", |it| it.as_str()).to_owned();
    match uri.host() {
        None => Some(path),
        Some(host) if host == target.address.ip().to_string() => Some(path),
        Some(_) => None,
    }
}

async fn get(target: &Target, action: &HTTPGetAction) -> Result<Response<Incoming>, ReachError> {
    let mut request = Request::get(&target.path);
    let (mut has_host, mut has_agent, mut has_accept) = (false, false, false);
    for given in action.http_headers.iter().flatten() {
        has_host |= given.name.eq_ignore_ascii_case("host");
        has_agent |= given.name.eq_ignore_ascii_case("user-agent");
        has_accept |= given.name.eq_ignore_ascii_case("accept");
        // A header without a value is left out, which is how upstream lets one drop the defaults.
        if !given.value.is_empty() {
            request = request.header(&given.name, &given.value);
        }
    }
    if !has_host {
        request = request.header(header::HOST, target.address.to_string());
    }
    if !has_agent {
        request = request.header(header::USER_AGENT, concat!("kube-probe/", env!("CARGO_PKG_VERSION")));
    }
    if !has_accept {
        request = request.header(header::ACCEPT, "*/*");
    }
    let request = request
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|source| ReachError::Request { url: target.url(), source })?;
    let failed = |source: ReachError| ReachError::Http { url: target.url(), source: Box::new(source) };
    let stream = dial(target.address).await.map_err(failed)?;
    let io: Box<dyn Duplex> = if target.https {
        Box::new(insecure::connect(stream, target.address.ip()).await.map_err(|error| failed(ReachError::Tls(error)))?)
    } else {
        Box::new(stream)
    };
    exchange(io, request).await.map_err(|error| failed(error.into()))
}

async fn exchange(io: Box<dyn Duplex>, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    // It ends with the answer's body, or when the answer is dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "a probe's connection ended");
        }
    });
    sender.send_request(request).await
}

trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Duplex for T {}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Container;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each path as told: its status line and further headers.
    async fn server(answers: &'static [(&'static str, &'static str)]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).await.unwrap();
                let request = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let answer = answers.iter().find(|(known, _)| *known == path).map(|(_, answer)| *answer);
                let Some(answer) = answer else { continue };
                let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        });
        address
    }

    async fn ask(address: SocketAddr, path: &str) -> Result<(), String> {
        let place = Place { address: address.ip(), container: Container::default() };
        let action = HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::Int(address.port().into()),
            ..HTTPGetAction::default()
        };
        probe(&place, &action, Duration::from_secs(5)).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn codes_and_redirects_are_judged_as_upstream_does() {
        let address = server(&[
            ("/ok", "204 No Content"),
            ("/bad", "503 Service Unavailable"),
            ("/here", "302 Found\r\nLocation: /bad"),
            ("/away", "302 Found\r\nLocation: http://203.0.113.1/bad"),
            ("/round", "302 Found\r\nLocation: /round"),
        ])
        .await;
        assert_eq!(ask(address, "/ok").await, Ok(()));
        assert_eq!(ask(address, "bad").await, Err("HTTP probe failed with statuscode: 503".into()));
        assert_eq!(ask(address, "/here").await, Err("HTTP probe failed with statuscode: 503".into()));
        assert_eq!(ask(address, "/away").await, Ok(()));
        assert_eq!(ask(address, "/round").await, Err("stopped after 10 redirects".into()));
    }
}
