//! What the store and the watch cache can do: `cargo bench -p reeve-apiserver --bench storage`.
//!
//! Objects are pods of 4 KB with three labels and a node. The parts that need etcd start one of their own.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use reeve_api::GroupVersionResource;
use reeve_apiserver::storage::cache::{
    Cache, CacheOptions, Extract, ListQuery, Resource, ResourceConfig, Selector, Version, WatchFrom, WatchQuery,
};
use reeve_apiserver::storage::etcd::{EtcdOptions, EtcdStore};
use reeve_apiserver::storage::{
    Change, ChangeBatch, ChangeStream, Decide, Hint, Outcome, Page, SharedStore, Store, StoreError, Stored, Write,
};
use tokio_util::sync::CancellationToken;

#[path = "../src/storage/etcd_process.rs"]
mod etcd_process;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PODS: usize = 10_000;
const PREFIX: &str = "/registry/pods/";

struct NodeName;

impl Extract for NodeName {
    fn fields(&self, value: &[u8]) -> Vec<(Cow<'static, str>, String)> {
        let read = || {
            let spec = &value[reeve_api::json::member(value, "spec")?];
            let node = &spec[reeve_api::json::member(spec, "nodeName")?];
            serde_json::from_slice::<String>(node).ok()
        };
        read().map(|node| ("spec.nodeName".into(), node)).into_iter().collect()
    }
}

