//! The contract of [`Store`]: the same cases for the etcd store and for the in-memory one.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use reeve_api::{Reason, StatusError};
use tokio::time::timeout;

use super::etcd::{EtcdOptions, EtcdStore};
use super::etcd_process::EtcdProcess;
use super::{Change, ChangeStream, Claim, Hint, MemoryStore, Note, Outcome, Store, StoreError, Stored, Turns, Write};

/// Long enough for any answer; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn refused(text: &str) -> StatusError {
    StatusError::new(Reason::Conflict, text)
}

async fn put(store: &dyn Store, key: &str, value: &str) -> i64 {
    let value = Bytes::copy_from_slice(value.as_bytes());
    match store.update(key, Hint::Unknown, &mut |_| Ok(Write::put(value.clone()))).await {
        Ok(Outcome::Put { stored, .. }) => stored.revision,
        other => panic!("{key}: {other:?}"),
    }
}

async fn create(store: &dyn Store, key: &str, value: &str) -> Result<Outcome, StoreError> {
    let value = Bytes::copy_from_slice(value.as_bytes());
    let mut decide = |present: Option<&Stored>| match present {
        Some(_) => Err(refused("exists")),
        None => Ok(Write::put(value.clone())),
    };
    store.update(key, Hint::Absent, &mut decide).await
}

async fn delete(store: &dyn Store, key: &str) -> Outcome {
    store.update(key, Hint::Unknown, &mut |_| Ok(Write::delete())).await.unwrap()
}

/// The next `count` changes.
async fn take(changes: &mut ChangeStream, count: usize) -> Vec<Change> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let batch = timeout(PATIENCE, changes.next()).await.expect("changes come").expect("the watch goes on");
        taken.extend(batch.unwrap().changes);
    }
    taken
}

async fn objects_live_and_die(store: Arc<dyn Store>) {
    let store = &*store;
    assert_eq!(store.get("/a/x").await.unwrap(), None);
    let Outcome::Put { stored: first, previous: None } = create(store, "/a/x", "1").await.unwrap() else { panic!() };
    assert_eq!(create(store, "/a/x", "1").await, Err(StoreError::Rejected(refused("exists"))));
    assert_eq!(store.get("/a/x").await.unwrap(), Some(first.clone()));
    assert_eq!(store.current_revision().await.unwrap(), first.revision);

    let second = put(store, "/a/x", "2").await;
    assert_eq!(second, first.revision + 1);
    // Keeping writes nothing.
    let kept = store.update("/a/x", Hint::Unknown, &mut |_| Ok(Write::keep())).await.unwrap();
    assert!(matches!(kept, Outcome::Kept(Some(Stored { revision, .. })) if revision == second));
    assert_eq!(store.current_revision().await.unwrap(), second);

    let Outcome::Deleted { last, revision } = delete(store, "/a/x").await else { panic!() };
    assert_eq!((&last.value[..], last.revision, revision), (&b"2"[..], second, second + 1));
    assert_eq!(delete(store, "/a/x").await, Outcome::Kept(None));
    assert_eq!(store.get("/a/x").await.unwrap(), None);
}

async fn a_stale_hint_never_decides(store: Arc<dyn Store>) {
    let store = &*store;
    let first = put(store, "/a/x", "1").await;
    let stale = Hint::Present(Stored { value: Bytes::from_static(b"1"), revision: first });
    put(store, "/a/x", "2").await;

    // Refusing a stale state is not the end.
    let mut decide = |present: Option<&Stored>| match present {
        Some(stored) if stored.value == "2" => Ok(Write::put("3")),
        _ => Err(refused("old")),
    };
    let Outcome::Put { previous: Some(previous), .. } = store.update("/a/x", stale.clone(), &mut decide).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(&previous.value[..], b"2");

    // A write decided on a stale state is decided again.
    let mut seen = Vec::new();
    let mut decide = |present: Option<&Stored>| {
        seen.push(present.map(|stored| stored.value.clone()));
        Ok(Write::put("4"))
    };
    store.update("/a/x", stale.clone(), &mut decide).await.unwrap();
    assert_eq!(seen, [Some(Bytes::from("1")), Some(Bytes::from("3"))]);

    // Absent and present are told apart both ways.
    let mut decide = |present: Option<&Stored>| match present {
        Some(_) => Ok(Write::delete()),
        None => Err(refused("not found")),
    };
    let gone = store.update("/a/x", Hint::Absent, &mut decide).await.unwrap();
    assert!(matches!(gone, Outcome::Deleted { .. }));
    assert_eq!(store.update("/a/x", stale, &mut decide).await, Err(StoreError::Rejected(refused("not found"))));

    // Keeping, on a belief that is wrong, is decided again too.
    put(store, "/a/y", "1").await;
    let kept = store.update("/a/y", Hint::Absent, &mut |_| Ok(Write::keep())).await.unwrap();
    assert!(matches!(kept, Outcome::Kept(Some(_))));
}

