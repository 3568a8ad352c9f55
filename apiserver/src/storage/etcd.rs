//! The etcd store.
//!
//! Two connections: one for requests, one for the watch, so that a large answer never delays changes.
//! Connections are restored by the channel; the watch begins again after the last revision that it gave.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, GetResponse, KeyValue, KvClient, LeaseClient,
    PutOptions, TlsOptions, Txn, TxnOp, TxnOpResponse, WatchClient, WatchOptions, WatchResponse, WatchStream,
};
use futures::stream;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tonic::Code;

use super::Store;
use super::leases::{Leases, granted_seconds};
use super::types::{Action, Change, ChangeBatch, ChangeStream, Decide, Hint, Outcome, Page, StoreError, Stored, Write};

/// How the connection notices a peer that is gone: upstream's figures.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// The first and the longest pause before a broken watch begins again.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A key that never exists: its range costs nothing but tells the revision.
const NOWHERE: &str = "reeve-revision";

/// Where etcd is and how to prove who we are.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// URLs, for instance `https://127.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// The certificate authority and our certificate and key.
    pub tls: Option<EtcdTls>,
    /// How long a request may take before it counts as failed.
    pub request_timeout: Duration,
}

/// PEM contents of the TLS files.
#[derive(Clone, Debug)]
pub struct EtcdTls {
    /// Who signs etcd's certificate.
    pub ca: Vec<u8>,
    /// Our certificate.
    pub certificate: Vec<u8>,
    /// Our private key.
    pub key: Vec<u8>,
}

/// The store that keeps everything in etcd.
pub struct EtcdStore {
    kv: KvClient,
    watch: WatchClient,
    lease: LeaseClient,
    request_timeout: Duration,
    /// How often a request is tried that finds no connection: members are picked at random.
    tries: usize,
    leases: Mutex<Leases>,
}

impl EtcdStore {
    /// Sets up the connections. They are made by the first requests, so etcd need not be there yet.
    ///
    /// # Errors
    ///
    /// [`StoreError::Internal`] for URLs or TLS files that cannot be used.
    pub async fn connect(options: &EtcdOptions) -> Result<Self, StoreError> {
        let requests = client(options).await?;
        let watches = client(options).await?;
        Ok(Self {
            // Pages and events may be larger than tonic's default limit; the peer is trusted.
            kv: requests.kv_client().max_decoding_message_size(usize::MAX),
            lease: requests.lease_client(),
            watch: watches.watch_client().max_decoding_message_size(usize::MAX),
            request_timeout: options.request_timeout,
            tries: if options.endpoints.len() > 1 { 2 * options.endpoints.len() } else { 1 },
            leases: Mutex::default(),
        })
    }

