//! The cache over the in-memory store: whatever is written, reads and watches tell one story.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use proptest::prelude::*;
use reeve_api::{GroupVersionResource, Reason};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::storage::{Hint, MemoryStore, Outcome, Store, Write, final_state};

struct NodeName;

impl Extract for NodeName {
    fn fields(&self, value: &[u8]) -> Vec<(Cow<'static, str>, String)> {
        let value: serde_json::Value = serde_json::from_slice(value).unwrap_or_default();
        value["spec"]["nodeName"].as_str().map(|node| ("spec.nodeName".into(), node.to_owned())).into_iter().collect()
    }
}

struct World {
    store: MemoryStore,
    cache: Cache,
    pods: Resource,
    _shutdown: DropGuard,
}

impl World {
    async fn new(options: CacheOptions) -> World {
        let store = MemoryStore::new();
        let world = World::over(store, options);
        world.cache.ready().await.unwrap();
        world
    }

    fn over(store: MemoryStore, options: CacheOptions) -> World {
        let cache = Cache::new(Arc::new(store.clone()), options);
        let pods = cache.register(ResourceConfig {
            resource: GroupVersionResource::new("", "v1", "pods"),
            api_version: "v1".into(),
            kind: "Pod".into(),
            prefix: "/registry/pods/".into(),
            extract: Arc::new(NodeName),
        });
        let shutdown = CancellationToken::new();
        cache.start(shutdown.clone());
        World { store, cache, pods, _shutdown: shutdown.drop_guard() }
    }

    /// Writes a pod and returns the revision.
    async fn put(&self, key: &str, node: &str, app: &str) -> i64 {
        let (namespace, name) = key.split_once('/').unwrap();
        let pod = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"{namespace}","labels":{{"app":"{app}"}}}},"spec":{{"nodeName":"{node}"}}}}"#
        );
        let key = format!("/registry/pods/{key}");
        let write = Write::put(Bytes::from(pod));
        match self.store.update(&key, Hint::Unknown, &mut |_| Ok(write.clone())).await {
            Ok(Outcome::Put { stored, .. }) => stored.revision,
            other => panic!("{other:?}"),
        }
    }

    async fn delete(&self, key: &str) {
        let key = format!("/registry/pods/{key}");
        self.store.update(&key, Hint::Unknown, &mut |_| Ok(Write::delete())).await.unwrap();
    }

    async fn list(&self, selector: Selector) -> BTreeMap<String, Bytes> {
        let query = ListQuery { selector, ..ListQuery::default() };
        let list = self.pods.list(query).await.unwrap();
        list.items.map(|entry| (entry.key().to_string(), entry.object().clone())).collect()
    }

    async fn watch(&self, selector: Selector, from: WatchFrom) -> Watch {
        self.pods.watch(WatchQuery { selector, from, ..WatchQuery::default() }).await.unwrap()
    }
}

/// What a watcher has understood.
#[derive(Debug, Default)]
struct Mirror {
    objects: BTreeMap<String, Bytes>,
    revision: i64,
}

impl Mirror {
    fn apply(&mut self, event: &Event) {
        let key = event.entry().map(|entry| entry.key().to_string()).unwrap_or_default();
        match event.kind() {
            EventKind::Added => assert!(self.objects.insert(key, event.object()).is_none(), "added twice"),
            EventKind::Modified => assert!(self.objects.insert(key, event.object()).is_some(), "modified unknown"),
            EventKind::Deleted => assert!(self.objects.remove(&key).is_some(), "deleted unknown"),
            EventKind::Bookmark => {}
        }
        self.revision = event.revision();
    }
}

/// All that is there now, without waiting for more.
fn drain(watch: &mut Watch) -> Vec<Arc<Event>> {
    let mut events = Vec::new();
    while let Some(Some(Ok(batch))) = watch.next().now_or_never() {
        events.extend(batch);
    }
    events
}

async fn next(watch: &mut Watch) -> Arc<Event> {
    let mut batch = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(batch.len(), 1, "{batch:?}");
    batch.remove(0)
}

fn told(events: &[Arc<Event>]) -> Vec<String> {
    let name = |event: &Event| event.entry().map(|entry| entry.name().to_owned()).unwrap_or_default();
    events.iter().map(|event| format!("{} {}", event.kind().as_str(), name(event))).collect()
}