async fn concurrent_updates_lose_nothing(store: Arc<dyn Store>) {
    let tasks = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..8 {
                let mut decide = |present: Option<&Stored>| {
                    let count: u32 = present.map_or(0, |one| String::from_utf8_lossy(&one.value).parse().unwrap());
                    Ok(Write::put((count + 1).to_string()))
                };
                store.update("/count", Hint::Absent, &mut decide).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(&store.get("/count").await.unwrap().unwrap().value[..], b"128");
}

async fn a_claim_is_never_granted_twice(store: Arc<dyn Store>) {
    // 64 claimers want one of 16 addresses each.
    let tasks = (0..64).map(|claimer| {
        let store = store.clone();
        tokio::spawn(async move {
            for address in 0..16 {
                let claim =
                    Claim::new(format!("/addresses/{}", (address + claimer) % 16), format!("/services/{claimer}"));
                let key = format!("/services/{claimer}");
                let mut decide = |_: Option<&Stored>| Ok(Write::put("service").claiming([claim.clone()]));
                match store.update(&key, Hint::Absent, &mut decide).await {
                    Ok(_) => return Some(claim.key),
                    Err(StoreError::Claimed(taken)) => assert_eq!(taken, claim.key),
                    Err(error) => panic!("{error}"),
                }
            }
            None
        })
    });
    let mut granted = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        granted.extend(task.await.unwrap());
    }
    assert_eq!((granted.len(), granted.iter().collect::<HashSet<_>>().len()), (16, 16));
    // A claim and its object come and go together.
    let services = store.list("/services/", None, None, 0).await.unwrap();
    assert_eq!(services.items.len(), 16);
    let holder = String::from_utf8(store.get(&granted[0]).await.unwrap().unwrap().value.to_vec()).unwrap();
    let release = |_: Option<&Stored>| Ok(Write::delete().releasing([granted[0].clone()]));
    store.update(&holder, Hint::Unknown, &mut { release }).await.unwrap();
    assert_eq!(store.get(&granted[0]).await.unwrap(), None);
    let again = Claim::new(granted[0].clone(), "/services/late");
    let mut decide = |_: Option<&Stored>| Ok(Write::put("service").claiming([again.clone()]));
    store.update("/services/late", Hint::Absent, &mut decide).await.unwrap();
    // A refused claim leaves nothing behind.
    let refused = Claim::new(granted[1].clone(), "/services/none");
    let mut decide = |_: Option<&Stored>| Ok(Write::put("service").claiming([refused.clone()]));
    assert!(store.update("/services/none", Hint::Absent, &mut decide).await.is_err());
    assert_eq!(store.get("/services/none").await.unwrap(), None);
}

async fn a_note_comes_with_its_write_or_not_at_all(store: Arc<dyn Store>) {
    let store = &*store;
    let from = put(store, "/noted/a", "1").await + 1;
    let note = |value: &'static str| Note { key: "/note".to_owned(), value: value.into() };
    let mut changes = store.watch(from).await.unwrap();
    // Decided on a state that is no more: nothing is told.
    let stale = Stored { value: "0".into(), revision: 1 };
    let mut decide = |present: Option<&Stored>| match present {
        Some(present) if present.value == "1" => Err(refused("newer")),
        _ => Ok(Write::delete().noting(note("stale"))),
    };
    let result = store.update("/noted/a", Hint::Present(stale), &mut decide).await;
    assert_eq!(result, Err(StoreError::Rejected(refused("newer"))));
    for value in ["first", "second"] {
        store.update("/noted/a", Hint::Unknown, &mut |_| Ok(Write::delete().noting(note(value)))).await.unwrap();
        put(store, "/noted/a", "2").await;
    }
    let seen = take(&mut changes, 6).await;
    let told = |change: &Change| (change.key.clone(), change.value.clone(), change.revision - from);
    let bytes = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let expected = [
        ("/note", bytes("first"), 0),
        ("/noted/a", None, 0),
        ("/noted/a", bytes("2"), 1),
        ("/note", bytes("second"), 2),
        ("/noted/a", None, 2),
        ("/noted/a", bytes("2"), 3),
    ];
    let expected = expected.map(|(key, value, revision)| (key.to_owned(), value, revision));
    assert_eq!(seen.iter().map(told).collect::<Vec<_>>(), expected);
}