    /// Sends a request, and again when the member that was picked could not be reached: it was not sent then, and
    /// another member may be there. `None` when there is no answer in time.
    async fn ask<T, F>(&self, mut request: impl FnMut() -> F) -> Option<Result<T, Error>>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let tried = async {
            for _ in 1..self.tries {
                match request().await {
                    Err(error) if never_sent(&error) => {}
                    answer => return answer,
                }
            }
            request().await
        };
        timeout(self.request_timeout, tried).await.ok()
    }

    fn silence(&self) -> String {
        format!("etcd did not answer within {:?}", self.request_timeout)
    }

    /// A request that changes nothing.
    async fn read<T, F>(&self, request: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        match self.ask(request).await {
            Some(answer) => {
                answer.map_err(|error| refusal(&error).unwrap_or_else(|| StoreError::Unavailable(describe(&error))))
            }
            None => Err(StoreError::Unavailable(self.silence())),
        }
    }

    /// A request that writes: when it is not known whether it arrived, that is what is told.
    async fn write<T, F>(&self, request: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        match self.ask(request).await {
            Some(answer) => answer.map_err(|error| match refusal(&error) {
                Some(refused) => refused,
                None if never_sent(&error) => StoreError::Unavailable(describe(&error)),
                None => StoreError::Uncertain(describe(&error)),
            }),
            None => Err(StoreError::Uncertain(self.silence())),
        }
    }

    async fn range(&self, start: &[u8], options: &GetOptions) -> Result<GetResponse, StoreError> {
        let request = || {
            let mut kv = self.kv.clone();
            async move { kv.get(start, Some(options.clone())).await }
        };
        self.read(request).await
    }

    /// The lease for an object that lives `ttl`.
    async fn lease_for(&self, ttl: Duration) -> Result<i64, StoreError> {
        let now = Instant::now();
        let shared = self.leases.lock().take(ttl, now);
        if let Some(id) = shared {
            return Ok(id);
        }
        // A lease that was granted without our knowing expires by itself: nothing is uncertain here.
        let granted = self
            .read(|| {
                let mut client = self.lease.clone();
                async move { client.grant(granted_seconds(ttl), None).await }
            })
            .await?;
        self.leases.lock().granted(ttl, granted.id(), now);
        Ok(granted.id())
    }

    /// Tries a decision in one transaction. The inner error is the newer state that was met instead.
    async fn commit(
        &self,
        key: &str,
        present: Option<&Stored>,
        write: &Write,
    ) -> Result<Result<i64, Option<Stored>>, StoreError> {
        let mut lease = None;
        let believed = present.map_or(0, |stored| stored.revision);
        let mut compares = vec![Compare::mod_revision(key, CompareOp::Equal, believed)];
        let mut operations = Vec::new();
        let mut otherwise = vec![TxnOp::get(key, None)];
        if let Some(note) = &write.note {
            operations.push(TxnOp::put(note.key.as_str(), note.value.as_ref(), None));
        }
        match &write.action {
            Action::Put { value, ttl } => {
                let mut options = PutOptions::new();
                if let Some(ttl) = ttl {
                    let id = self.lease_for(*ttl).await?;
                    lease = Some(id);
                    options = options.with_lease(id);
                }
                operations.push(TxnOp::put(key, value.as_ref(), Some(options)));
            }
            Action::Delete => operations.push(TxnOp::delete(key, None)),
            Action::Keep => {}
        }
        for claim in &write.claims {
            compares.push(Compare::create_revision(claim.key.as_str(), CompareOp::Equal, 0));
            operations.push(TxnOp::put(claim.key.as_str(), claim.value.as_ref(), None));
            otherwise.push(TxnOp::get(claim.key.as_str(), Some(GetOptions::new().with_keys_only())));
        }
        for key in &write.releases {
            operations.push(TxnOp::delete(key.as_str(), None));
        }
        let txn = Txn::new().when(compares).and_then(operations).or_else(otherwise);
        // The last try, mostly the only one, takes the transaction instead of a copy.
        let mut copies = std::iter::repeat_n(txn, self.tries);
        let request = || {
            let (mut kv, txn) = (self.kv.clone(), copies.next().unwrap_or_default());
            async move { kv.txn(txn).await }
        };
        let answer = self.write(request).await.inspect_err(|_| {
            // It may have been the lease that was gone: the next write gets a new one.
            if let Some(id) = lease {
                self.leases.lock().forget(id);
            }
        })?;
        if answer.succeeded() {
            let header = answer.header().ok_or_else(|| StoreError::Internal("no header".into()))?;
            return Ok(Ok(header.revision()));
        }
        let mut found = answer.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(mut answer) => answer.take_kvs().into_iter().next(),
            _ => None,
        });
        let newer = found.next().flatten().map(stored);
        if newer.as_ref().map_or(0, |stored| stored.revision) == believed {
            let taken = found.zip(&write.claims).find(|(found, _)| found.is_some());
            return match taken {
                Some((_, claim)) => Err(StoreError::Claimed(claim.key.clone())),
                None => Err(StoreError::Internal("a transaction failed without a reason".into())),
            };
        }
        Ok(Err(newer))
    }
}

async fn client(options: &EtcdOptions) -> Result<Client, StoreError> {
    let mut connect = ConnectOptions::new()
        .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
        .with_keep_alive_while_idle(true)
        .with_connect_timeout(options.request_timeout)
        .with_require_leader(true);
    if let Some(tls) = &options.tls {
        let tls = TlsOptions::new()
            .ca_certificate(etcd_client::Certificate::from_pem(&tls.ca))
            .identity(etcd_client::Identity::from_pem(&tls.certificate, &tls.key));
        connect = connect.with_tls(tls);
    }
    Client::connect(&options.endpoints, Some(connect)).await.map_err(|error| StoreError::Internal(describe(&error)))
}