#[tokio::test]
async fn a_read_after_a_write_sees_it() {
    let world = World::new(CacheOptions::default()).await;
    for number in 0..50 {
        let revision = world.put(&format!("a/p{number}"), "n", "x").await;
        let entry = world.pods.get("a", &format!("p{number}"), Version::Consistent).await.unwrap().unwrap();
        assert_eq!(entry.revision(), revision);
        assert!(world.pods.snapshot().revision() >= revision);
    }
    assert_eq!(world.list(Selector::namespace("a")).await.len(), 50);
    assert_eq!(world.list(Selector::namespace("b")).await.len(), 0);
    assert!(matches!(world.pods.hint("a", "p1"), Hint::Present(_)));
    assert_eq!(world.pods.hint("a", "none"), Hint::Absent);
}

#[tokio::test]
async fn a_deletion_may_be_preceded_by_the_last_state() {
    let world = World::new(CacheOptions::default()).await;
    let key = "/registry/pods/a/p";
    let written = world.put("a/p", "n1", "x").await;
    let mut live = world.watch(Selector::all().field("spec.nodeName", "n1"), WatchFrom::Revision(written)).await;
    let other = world.put("a/q", "n2", "x").await;
    let state = br#"{"metadata":{"name":"p","namespace":"a","deletionTimestamp":"t"},"spec":{"nodeName":"n1"}}"#;
    let delete = Write::delete().noting(final_state::note(key, state));
    world.store.update(key, Hint::Unknown, &mut |_| Ok(delete.clone())).await.unwrap();
    let gone = other + 1;
    let shown = |events: &[Arc<Event>]| -> Vec<(EventKind, i64, bool)> {
        let told = |event: &Arc<Event>| {
            let marked = memchr::memmem::find(&event.object(), b"deletionTimestamp").is_some();
            (event.kind(), event.revision(), marked)
        };
        events.iter().map(told).collect()
    };
    let end = [(EventKind::Modified, gone - 1, true), (EventKind::Deleted, gone, true)];
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(tokio::time::timeout(Duration::from_secs(10), live.next()).await.unwrap().unwrap().unwrap());
    }
    assert_eq!(shown(&seen), end);
    // From the past it is the same; who has seen the version before the deletion still sees the deletion.
    let selector = || Selector::namespace("a").field("metadata.name", "p");
    assert_eq!(shown(&drain(&mut world.watch(selector(), WatchFrom::Revision(written)).await)), end);
    assert_eq!(shown(&drain(&mut world.watch(selector(), WatchFrom::Revision(gone - 1)).await)), end[1..]);
    assert_eq!(world.list(Selector::all()).await.len(), 1);
}