fn pod(number: usize, size: usize, turn: usize) -> Bytes {
    let head = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"web-{number:05}","namespace":"default","labels":{{"app":"web-{}","pod-template-hash":"abc","tier":"t{}"}}}},"spec":{{"nodeName":"node-{}","turn":{turn},"env":["#,
        number % 50,
        number % 3,
        number % 100,
    );
    let mut text = head;
    while text.len() < size - 40 {
        text.push_str(r#"{"name":"VARIABLE","value":"something"},"#);
    }
    text.push_str("{}]}}");
    text.into()
}

fn key(number: usize) -> String {
    format!("{PREFIX}default/web-{number:05}")
}

/// A store whose watch is a prepared sequence, to measure the cache alone.
struct Script {
    batches: parking_lot::Mutex<Option<tokio::sync::mpsc::Receiver<ChangeBatch>>>,
}

impl Script {
    fn new() -> (Arc<Self>, tokio::sync::mpsc::Sender<ChangeBatch>) {
        let (sender, receiver) = tokio::sync::mpsc::channel(64);
        (Arc::new(Self { batches: parking_lot::Mutex::new(Some(receiver)) }), sender)
    }
}

#[async_trait]
impl Store for Script {
    async fn get(&self, _: &str) -> Result<Option<Stored>, StoreError> {
        Ok(None)
    }
    async fn update(&self, _: &str, _: Hint, _: &mut Decide<'_>) -> Result<Outcome, StoreError> {
        Ok(Outcome::Kept(None))
    }
    async fn list(&self, _: &str, _: Option<i64>, _: Option<&str>, _: usize) -> Result<Page, StoreError> {
        Ok(Page { items: Vec::new(), revision: 1, more: false, count: 0 })
    }
    async fn watch(&self, _: i64) -> Result<ChangeStream, StoreError> {
        let receiver = self.batches.lock().take().ok_or(StoreError::Future)?;
        Ok(Box::pin(stream::unfold(receiver, |mut receiver| async move {
            let batch = receiver.recv().await?;
            Some((Ok(batch), receiver))
        })))
    }
    async fn current_revision(&self) -> Result<i64, StoreError> {
        Ok(1)
    }
    async fn compact(&self, _: i64) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn cache(store: SharedStore, stop: &CancellationToken) -> (Cache, Resource) {
    let cache = Cache::new(store, CacheOptions::default());
    let pods = cache.register(ResourceConfig {
        resource: GroupVersionResource::new("", "v1", "pods"),
        api_version: "v1".into(),
        kind: "Pod".into(),
        prefix: PREFIX.into(),
        extract: Arc::new(NodeName),
    });
    cache.start(stop.clone());
    cache.ready().await.expect("the cache fills");
    (cache, pods)
}

/// Resident memory in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn rate(what: &str, count: usize, elapsed: Duration) {
    println!("{what}: {:.0}/s ({count} in {elapsed:.2?})", count as f64 / elapsed.as_secs_f64());
}

fn batch(numbers: std::ops::Range<usize>, turn: usize, revision: &mut i64) -> ChangeBatch {
    let changes = numbers.map(|number| {
        *revision += 1;
        Change { key: key(number % PODS), value: Some(pod(number % PODS, 4096, turn)), revision: *revision }
    });
    ChangeBatch { changes: changes.collect() }
}

async fn ingest_and_lists() {
    let stop = CancellationToken::new();
    let (script, batches) = Script::new();
    let (cache, pods) = cache(script, &stop).await;
    let mut revision = 1;
    let before = resident();
    for begin in (0..PODS).step_by(100) {
        batches.send(batch(begin..begin + 100, 0, &mut revision)).await.expect("the cache follows");
    }
    cache.wait_for(revision).await.expect("the cache follows");
    println!("memory of {PODS} pods of 4 KB (40 MB): {:.1} MB", (resident() - before) as f64 / 1e6);

    let prepared: Vec<ChangeBatch> =
        (0..400).map(|turn| batch(turn * 50..turn * 50 + 50, turn, &mut revision)).collect();
    let begun = Instant::now();
    for batch in prepared {
        batches.send(batch).await.expect("the cache follows");
    }
    cache.wait_for(revision).await.expect("the cache follows");
    rate("ingest of updates, 50 a batch", 20_000, begun.elapsed());
    println!("memory after 20,000 updates: {:.1} MB", (resident() - before) as f64 / 1e6);

    let mut bytes = 0;
    let begun = Instant::now();
    for _ in 0..20 {
        let query = ListQuery { version: Version::Any, ..ListQuery::default() };
        let list = pods.list(query).await.expect("a list");
        let mut chunk = BytesMut::with_capacity(256 << 10);
        for entry in list.items {
            if chunk.len() + entry.object().len() > 256 << 10 {
                bytes += chunk.len();
                chunk.clear();
            }
            chunk.extend_from_slice(b"{");
            chunk.extend_from_slice(&entry.object()[entry.header_len()..]);
            chunk.extend_from_slice(b",");
        }
        bytes += chunk.len();
    }
    println!("list assembly: {:.0} MB/s", bytes as f64 / 1e6 / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    for number in 0..2000 {
        let selector = Selector::all().field("spec.nodeName", &format!("node-{}", number % 100));
        let query = ListQuery { selector, version: Version::Any, ..ListQuery::default() };
        assert_eq!(pods.list(query).await.expect("a list").items.count(), 100);
    }
    rate("lists of the 100 pods of a node, of 10,000", 2000, begun.elapsed());
    stop.cancel();
}

async fn fan_out(watchers: usize) {
    const EVENTS: usize = 300;
    let stop = CancellationToken::new();
    let (script, batches) = Script::new();
    let (_cache, pods) = cache(script, &stop).await;
    let epoch = Instant::now();
    let sent: Arc<Vec<AtomicU64>> = Arc::new((0..=EVENTS + 1).map(|_| AtomicU64::new(0)).collect());
    let (arrived, mut all) = tokio::sync::mpsc::channel(watchers);
    let tasks: Vec<_> = (0..watchers)
        .map(|_| {
            let (pods, sent, arrived) = (pods.clone(), sent.clone(), arrived.clone());
            tokio::spawn(async move {
                let query = WatchQuery { from: WatchFrom::Any, ..WatchQuery::default() };
                let mut watch = pods.watch(query).await.expect("a watch");
                arrived.send(()).await.expect("counted");
                let mut lags = Vec::with_capacity(EVENTS);
                let mut bytes = 0;
                while lags.len() < EVENTS {
                    for event in watch.next().await.expect("events").expect("events") {
                        bytes += event.json_line().len();
                        let at = sent[event.revision() as usize].load(Ordering::Relaxed);
                        lags.push(epoch.elapsed().as_micros() as u64 - at);
                    }
                }
                (lags, bytes)
            })
        })
        .collect();
    for _ in 0..watchers {
        all.recv().await;
    }
    let mut revision = 1;
    let begun = Instant::now();
    for turn in 0..EVENTS {
        let batch = batch(0..1, turn, &mut revision);
        sent[revision as usize].store(epoch.elapsed().as_micros() as u64, Ordering::Relaxed);
        batches.send(batch).await.expect("the cache follows");
    }
    let mut lags = Vec::new();
    for task in tasks {
        lags.extend(task.await.expect("a watcher").0);
    }
    let elapsed = begun.elapsed();
    lags.sort_unstable();
    rate(&format!("fan-out to {watchers} watchers"), lags.len(), elapsed);
    println!("  lag p50 {} us, p99 {} us", lags[lags.len() / 2], lags[lags.len() * 99 / 100]);
    stop.cancel();
}

async fn in_parallel<F: Future<Output = ()> + Send>(count: usize, work: impl Fn(usize) -> F + Send + Sync + 'static) {
    let (next, work) = (Arc::new(AtomicU64::new(0)), Arc::new(work));
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let (next, work) = (next.clone(), work.clone());
            async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed) as usize;
                    if number >= count {
                        return;
                    }
                    work(number).await;
                }
            }
        })
        .collect();
    futures::future::join_all(tasks).await;
}