fn describe(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => {
            let mut text = format!("etcd: {}", status.message());
            let mut source = status.source();
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
        other => format!("etcd: {other}"),
    }
}

/// The error for an answer by which etcd says that it did not do it.
fn refusal(error: &Error) -> Option<StoreError> {
    let Error::GRpcStatus(status) = error else { return None };
    let message = status.message();
    match status.code() {
        Code::OutOfRange if message.contains("required revision has been compacted") => {
            Some(StoreError::Compacted { oldest: 0 })
        }
        Code::OutOfRange if message.contains("future revision") => Some(StoreError::Future),
        Code::InvalidArgument if message.contains("request is too large") => {
            Some(StoreError::TooLarge(message.to_owned()))
        }
        Code::ResourceExhausted if message.contains("message larger than max") => {
            Some(StoreError::TooLarge(message.to_owned()))
        }
        // No space, too many requests, no leader, a lease that is gone, not allowed.
        Code::ResourceExhausted | Code::NotFound | Code::PermissionDenied | Code::Unauthenticated => {
            Some(StoreError::Unavailable(describe(error)))
        }
        Code::Unavailable if message.contains("no leader") => Some(StoreError::Unavailable(describe(error))),
        Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => {
            Some(StoreError::Internal(describe(error)))
        }
        _ => None,
    }
}

/// Whether the request certainly did not reach etcd: there was no connection to send it on.
fn never_sent(error: &Error) -> bool {
    let Error::GRpcStatus(status) = error else { return false };
    let mut source = status.source();
    while let Some(cause) = source {
        if cause.is::<tonic::ConnectError>() {
            return true;
        }
        source = cause.source();
    }
    false
}

fn stored(found: KeyValue) -> Stored {
    let revision = found.mod_revision();
    Stored { value: found.into_key_value().1.into(), revision }
}