#[tokio::test]
async fn objects_enter_and_leave_selections() {
    let world = World::new(CacheOptions::default()).await;
    let mut on_node = world.watch(Selector::all().field("spec.nodeName", "n1"), WatchFrom::Now).await;
    let mut of_app = world.watch(Selector::namespace("a").label("app", "x"), WatchFrom::Now).await;
    let mut by_name = world.watch(Selector::namespace("a").field("metadata.name", "p"), WatchFrom::Now).await;
    let mut others = world.watch(Selector::namespace("b"), WatchFrom::Now).await;
    world.put("a/p", "", "x").await;
    world.put("a/p", "n1", "x").await;
    world.put("a/p", "n1", "y").await;
    world.put("a/q", "n2", "x").await;
    world.put("a/p", "n2", "y").await;
    world.delete("a/p").await;
    let revision = world.store.current_revision().await.unwrap();
    world.cache.wait_for(revision).await.unwrap();
    let left = drain(&mut on_node);
    assert_eq!(told(&left), ["ADDED p", "MODIFIED p", "DELETED p"]);
    // What left is shown as it last was in the selection, with the version of the change.
    let text = String::from_utf8(left[2].object().to_vec()).unwrap();
    assert!(
        text.contains(r#""nodeName":"n1""#) && text.contains(&format!(r#""resourceVersion":"{}""#, left[2].revision())),
        "{text}"
    );
    assert_eq!(told(&drain(&mut of_app)), ["ADDED p", "MODIFIED p", "DELETED p", "ADDED q"]);
    assert_eq!(told(&drain(&mut by_name)), ["ADDED p", "MODIFIED p", "MODIFIED p", "MODIFIED p", "DELETED p"]);
    assert_eq!(told(&drain(&mut others)), [""; 0]);
    drop((on_node, of_app, by_name, others));
    assert_eq!(world.pods.watcher_count(), 0);
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let world = World::new(CacheOptions::default()).await;
    for number in 0..300 {
        world.put(&format!("a/p{number:03}"), "n", "x").await;
    }
    let query = WatchQuery { initial_events: Some(true), bookmarks: true, ..WatchQuery::default() };
    let mut watch = world.pods.watch(query).await.unwrap();
    world.put("a/late", "n", "x").await;
    let mut seen = Vec::new();
    while seen.len() < 302 {
        seen.extend(watch.next().await.unwrap().unwrap());
    }
    assert!(seen[..300].iter().all(|event| event.kind() == EventKind::Added));
    assert_eq!(seen[300].kind(), EventKind::Bookmark);
    assert!(String::from_utf8(seen[300].json_line().to_vec()).unwrap().contains("initial-events-end"));
    assert_eq!(told(&seen[301..]), ["ADDED late"]);
}

#[tokio::test]
async fn a_watch_goes_on_where_it_ended_and_too_old_is_told() {
    let ring = RingLimits { changes: 10, bytes: 1 << 20 };
    let world = World::new(CacheOptions { ring, ..CacheOptions::default() }).await;
    let first = world.put("a/p", "n", "x").await;
    for _ in 0..5 {
        world.put("a/p", "n", "x").await;
    }
    let list = world.list(Selector::all()).await;
    assert_eq!(list.len(), 1);
    let mut watch = world.watch(Selector::all(), WatchFrom::Revision(first)).await;
    assert_eq!(drain(&mut watch).len(), 5);
    for _ in 0..20 {
        world.put("a/p", "n", "x").await;
    }
    world.list(Selector::all()).await;
    let query = WatchQuery { from: WatchFrom::Revision(first), ..WatchQuery::default() };
    let error = world.pods.watch(query).await.err().unwrap();
    assert_eq!(error.reason, Reason::Expired);
    assert!(error.message.starts_with(&format!("too old resource version: {first} (")), "{error}");
}

#[tokio::test]
async fn a_slow_watcher_is_closed_and_resumes_without_loss() {
    let queue = QueueLimits { events: 8, bytes: 1 << 20 };
    let world = World::new(CacheOptions { queue, ..CacheOptions::default() }).await;
    let query = WatchQuery { bookmarks: true, ..WatchQuery::default() };
    let mut slow = world.pods.watch(query).await.unwrap();
    let mut quick = world.watch(Selector::all(), WatchFrom::Now).await;
    let (mut kept_up, mut behind) = (Mirror::default(), Mirror::default());
    for number in 0..50 {
        world.put(&format!("a/p{number}"), "n", "x").await;
        kept_up.apply(&*next(&mut quick).await);
        if number == 3 {
            drain(&mut slow).iter().for_each(|event| behind.apply(event));
        }
    }
    let bookmark = next(&mut slow).await;
    assert_eq!((bookmark.kind(), bookmark.revision()), (EventKind::Bookmark, behind.revision));
    assert!(slow.next().await.is_none());
    let mut again = world.watch(Selector::all(), WatchFrom::Revision(bookmark.revision())).await;
    drain(&mut again).iter().for_each(|event| behind.apply(event));
    assert_eq!(behind.objects, kept_up.objects);
}

#[tokio::test]
async fn pages_stay_at_their_version() {
    let world = World::new(CacheOptions::default()).await;
    for number in 0..30 {
        world.put(&format!("a/p{number:02}"), "n", "x").await;
    }
    let page = |token: Option<String>| {
        let pods = world.pods.clone();
        async move {
            let query = ListQuery { limit: 10, continue_token: token, ..ListQuery::default() };
            pods.list(query).await
        }
    };
    let first = page(None).await.unwrap();
    assert_eq!(first.remaining, Some(20));
    let revision = first.revision;
    let mut keys: Vec<String> = first.items.map(|entry| entry.name().to_owned()).collect();
    let token = first.continue_token.clone();
    for number in 0..30 {
        world.delete(&format!("a/p{number:02}")).await;
    }
    world.list(Selector::all()).await;
    // From the kept snapshot, and from the store when that is gone.
    let second = page(token.clone()).await.unwrap();
    assert_eq!((second.revision, second.remaining), (revision, Some(10)));
    keys.extend(second.items.map(|entry| entry.name().to_owned()));
    world.pods.tick(tokio::time::Instant::now() + Duration::from_secs(3600));
    let third = page(second.continue_token.clone()).await.unwrap();
    assert_eq!((third.revision, &third.continue_token), (revision, &None));
    keys.extend(third.items.map(|entry| entry.name().to_owned()));
    assert_eq!(keys, (0..30).map(|number| format!("p{number:02}")).collect::<Vec<_>>());
    // Gone from both.
    world.store.compact(world.store.current_revision().await.unwrap()).await.unwrap();
    let error = page(token).await.unwrap_err();
    assert_eq!(error.reason, Reason::Expired);
    assert!(error.message.contains("use the continue token in this response"), "{error}");
    // What is left can be had, as it is now.
    assert!(error.continue_token.is_some());
    page(error.continue_token.map(|token| token.into_string())).await.unwrap();
    let query = ListQuery { version: Version::Exact(revision), ..ListQuery::default() };
    let error = world.pods.list(query).await.unwrap_err();
    assert_eq!(error.message, "The resourceVersion for the provided list is too old.");
}

#[tokio::test(start_paused = true)]
async fn without_the_store_known_versions_are_still_read() {
    let world = World::new(CacheOptions::default()).await;
    let revision = world.put("a/p", "n", "x").await;
    world.cache.wait_for(revision).await.unwrap();
    world.store.set_reachable(false);
    for version in [Version::Any, Version::NotOlderThan(revision), Version::Exact(revision)] {
        let list = world.pods.list(ListQuery { version, ..ListQuery::default() }).await.unwrap();
        assert_eq!(list.items.count(), 1, "{version:?}");
    }
    let error = world.pods.get("a", "p", Version::Consistent).await.unwrap_err();
    assert_eq!((error.reason, error.retry_after_seconds()), (Reason::ServiceUnavailable, Some(1)));
    let error = world.pods.get("a", "p", Version::NotOlderThan(revision + 100)).await.unwrap_err();
    assert_eq!(error.message, format!("Timeout: Too large resource version: {}, current: {revision}", revision + 100));
    world.store.set_reachable(true);
    assert!(world.pods.get("a", "p", Version::Consistent).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn lost_history_reloads_and_ends_watches_as_expired() {
    let world = World::new(CacheOptions::default()).await;
    world.put("a/p", "n", "x").await;
    world.put("a/q", "n", "x").await;
    world.list(Selector::all()).await;
    let mut watch = world.watch(Selector::all(), WatchFrom::Now).await;
    assert_eq!(drain(&mut watch).len(), 2);
    // Everything changes and is compacted before the cache's task runs: it has no way to follow.
    let before = world.cache.revision();
    let changed = async {
        world.delete("a/p").await;
        world.put("a/r", "n", "x").await;
        world.store.compact(world.store.current_revision().await.unwrap()).await.unwrap();
    };
    changed.now_or_never().expect("the in-memory store does not wait");
    assert_eq!(world.cache.revision(), before);
    let error = watch.next().await.unwrap().unwrap_err();
    assert_eq!(error.reason, Reason::Expired);
    assert!(watch.next().await.is_none());
    let keys: Vec<String> = world.list(Selector::all()).await.into_keys().collect();
    assert_eq!(keys, ["a/q", "a/r"]);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_once_a_minute_to_those_who_asked() {
    let world = World::new(CacheOptions::default()).await;
    let mut asked = world.pods.watch(WatchQuery { bookmarks: true, ..WatchQuery::default() }).await.unwrap();
    let mut silent = world.watch(Selector::all(), WatchFrom::Now).await;
    world.store.update("/elsewhere", Hint::Absent, &mut |_| Ok(Write::put("1"))).await.unwrap();
    let begun = tokio::time::Instant::now();
    let batch = asked.next().await.unwrap().unwrap();
    assert!(begun.elapsed() <= Duration::from_secs(61));
    assert_eq!(batch[0].kind(), EventKind::Bookmark);
    assert_eq!(batch[0].revision(), world.store.current_revision().await.unwrap());
    assert_eq!(drain(&mut silent).len(), 0);
}

#[tokio::test]
async fn a_filled_store_is_loaded_in_pages() {
    let store = MemoryStore::new();
    let world = World::over(store.clone(), CacheOptions::default());
    world.cache.ready().await.unwrap();
    for number in 0..1234 {
        world.put(&format!("a/p{number:04}"), &format!("n{}", number % 10), "x").await;
    }
    let expected = world.list(Selector::all()).await;
    let second = World::over(store, CacheOptions::default());
    assert_eq!(second.list(Selector::all()).await, expected);
    assert_eq!(second.list(Selector::all().field("spec.nodeName", "n3")).await.len(), 124);
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Put {
        pod: u8,
        node: u8,
        app: u8,
    },
    Delete {
        pod: u8,
    },
    /// A watcher begins, with one of the selections, at the state or after a list.
    Watch {
        selection: u8,
        state_first: bool,
    },
    /// The watchers read what they have.
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12_u8, 0..3_u8, 0..3_u8).prop_map(|(pod, node, app)| Step::Put { pod, node, app }),
        3 => (0..12_u8).prop_map(|pod| Step::Delete { pod }),
        1 => (0..7_u8, any::<bool>()).prop_map(|(selection, state_first)| Step::Watch { selection, state_first }),
        1 => Just(Step::Drain),
    ]
}

fn selection(number: u8) -> Selector {
    match number {
        0 => Selector::all(),
        1 => Selector::namespace("n1"),
        2 => Selector::all().field("spec.nodeName", "1"),
        3 => Selector::all().label("app", "2"),
        4 => Selector::namespace("n0").label("app", "1"),
        5 => Selector::namespace("n1").field("metadata.name", "p1"),
        _ => Selector {
            fields: vec![FieldRequirement { path: "spec.nodeName".into(), value: "0".into(), equal: false }],
            ..Selector::default()
        },
    }
}

fn pod_key(pod: u8) -> String {
    format!("n{}/p{}", pod % 2, pod / 2)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_watcher_that_begins_anywhere_ends_equal_to_a_list(steps in proptest::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new(CacheOptions::default()).await;
            let mut watches: Vec<(Selector, Watch, Mirror)> = Vec::new();
            let mut model: BTreeMap<String, (u8, u8)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Put { pod, node, app } => {
                        world.put(&pod_key(pod), &node.to_string(), &app.to_string()).await;
                        model.insert(pod_key(pod), (node, app));
                    }
                    Step::Delete { pod } => {
                        world.delete(&pod_key(pod)).await;
                        model.remove(&pod_key(pod));
                    }
                    Step::Watch { selection: number, state_first } => {
                        let selector = selection(number);
                        let mut mirror = Mirror::default();
                        let from = if state_first {
                            WatchFrom::Any
                        } else {
                            let query = ListQuery { selector: selector.clone(), version: Version::Any, ..ListQuery::default() };
                            let list = world.pods.list(query).await.unwrap();
                            let revision = list.revision;
                            mirror.objects = list.items.map(|one| (one.key().to_string(), one.object().clone())).collect();
                            WatchFrom::Revision(revision)
                        };
                        let watch = world.watch(selector.clone(), from).await;
                        watches.push((selector, watch, mirror));
                    }
                    Step::Drain => {
                        tokio::task::yield_now().await;
                        for (_, watch, mirror) in &mut watches {
                            drain(watch).iter().for_each(|event| mirror.apply(event));
                        }
                    }
                }
            }
            let listed: Vec<String> = world.list(Selector::all()).await.into_keys().collect();
            assert_eq!(listed, model.keys().cloned().collect::<Vec<_>>());
            for (selector, mut watch, mut mirror) in watches {
                drain(&mut watch).iter().for_each(|event| mirror.apply(event));
                assert_eq!(mirror.objects, world.list(selector.clone()).await, "{selector:?}");
            }
        });
    }
}

