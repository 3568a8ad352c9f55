//! Watches over WebSocket: each event is a text message.

use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use reeve_api::StatusError;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tonic::body::Body;

use super::socket;

/// Upgrades the connection and sends the lines of a watch's answer on it.
pub fn upgrade(mut request: Request<Incoming>, lines: Response<Body>) -> Result<Response<Body>, StatusError> {
    let (response, upgrade) = socket::accept(&mut request, "")?;
    tokio::spawn(async move {
        if let Some(socket) = socket::open(upgrade).await
            && let Err(error) = serve(socket, lines.into_body()).await
        {
            tracing::debug!(%error, "a watch was cut off by its client");
        }
    });
    Ok(response)
}

async fn serve(socket: socket::Socket, mut lines: Body) -> Result<(), Error> {
    let (mut sink, source) = socket.split();
    let output = async {
        while let Some(Ok(frame)) = lines.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            // A chunk holds whole lines.
            for line in data.split_inclusive(|byte| *byte == b'\n') {
                match Utf8Bytes::try_from(data.slice_ref(line)) {
                    Ok(text) => sink.feed(Message::Text(text)).await?,
                    Err(error) => tracing::error!(%error, "an event is not text"),
                }
            }
            sink.flush().await?;
        }
        socket::close(&mut sink).await
    };
    tokio::select! {
        written = output => written,
        left = socket::left(source) => left,
    }
}
