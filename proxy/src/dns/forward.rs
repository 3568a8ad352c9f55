//! Questions about the rest of the world: the node's resolvers answer them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::Record;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::cache::Cache;
use super::message::{Question, Transport, encode, failure, response_to};
use super::resolv::resolvers;
use crate::serve::metrics::Metrics;

/// How long a resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many questions are with resolvers at a time; more are refused, so that memory stays bounded when nobody
/// answers: at 2 s each, three resolvers to try and a few kilobytes, this is below a megabyte.
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
    in_flight: Semaphore,
    metrics: Metrics,
}

impl Forwarder {
    /// A forwarder to the resolvers that `resolv_conf` names at the time of each question.
    pub fn new(resolv_conf: PathBuf, ourselves: IpAddr, metrics: Metrics) -> Forwarder {
        let in_flight = Semaphore::new(IN_FLIGHT_MAX);
        Forwarder { resolv_conf, ourselves, cache: Mutex::default(), in_flight, metrics }
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
        for resolver in resolvers(&text, self.ourselves) {
            self.metrics.forwarded();
            match ask(resolver, query, transport).await {
                Ok(message) if message.metadata.response_code == ResponseCode::ServFail => {}
                Ok(message) => {
                    self.cache.lock().put(normal, message.clone(), Instant::now());
                    return Some(message);
                }
                Err(error) => tracing::debug!(%resolver, name = %query.name, %error, "resolver gave no answer"),
            }
        }
        None
    }
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