async fn real_etcd() {
    let process = etcd_process::EtcdProcess::start();
    let options =
        EtcdOptions { endpoints: vec![process.endpoint()], tls: None, request_timeout: Duration::from_secs(5) };
    let store: SharedStore = Arc::new(EtcdStore::connect(&options).await.expect("etcd"));
    let stop = CancellationToken::new();
    let (cache, pods) = cache(store.clone(), &stop).await;
    let revision = || async { store.current_revision().await.expect("etcd") };

    let writer = store.clone();
    let begun = Instant::now();
    in_parallel(PODS, move |number| {
        let store = writer.clone();
        async move {
            let value = pod(number, 4096, 0);
            let mut decide = |_: Option<&Stored>| Ok(Write::put(value.clone()));
            store.update(&key(number), Hint::Absent, &mut decide).await.expect("a create");
        }
    })
    .await;
    cache.wait_for(revision().await).await.expect("the cache follows");
    rate("creates of 4 KB, 32 at a time, into etcd and the cache", PODS, begun.elapsed());

    let (writer, reader) = (store.clone(), pods.clone());
    let begun = Instant::now();
    in_parallel(PODS, move |number| {
        let (store, pods) = (writer.clone(), reader.clone());
        async move {
            let hint = pods.hint("default", &format!("web-{number:05}"));
            let value = pod(number, 2048, 1);
            let mut decide = |_: Option<&Stored>| Ok(Write::put(value.clone()));
            store.update(&key(number), hint, &mut decide).await.expect("an update");
        }
    })
    .await;
    cache.wait_for(revision().await).await.expect("the cache follows");
    rate("updates to 2 KB with a hint, 32 at a time, into etcd and the cache", PODS, begun.elapsed());

    let reader = pods.clone();
    let begun = Instant::now();
    in_parallel(50_000, move |number| {
        let pods = reader.clone();
        async move {
            let name = format!("web-{:05}", number % PODS);
            assert!(pods.get("default", &name, Version::Consistent).await.expect("a get").is_some());
        }
    })
    .await;
    rate("consistent gets, 32 at a time", 50_000, begun.elapsed());

    let begun = Instant::now();
    let second = CancellationToken::new();
    let (_second_cache, loaded) = self::cache(store.clone(), &second).await;
    assert_eq!(loaded.snapshot().len(), PODS);
    println!("cold start with {PODS} pods: {:.0?}", begun.elapsed());
    second.cancel();
    stop.cancel();
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let only: Option<String> = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
        if wanted("cache") {
            tokio::spawn(ingest_and_lists()).await.expect("the benchmark runs");
        }
        if wanted("watch") {
            tokio::spawn(fan_out(200)).await.expect("the benchmark runs");
            tokio::spawn(fan_out(1000)).await.expect("the benchmark runs");
        }
        if wanted("etcd") {
            tokio::spawn(real_etcd()).await.expect("the benchmark runs");
        }
    });
}