async fn what_expires_is_seen_as_deleted(store: Arc<dyn Store>) {
    let from = store.current_revision().await.unwrap() + 1;
    let mut changes = store.watch(from).await.unwrap();
    let ttl = Duration::from_secs(1);
    for key in ["/events/a", "/events/b"] {
        store.update(key, Hint::Absent, &mut |_| Ok(Write::put_for("event", ttl))).await.unwrap();
    }
    let seen = take(&mut changes, 4).await;
    let gone: HashSet<&str> = seen[2..].iter().map(|change| change.key.as_str()).collect();
    assert!(seen[2..].iter().all(|change| change.value.is_none()));
    assert_eq!(gone, HashSet::from(["/events/a", "/events/b"]));
    assert_eq!(store.get("/events/a").await.unwrap(), None);
}

async fn pages_are_stable_at_a_revision(store: Arc<dyn Store>) {
    let store = &*store;
    for number in 0..25 {
        put(store, &format!("/p/{number:02}"), "1").await;
    }
    put(store, "/p0", "outside").await;
    let first = store.list("/p/", None, None, 10).await.unwrap();
    assert_eq!((first.items.len(), first.more, first.count), (10, true, 25));
    for number in 0..25 {
        delete(store, &format!("/p/{number:02}")).await;
        put(store, &format!("/p/{number:02}x"), "2").await;
    }
    let mut keys: Vec<String> = first.items.into_iter().map(|(key, _)| key).collect();
    loop {
        let page = store.list("/p/", Some(first.revision), keys.last().map(String::as_str), 10).await.unwrap();
        assert_eq!(page.revision, first.revision);
        keys.extend(page.items.into_iter().map(|(key, _)| key));
        if !page.more {
            break;
        }
    }
    assert_eq!(keys, (0..25).map(|number| format!("/p/{number:02}")).collect::<Vec<_>>());
    let future = store.current_revision().await.unwrap() + 10;
    assert_eq!(store.list("/p/", Some(future), None, 10).await, Err(StoreError::Future));
}

async fn a_watch_sees_every_revision_once(store: Arc<dyn Store>) {
    let from = store.current_revision().await.unwrap() + 1;
    let writers = (0..4).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0..25 {
                put(&*store, &format!("/{writer}/{number}"), "value").await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut live = store.watch(from).await.unwrap();
    let seen = take(&mut live, 100).await;
    for writer in writers {
        writer.await.unwrap();
    }
    let revisions: Vec<i64> = seen.iter().map(|change| change.revision).collect();
    assert_eq!(revisions, (from..from + 100).collect::<Vec<_>>());
    // From the past it is the same.
    let mut late = store.watch(from).await.unwrap();
    assert_eq!(take(&mut late, 100).await, seen);
    let mut middle = store.watch(from + 50).await.unwrap();
    assert_eq!(take(&mut middle, 50).await, seen[50..]);
}

async fn compacted_history_is_told(store: Arc<dyn Store>) {
    let old = put(&*store, "/a", "1").await;
    put(&*store, "/a", "2").await;
    let newest = put(&*store, "/a", "3").await;
    store.compact(newest).await.unwrap();
    assert!(matches!(store.list("/", Some(old), None, 0).await, Err(StoreError::Compacted { .. })));
    let mut changes = store.watch(old).await.unwrap();
    let end = timeout(PATIENCE, changes.next()).await.unwrap();
    assert!(matches!(end, Some(Err(StoreError::Compacted { .. }))), "{end:?}");
    // What is newest stays.
    assert_eq!(store.list("/", Some(newest), None, 0).await.unwrap().items.len(), 1);
    let mut changes = store.watch(newest + 1).await.unwrap();
    put(&*store, "/b", "1").await;
    assert_eq!(take(&mut changes, 1).await[0].key, "/b");
}

async fn etcd(process: &EtcdProcess) -> Arc<dyn Store> {
    let options =
        EtcdOptions { endpoints: vec![process.endpoint()], tls: None, request_timeout: Duration::from_secs(5) };
    Arc::new(EtcdStore::connect(&options).await.unwrap())
}

macro_rules! store_contract {
    ($($case:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $case() {
                super::$case(std::sync::Arc::new(super::MemoryStore::new())).await;
            })+
        }
        mod in_turns {
            $(#[tokio::test]
            async fn $case() {
                let store = super::Turns::new(super::MemoryStore::new(), super::PATIENCE);
                super::$case(std::sync::Arc::new(store)).await;
            })+
        }
        mod real_etcd {
            $(#[tokio::test]
            async fn $case() {
                let process = super::EtcdProcess::start();
                super::$case(super::etcd(&process).await).await;
            })+
        }
    };
}

