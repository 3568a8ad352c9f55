//! Logs over WebSocket: a message for each piece, as bytes or in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use reeve_api::StatusError;
use tokio_tungstenite::tungstenite::{Error, Message};
use tonic::body::Body;

use super::socket;

const BASE64: &str = "base64.binary.k8s.io";
/// The subprotocols; a client that names none gets bytes.
const NAMES: [&str; 3] = ["", "binary.k8s.io", BASE64];

/// Upgrades the connection and sends a log's answer on it.
pub fn upgrade(mut request: Request<Incoming>, log: Response<Body>) -> Result<Response<Body>, StatusError> {
    let protocol = socket::negotiate(request.headers(), &NAMES)?;
    let (response, upgrade) = socket::accept(&mut request, protocol)?;
    tokio::spawn(async move {
        if let Some(socket) = socket::open(upgrade).await
            && let Err(error) = serve(socket, protocol, log.into_body()).await
        {
            tracing::debug!(%error, "a log was cut off by its client");
        }
    });
    Ok(response)
}

fn message(protocol: &str, data: Bytes) -> Message {
    if protocol == BASE64 { Message::Text(STANDARD.encode(&data).into()) } else { Message::Binary(data) }
}

async fn serve(socket: socket::Socket, protocol: &str, mut log: Body) -> Result<(), Error> {
    let (mut sink, source) = socket.split();
    let output = async {
        // The client learns that the connection stands by an empty message.
        sink.send(message(protocol, Bytes::new())).await?;
        while let Some(frame) = log.frame().await {
            match frame.map(|frame| frame.into_data()) {
                Ok(Ok(data)) => sink.send(message(protocol, data)).await?,
                Ok(Err(_)) => {}
                Err(error) => {
                    tracing::debug!(%error, "a log broke off");
                    break;
                }
            }
        }
        socket::close(&mut sink).await
    };
    tokio::select! {
        written = output => written,
        left = socket::left(source) => left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_the_form_of_the_protocol() {
        let piece = || Bytes::from_static(b"a\xff");
        assert_eq!(message("", piece()), Message::Binary(piece()));
        assert_eq!(message("binary.k8s.io", piece()), Message::Binary(piece()));
        assert_eq!(message(BASE64, piece()), Message::Text("Yf8=".into()));
    }
}
