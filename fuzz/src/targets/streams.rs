//! Frames and messages: WebSocket channels, SPDY, DNS.

use std::sync::LazyLock;

use hickory_proto::op::Message;
use reeve_apiserver::edges::rest::parsers;
use reeve_client::store::store;
use reeve_proxy::dns::{
    Zone,
    message::{Decision, Transport, decide},
};

/// Messages of exec and attach.
pub fn channels(data: &[u8]) {
    for (_channel, read) in parsers::channel_message(data) {
        assert!(read.len() <= data.len());
    }
}

/// Frames of SPDY: the size of the pieces in which they arrive changes nothing.
pub fn spdy(data: &[u8]) {
    let Some((&piece, frames)) = data.split_first() else { return };
    assert_eq!(parsers::spdy(frames, usize::from(piece)), parsers::spdy(frames, frames.len()));
}

static ZONE: LazyLock<Zone> =
    LazyLock::new(|| Zone::new("cluster.local", store(&[]).1, store(&[]).1).expect("a name of a zone"));

/// Questions to the cluster's DNS: every reply is a message that answers.
pub fn dns(data: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp] {
        if let Decision::Reply(reply) = decide(&ZONE, data, transport) {
            let read = Message::from_vec(&reply).expect("a reply is a message");
            assert_eq!(reply.get(..2), data.get(..2), "a reply has its question's number: {read}");
        }
    }
}