store_contract!(
    objects_live_and_die,
    a_stale_hint_never_decides,
    concurrent_updates_lose_nothing,
    a_claim_is_never_granted_twice,
    a_note_comes_with_its_write_or_not_at_all,
    what_expires_is_seen_as_deleted,
    pages_are_stable_at_a_revision,
    a_watch_sees_every_revision_once,
    compacted_history_is_told,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_etcd_loses_nothing_that_was_acknowledged() {
    let mut process = EtcdProcess::start();
    let store = etcd(&process).await;
    let from = store.current_revision().await.unwrap() + 1;
    let mut changes = store.watch(from).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (progress, mut progressed) = tokio::sync::mpsc::channel(1024);
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (store, stop, progress) = (store.clone(), stop.clone(), progress.clone());
            tokio::spawn(async move {
                let (mut acknowledged, mut uncertain) = (BTreeMap::new(), HashSet::new());
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("/k/{writer}/{number}");
                    match create(&*store, &key, "value").await {
                        Ok(Outcome::Put { stored, .. }) => {
                            acknowledged.insert(key, stored.revision);
                            progress.try_send(()).ok();
                        }
                        Err(StoreError::Uncertain(_)) => {
                            uncertain.insert(key);
                        }
                        Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
                        other => panic!("{other:?}"),
                    }
                }
                (acknowledged, uncertain)
            })
        })
        .collect();
    for _ in 0..100 {
        progressed.recv().await;
    }
    process.kill();
    process.restart();
    while progressed.try_recv().is_ok() {}
    for _ in 0..100 {
        timeout(PATIENCE, progressed.recv()).await.expect("writes go on after the restart");
    }
    stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut uncertain) = (BTreeMap::new(), HashSet::new());
    for writer in writers {
        let (more, doubtful) = writer.await.unwrap();
        acknowledged.extend(more);
        uncertain.extend(doubtful);
    }
    let page = store.list("/k/", None, None, 0).await.unwrap();
    let present: BTreeMap<String, i64> = page.items.into_iter().map(|(key, one)| (key, one.revision)).collect();
    for (key, revision) in &acknowledged {
        assert_eq!(present.get(key), Some(revision), "{key} was acknowledged");
    }
    for key in present.keys() {
        assert!(acknowledged.contains_key(key) || uncertain.contains(key), "{key} was told not to be written");
    }
    // The watch went through the outage without a gap.
    let seen = take(&mut changes, present.len()).await;
    let revisions: Vec<i64> = seen.iter().map(|change| change.revision).collect();
    assert_eq!(revisions, (from..from + revisions.len() as i64).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_absent_etcd_is_told_as_certain() {
    let mut process = EtcdProcess::start();
    let store = etcd(&process).await;
    put(&*store, "/a", "1").await;
    process.kill();
    // The first request may meet the connection as it breaks; afterwards nothing can have been sent.
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        outcomes.push(store.update("/a", Hint::Absent, &mut |_| Ok(Write::put("2"))).await);
    }
    assert!(matches!(outcomes.last(), Some(Err(StoreError::Unavailable(_)))), "{outcomes:?}");
    assert!(matches!(store.current_revision().await, Err(StoreError::Unavailable(_))));
    process.restart();
    assert_eq!(&store.get("/a").await.unwrap().unwrap().value[..], b"1");
}

#[tokio::test]
async fn a_member_that_is_away_is_passed_over() {
    let process = EtcdProcess::start();
    // Nothing listens on the first port of all.
    let endpoints = vec!["http://127.0.0.1:1".to_owned(), process.endpoint()];
    let options = EtcdOptions { endpoints, tls: None, request_timeout: Duration::from_secs(5) };
    let store = EtcdStore::connect(&options).await.unwrap();
    for number in 0..50 {
        let key = format!("/a/{number}");
        put(&store, &key, "1").await;
        assert!(store.get(&key).await.unwrap().is_some());
    }
}