/// The first key after all those with this prefix.
fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        let mut answer = self.range(key.as_bytes(), &GetOptions::new()).await?;
        Ok(answer.take_kvs().into_iter().next().map(stored))
    }

    async fn update(&self, key: &str, hint: Hint, decide: &mut Decide<'_>) -> Result<Outcome, StoreError> {
        let (mut present, mut certain) = match hint {
            Hint::Unknown => (self.get(key).await?, true),
            Hint::Absent => (None, false),
            Hint::Present(stored) => (Some(stored), false),
        };
        loop {
            let decided = decide(present.as_ref());
            let idle = match &decided {
                Ok(write) => {
                    let nothing = match write.action {
                        Action::Put { .. } => false,
                        Action::Delete => present.is_none(),
                        Action::Keep => true,
                    };
                    nothing && write.claims.is_empty() && write.releases.is_empty() && write.note.is_none()
                }
                Err(_) => true,
            };
            // What is not checked by a transaction is decided on what was read, not on a belief.
            if idle && !certain {
                let believed = present.as_ref().map(|stored| stored.revision);
                present = self.get(key).await?;
                certain = true;
                if present.as_ref().map(|stored| stored.revision) != believed {
                    continue;
                }
            }
            let write = decided.map_err(StoreError::Rejected)?;
            if idle {
                return Ok(Outcome::Kept(present));
            }
            match self.commit(key, present.as_ref(), &write).await? {
                Ok(revision) => {
                    return Ok(match (write.action, present) {
                        (Action::Put { value, .. }, previous) => {
                            Outcome::Put { stored: Stored { value, revision }, previous }
                        }
                        (Action::Delete, Some(last)) => Outcome::Deleted { last, revision },
                        (Action::Delete | Action::Keep, present) => Outcome::Kept(present),
                    });
                }
                Err(newer) => {
                    present = newer;
                    certain = true;
                }
            }
        }
    }

    async fn list(
        &self,
        prefix: &str,
        revision: Option<i64>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let start = match after {
            Some(after) => format!("{after}\0"),
            None => prefix.to_owned(),
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let options =
            GetOptions::new().with_range(prefix_end(prefix)).with_limit(limit).with_revision(revision.unwrap_or(0));
        let mut answer = self.range(start.as_bytes(), &options).await?;
        let read_at = answer.header().map_or(0, |header| header.revision());
        let mut items = Vec::with_capacity(answer.kvs().len());
        for found in answer.take_kvs() {
            let revision = found.mod_revision();
            let (key, value) = found.into_key_value();
            match String::from_utf8(key) {
                Ok(key) => items.push((key, Stored { value: value.into(), revision })),
                Err(error) => tracing::warn!(%error, "a key in etcd is not UTF-8: skipped"),
            }
        }
        Ok(Page { items, revision: revision.unwrap_or(read_at), more: answer.more(), count: answer.count() })
    }

    async fn watch(&self, from: i64) -> Result<ChangeStream, StoreError> {
        let watching = Watching { client: self.watch.clone(), next: from, running: None, pause: RETRY.0 };
        let changes = stream::unfold(Some(watching), |watching| async move {
            let mut watching = watching?;
            match watching.batch().await {
                Ok(batch) => Some((Ok(batch), Some(watching))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Box::pin(changes))
    }

    async fn current_revision(&self) -> Result<i64, StoreError> {
        let options = GetOptions::new().with_count_only();
        let answer = self.range(NOWHERE.as_bytes(), &options).await?;
        answer.header().map(|header| header.revision()).ok_or_else(|| StoreError::Internal("no header".into()))
    }

    async fn compact(&self, revision: i64) -> Result<(), StoreError> {
        let compacted = self.read(|| {
            let mut kv = self.kv.clone();
            async move { kv.compact(revision, None).await }
        });
        compacted.await.map(drop)
    }
}

/// A watch that outlives its connections.
struct Watching {
    client: WatchClient,
    /// The first revision that has not been given yet.
    next: i64,
    running: Option<WatchStream>,
    pause: Duration,
}

impl Watching {
    async fn batch(&mut self) -> Result<ChangeBatch, StoreError> {
        loop {
            match self.receive().await {
                Ok(Some(answer)) => {
                    if answer.compact_revision() > 0 {
                        return Err(StoreError::Compacted { oldest: answer.compact_revision() });
                    }
                    if answer.canceled() {
                        tracing::warn!(reason = answer.cancel_reason(), "etcd ended the watch; beginning again");
                        self.running = None;
                        self.rest().await;
                        continue;
                    }
                    let batch = changes(&answer);
                    if let Some(last) = batch.changes.last() {
                        self.pause = RETRY.0;
                        self.next = last.revision + 1;
                        return Ok(batch);
                    }
                }
                Ok(None) => {
                    self.running = None;
                    self.rest().await;
                }
                Err(error) => {
                    tracing::warn!(
                        error = describe(&error),
                        from = self.next,
                        "the watch on etcd broke; beginning again"
                    );
                    self.running = None;
                    self.rest().await;
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<WatchResponse>, Error> {
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                let options = WatchOptions::new().with_all_keys().with_start_revision(self.next);
                let begun = self.client.watch("", Some(options)).await?;
                self.running.insert(begun)
            }
        };
        running.message().await
    }

    async fn rest(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(RETRY.1);
    }
}

fn changes(answer: &WatchResponse) -> ChangeBatch {
    let mut changes = Vec::with_capacity(answer.events().len());
    for event in answer.events() {
        let Some(found) = event.kv() else { continue };
        let key = match found.key_str() {
            Ok(key) => key.to_owned(),
            Err(error) => {
                tracing::warn!(%error, "a key in etcd is not UTF-8: skipped");
                continue;
            }
        };
        let value = match event.event_type() {
            etcd_client::EventType::Put => Some(Bytes::copy_from_slice(found.value())),
            etcd_client::EventType::Delete => None,
        };
        changes.push(Change { key, value, revision: found.mod_revision() });
    }
    ChangeBatch { changes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(prefix_end("/registry/pods/"), b"/registry/pods0");
        assert_eq!(prefix_end(""), [0]);
    }
}
