//! Questions about the rest of the world: the node's resolvers answer them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::Record;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::cache::Cache;
use super::message::{Question, Transport, encode, failure, response_to, rotate};
use super::resolv::resolvers;
use crate::serve::metrics::Metrics;

/// How long a resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long one is waited for before the next is asked beside it. With three resolvers that are dead, a client knows
/// after 3.5 s, before the 5 s are over after which the C library asks again.
const NEXT_AFTER: Duration = Duration::from_millis(500);

/// How many questions are with resolvers at a time; more are refused, so that memory stays bounded when nobody
/// answers: with four questions to resolvers and a few kilobytes each, this is a few megabytes.
const IN_FLIGHT_MAX: usize = 256;

/// Why a resolver gave no answer.
#[derive(Debug, thiserror::Error)]
enum UpstreamError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late(#[from] tokio::time::error::Elapsed),
    #[error("cannot be understood: {0}")]
    Decode(#[from] hickory_proto::serialize::binary::DecodeError),
    #[error("cannot be asked: {0}")]
    Encode(#[from] hickory_proto::ProtoError),
}

/// Asks the node's resolvers.
pub struct Forwarder {
    resolv_conf: PathBuf,
    ourselves: IpAddr,
    cache: Mutex<Cache>,
    /// The resolver that answered last. It is asked first: one that is dead is waited for once.
    answering: Mutex<Option<SocketAddr>>,
    in_flight: Semaphore,
    metrics: Metrics,
}

impl Forwarder {
    /// A forwarder to the resolvers that `resolv_conf` names at the time of each question.
    pub fn new(resolv_conf: PathBuf, ourselves: IpAddr, metrics: Metrics) -> Forwarder {
        let in_flight = Semaphore::new(IN_FLIGHT_MAX);
        let (cache, answering) = (Mutex::default(), Mutex::default());
        Forwarder { resolv_conf, ourselves, cache, answering, in_flight, metrics }
    }

    /// The bytes of the answer to a question; `aliases` come first in it.
    pub async fn answer(&self, question: &Question, aliases: &[Record]) -> Option<Vec<u8>> {
        let Question { request, query, transport } = question;
        match self.look_up(query, *transport).await {
            Some(found) => {
                let mut response = response_to(request);
                response.metadata.response_code = found.metadata.response_code;
                response.metadata.truncation = found.metadata.truncation;
                response.answers = aliases.to_vec();
                response.answers.extend(found.answers);
                rotate(&mut response.answers, request.metadata.id);
                response.authorities = found.authorities;
                response.additionals = found.additionals;
                encode(&response, request, *transport)
            }
            None => failure(request, *transport, ResponseCode::ServFail),
        }
    }

    async fn look_up(&self, query: &Query, transport: Transport) -> Option<Message> {
        let mut normal = query.clone();
        normal.set_name(query.name.to_lowercase());
        let cached = self.cache.lock().get(&normal, Instant::now());
        if cached.is_some() {
            self.metrics.cache_hit();
            return cached;
        }
        let Ok(_permit) = self.in_flight.try_acquire() else {
            tracing::warn!(in_flight = IN_FLIGHT_MAX, "too many questions wait for resolvers; refused one");
            return None;
        };
        let text = match tokio::fs::read_to_string(&self.resolv_conf).await {
            Ok(text) => text,
            Err(error) => {
                tracing::debug!(%error, file = %self.resolv_conf.display(), "no resolvers: the file cannot be read");
                return None;
            }
        };
        let order = order(resolvers(&text, self.ourselves), *self.answering.lock(), transport);
        let (resolver, message) = self.first_answer(&order, query, transport).await?;
        *self.answering.lock() = Some(resolver);
        self.cache.lock().put(normal, message.clone(), Instant::now());
        Some(message)
    }

    /// The first answer of any of them. The next is asked when the ones before have failed, or have been silent for
    /// a while.
    async fn first_answer(
        &self,
        order: &[SocketAddr],
        query: &Query,
        transport: Transport,
    ) -> Option<(SocketAddr, Message)> {
        let mut asked = FuturesUnordered::new();
        let mut order = order.iter().copied();
        loop {
            let next = order.next();
            if let Some(resolver) = next {
                self.metrics.forwarded();
                asked.push(async move { (resolver, ask(resolver, query, transport).await) });
            }
            let patience = if next.is_some() { NEXT_AFTER } else { PATIENCE };
            while let Ok(ended) = tokio::time::timeout(patience, asked.next()).await {
                match ended {
                    Some((resolver, Ok(message))) if message.metadata.response_code != ResponseCode::ServFail => {
                        return Some((resolver, message));
                    }
                    Some((resolver, Ok(_))) => tracing::debug!(%resolver, name = %query.name, "resolver failed"),
                    Some((resolver, Err(error))) => {
                        tracing::debug!(%resolver, name = %query.name, %error, "resolver gave no answer");
                    }
                    None if next.is_none() => return None,
                    None => break,
                }
            }
            // All were asked, and silent to the end.
            next?;
        }
    }
}

/// In which order resolvers are asked. A datagram may be lost, so the first is asked once more.
fn order(mut resolvers: Vec<SocketAddr>, answering: Option<SocketAddr>, transport: Transport) -> Vec<SocketAddr> {
    // Stable: all others stay as they are named.
    resolvers.sort_by_key(|resolver| Some(*resolver) != answering);
    if transport == Transport::Udp {
        resolvers.extend(resolvers.first().copied());
    }
    resolvers
}

async fn ask(resolver: SocketAddr, query: &Query, transport: Transport) -> Result<Message, UpstreamError> {
    // A fresh random number and a fresh port for each question: answers are hard to forge.
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(query.clone());
    let bytes = message.to_vec()?;
    let exchange = async {
        match transport {
            Transport::Udp => over_udp(resolver, &message, &bytes).await,
            Transport::Tcp => over_tcp(resolver, &bytes).await,
        }
    };
    tokio::time::timeout(PATIENCE, exchange).await?
}

async fn over_udp(resolver: SocketAddr, question: &Message, bytes: &[u8]) -> Result<Message, UpstreamError> {
    let any: IpAddr = if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What is no answer to this question is not believed; the right one may still come.
        if let Ok(answer) = Message::from_vec(buffer.get(..length).unwrap_or_default())
            && answer.metadata.id == question.metadata.id
            && answer.queries == question.queries
        {
            return Ok(answer);
        }
    }
}

async fn over_tcp(resolver: SocketAddr, bytes: &[u8]) -> Result<Message, UpstreamError> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(bytes.len()).map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(bytes).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    Ok(Message::from_vec(&buffer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answered_is_asked_first_and_a_lost_datagram_is_sent_again() {
        let resolver = |last: u8| SocketAddr::from(([192, 0, 2, last], 53));
        let all = || vec![resolver(1), resolver(2), resolver(3)];
        assert_eq!(order(all(), None, Transport::Tcp), all());
        let expected = [resolver(3), resolver(1), resolver(2), resolver(3)];
        assert_eq!(order(all(), Some(resolver(3)), Transport::Udp), expected);
        assert_eq!(order(all(), Some(resolver(9)), Transport::Tcp), all(), "one that is not named any more");
        assert!(order(Vec::new(), None, Transport::Udp).is_empty());
    }
}