fn widgets() -> ResourceConfig {
    ResourceConfig {
        resource: GroupVersionResource::new("example.com", "v1", "widgets"),
        api_version: "example.com/v1".into(),
        kind: "Widget".into(),
        prefix: "/registry/example.com/widgets/".into(),
        extract: Arc::new(NoFields),
    }
}

#[tokio::test]
async fn a_resource_comes_and_goes_while_the_cache_runs() {
    let world = World::new(CacheOptions::default()).await;
    let write = async |name: &str| {
        let key = format!("/registry/example.com/widgets/a/{name}");
        let object = format!(r#"{{"metadata":{{"namespace":"a","name":"{name}"}}}}"#);
        world.store.update(&key, Hint::Unknown, &mut |_| Ok(Write::put(object.clone()))).await.unwrap();
    };
    write("before").await;
    let resource = world.cache.add(widgets()).await.unwrap();
    assert!(resource.get("a", "before", Version::Any).await.unwrap().is_some(), "what was there is loaded");
    let query = WatchQuery {
        selector: Selector::default(),
        from: WatchFrom::Now,
        initial_events: Some(false),
        bookmarks: false,
    };
    let mut watch = resource.watch(query).await.unwrap();
    write("after").await;
    let events = watch.next().await.unwrap().unwrap();
    assert_eq!(&**events[0].entry().unwrap().key(), "a/after");

    world.cache.remove("/registry/example.com/widgets/").await.unwrap();
    let end = watch.next().await.unwrap().unwrap_err();
    assert_eq!(end.reason, Reason::Expired);
    let again = world.cache.add(widgets()).await.unwrap();
    assert!(again.get("a", "after", Version::Any).await.unwrap().is_some());
}
