//! gRPC's standard health service (`grpc.health.v1.Health/Check`), which gRPC probes ask. It tells what `/healthz` and
//! `/ready` tell over HTTP.

use std::{io, net::TcpListener, sync::Arc};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;

/// The one method.
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// The longest question that is read.
const QUESTION_BYTES_MAX: usize = 4096;
/// Status codes of gRPC.
const NOT_FOUND: i32 = 5;
const UNIMPLEMENTED: i32 = 12;

/// Tells of a service whether it serves; `None` where it is not known.
pub type Tells = Arc<dyn Fn(&str) -> Option<bool> + Send + Sync>;

/// Answers until the process ends.
pub fn serve(listener: TcpListener, tells: Tells) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, peer) = listener.accept().await?;
            let tells = Arc::clone(&tells);
            tokio::spawn(async move {
                if let Err(error) = connection(stream, tells).await {
                    eprintln!("serve: grpc: {peer}: {error}");
                }
            });
        }
    })
}

async fn connection(stream: TcpStream, tells: Tells) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let tells = Arc::clone(&tells);
        // The connection moves the streams' bytes only while it is asked for the next request.
        tokio::spawn(async move {
            if let Err(error) = answer(request, respond, &tells).await {
                eprintln!("serve: grpc: {error}");
            }
        });
    }
    Ok(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    tells: &Tells,
) -> Result<(), h2::Error> {
    let known = request.uri().path() == CHECK;
    let mut body = request.into_body();
    let mut question = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        question.extend_from_slice(chunk.get(..QUESTION_BYTES_MAX.saturating_sub(question.len())).unwrap_or(&chunk));
    }
    let told = if known { service(&question).and_then(|name| tells(name)) } else { None };
    let mut headers = Response::new(());
    headers.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(headers, false)?;
    let code = match told {
        Some(serves) => {
            stream.send_data(Bytes::copy_from_slice(&status(serves)), false)?;
            0
        }
        None if known => NOT_FOUND,
        None => UNIMPLEMENTED,
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    if code == NOT_FOUND {
        trailers.insert("grpc-message", HeaderValue::from_static("unknown service"));
    }
    stream.send_trailers(trailers)
}

/// The service that a `HealthCheckRequest` asks for: a message's head of five bytes, then the string in field 1.
fn service(question: &[u8]) -> Option<&str> {
    let message = question.get(5..)?;
    match message {
        [] => Some(""),
        [0x0a, length @ 0..=127, name @ ..] if name.len() == usize::from(*length) => std::str::from_utf8(name).ok(),
        _ => None,
    }
}

/// A `HealthCheckResponse` with its head: field 1 is 1 for SERVING, 2 for NOT_SERVING.
fn status(serves: bool) -> [u8; 7] {
    [0, 0, 0, 0, 2, 0x08, if serves { 1 } else { 2 }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read() {
        assert_eq!(service(&[0, 0, 0, 0, 0]), Some(""));
        assert_eq!(service(b"\0\0\0\0\x07\x0a\x05ready"), Some("ready"));
        for wrong in [&b"\0\0"[..], b"\0\0\0\0\x07\x0a\x05read", b"\0\0\0\0\x02\x12\0", b"\0\0\0\0\x03\x0a\x01\xff"] {
            assert_eq!(service(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn it_answers_over_http2() -> Result<(), Box<dyn std::error::Error>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || serve(listener, Arc::new(|name| (name == "ready").then_some(true))));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let ask = |path: &'static str, name: &'static str| {
            runtime.block_on(async move {
                let stream = TcpStream::connect(address).await?;
                let (client, connection) = h2::client::handshake(stream).await?;
                tokio::spawn(connection);
                let request = Request::post(format!("http://{address}{path}")).body(())?;
                let mut client = client.ready().await?;
                let (response, mut body) = client.send_request(request, false)?;
                let length = u8::try_from(name.len())?;
                let head = [0, 0, 0, 0, length + 2, 0x0a, length];
                body.send_data([&head[..], name.as_bytes()].concat().into(), true)?;
                let mut answer = response.await?.into_body();
                let data = answer.data().await.transpose()?.unwrap_or_default();
                while answer.data().await.transpose()?.is_some() {}
                let code = answer.trailers().await?.and_then(|it| it.get("grpc-status").cloned());
                let code = code.ok_or("no trailers")?.to_str()?.to_owned();
                Ok::<_, Box<dyn std::error::Error>>((code, data.to_vec()))
            })
        };
        assert_eq!(ask(CHECK, "ready")?, ("0".to_owned(), status(true).to_vec()));
        assert_eq!(ask(CHECK, "other")?, (NOT_FOUND.to_string(), Vec::new()));
        assert_eq!(ask("/grpc.health.v1.Health/Watch", "ready")?, (UNIMPLEMENTED.to_string(), Vec::new()));
        Ok(())
    }
}
