//! What users of the API see, over both edges, on a real etcd.

#[path = "api/addresses.rs"]
mod addresses;
#[path = "api/components.rs"]
mod components;
#[path = "api/definitions.rs"]
mod definitions;
#[path = "api/fields.rs"]
mod fields;
mod outbound;
#[path = "api/renewal.rs"]
mod renewal;
mod support;

use std::collections::HashSet;

use futures::{StreamExt as _, TryStreamExt as _};
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota, Service};
use k8s_openapi::api::networking::v1::IPAddress;
use reeve_api::Reason;
use reeve_client::api::WatchEvent;
use reeve_client::{DeleteOptions, ListOptions, Patch, Scope, WatchOptions, reflect};
use serde_json::{Value, json};
use support::TestServer;

const JSON: &str = "application/json";

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": "v"}})).unwrap()
}

fn service(name: &str, spec: Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_lives_and_dies() {
    let server = TestServer::start().await;
    let maps = server.client("admin").namespaced::<ConfigMap>("default");
    let created = maps.create(&config_map("a")).await.unwrap();
    assert!(created.metadata.uid.is_some() && created.metadata.creation_timestamp.is_some());

    let again = maps.create(&config_map("a")).await.unwrap_err();
    assert_eq!(again.reason(), Some(Reason::AlreadyExists));
    assert_eq!(again.to_string(), r#"configmaps "a" already exists"#);

    let patched = maps.patch("a", &Patch::Merge(json!({"data": {"k": null, "n": "1"}}))).await.unwrap();
    assert_eq!(patched.data.unwrap().into_iter().collect::<Vec<_>>(), [("n".into(), "1".into())]);

    let stale = maps.update(&created).await.unwrap_err();
    assert!(stale.is_conflict(), "{stale}");

    let same = maps.patch("a", &Patch::Merge(json!({"data": {"n": "1"}}))).await.unwrap();
    assert_eq!(same.metadata.resource_version, patched.metadata.resource_version, "nothing changed");

    let operations = json!([{"op": "test", "path": "/data/n", "value": "2"}]);
    assert!(maps.patch("a", &Patch::Json(operations)).await.unwrap_err().is_invalid());

    maps.patch("a", &Patch::Merge(json!({"metadata": {"finalizers": ["example.com/hold"]}}))).await.unwrap();
    assert!(!maps.delete("a", &DeleteOptions::default()).await.unwrap().gone);
    assert!(maps.get("a").await.unwrap().metadata.deletion_timestamp.is_some());
    maps.patch("a", &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await.unwrap();
    assert!(maps.get("a").await.unwrap_err().is_not_found());

    let nowhere = server.client("admin").namespaced::<ConfigMap>("nowhere");
    let error = nowhere.create(&config_map("a")).await.unwrap_err();
    assert_eq!(error.to_string(), r#"namespaces "nowhere" not found"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_see_every_change_and_resume() {
    let server = TestServer::start().await;
    let client = server.client("admin");
    let maps = client.namespaced::<ConfigMap>("default");
    let first = maps.create(&config_map("a")).await.unwrap();
    let from = WatchOptions { resource_version: first.metadata.resource_version.unwrap(), ..WatchOptions::default() };
    maps.create(&config_map("b")).await.unwrap();
    maps.delete("a", &DeleteOptions::default()).await.unwrap();
    let watch = maps.watch(&from).await.unwrap();
    let seen: Vec<String> = watch
        .try_filter_map(|event| async move {
            Ok(match event {
                WatchEvent::Added(map) => Some(format!("+{}", map.metadata.name.unwrap())),
                WatchEvent::Modified(map) => Some(format!("~{}", map.metadata.name.unwrap())),
                WatchEvent::Deleted(map) => Some(format!("-{}", map.metadata.name.unwrap())),
                WatchEvent::Bookmark { .. } => None,
            })
        })
        .take(2)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(seen, ["+b", "-a"]);

    let store = reflect::<ConfigMap>(&client, Scope::all().namespace("default"), |_| {});
    store.wait_synced().await;
    assert_eq!(store.len(), 1);
    let written = maps.create(&config_map("c")).await.unwrap();
    store.wait_revision(written.metadata.resource_version.unwrap().parse().unwrap()).await;
    assert_eq!(store.len(), 2);

    let mut one = maps
        .watch(&WatchOptions {
            field_selector: "metadata.name=c".into(),
            send_initial_events: true,
            ..WatchOptions::default()
        })
        .await
        .unwrap()
        .boxed();
    assert!(matches!(one.next().await, Some(Ok(WatchEvent::Added(_)))));
    assert!(matches!(one.next().await, Some(Ok(WatchEvent::Bookmark { initial_events_end: true, .. }))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_watches_and_waits_for_nothing_else() {
    let mut server = TestServer::start().await;
    let maps = server.client("admin").namespaced::<ConfigMap>("default");
    maps.create(&config_map("a")).await.unwrap();
    let everything = WatchOptions { send_initial_events: true, ..WatchOptions::default() };
    let mut watch = maps.watch(&everything).await.unwrap().boxed();
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(_)))));
    // Requests in flight may take ten seconds; an open watch is none of them.
    let took = server.stop().await;
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    while let Some(Ok(event)) = watch.next().await {
        assert!(matches!(event, WatchEvent::Bookmark { .. }), "nothing happened meanwhile");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_over_one_state() {
    let server = TestServer::start().await;
    let maps = server.client("admin").namespaced::<ConfigMap>("default");
    for name in ["a", "b", "c"] {
        maps.create(&config_map(name)).await.unwrap();
    }
    let first = maps.list(&ListOptions { limit: 2, ..ListOptions::default() }).await.unwrap();
    assert_eq!((first.items.len(), first.remaining_item_count), (2, 1));
    maps.delete("c", &DeleteOptions::default()).await.unwrap();
    let options = ListOptions { limit: 2, continue_token: first.continue_token, ..ListOptions::default() };
    let rest = maps.list(&options).await.unwrap();
    assert_eq!(rest.items.len(), 1, "the state of the first page still has c");
    assert_eq!(rest.resource_version, first.resource_version);
    let narrow = ListOptions { fields: vec!["metadata.name".into()], ..ListOptions::default() };
    assert!(maps.list(&narrow).await.unwrap().items.iter().all(|map| map.data.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_or_port_is_handed_out_twice() {
    let mut server = TestServer::start().await;
    let services = server.client("admin").namespaced::<Service>("default");
    let spec = json!({"type": "NodePort", "ports": [{"port": 80}], "selector": {"a": "b"}});
    let creates = (0..64).map(|index| {
        let (services, spec) = (services.clone(), spec.clone());
        async move { services.create(&service(&format!("s{index}"), spec)).await.unwrap() }
    });
    let made: Vec<Service> = futures::stream::iter(creates).buffer_unordered(32).collect().await;
    let addresses: HashSet<String> =
        made.iter().map(|one| one.spec.as_ref().unwrap().cluster_ip.clone().unwrap()).collect();
    let port = |one: &Service| one.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].node_port.unwrap();
    let ports: HashSet<i32> = made.iter().map(port).collect();
    assert_eq!((addresses.len(), ports.len()), (64, 64));
    let listed = server.client("admin").all::<IPAddress>().list(&ListOptions::default()).await.unwrap();
    let mut listed: HashSet<String> = listed.items.into_iter().filter_map(|one| one.metadata.name).collect();
    assert!(listed.remove("10.96.0.1"));
    assert_eq!(listed, addresses, "each is an object, and there is no other");
    assert!(ports.iter().all(|port| (30000..=32767).contains(port)));

    // The claims outlive the server.
    server.restart().await;
    let services = server.client("admin").namespaced::<Service>("default");
    let (address, taken) = (made[0].spec.as_ref().unwrap().cluster_ip.clone().unwrap(), port(&made[1]));
    let error =
        services.create(&service("x", json!({"clusterIP": address, "ports": [{"port": 80}]}))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Service \"x\" is invalid: spec.clusterIPs: Invalid value: [{address:?}]: failed to allocate IP {address}: \
             provided IP is already allocated"
        )
    );
    let wanted = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": taken}]});
    let error = services.create(&service("x", wanted.clone())).await.unwrap_err();
    assert!(error.to_string().ends_with("provided port is already allocated"), "{error}");

    // A deleted Service gives back what it had.
    services.delete(made[1].metadata.name.as_deref().unwrap(), &DeleteOptions::default()).await.unwrap();
    services.create(&service("x", wanted)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_bound_once_and_ends_gracefully() {
    let server = TestServer::start().await;
    let client = server.client("admin");
    let pods = client.namespaced::<Pod>("default");
    pods.create(&pod("p")).await.unwrap();
    let binding = |node: &str| json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    pods.create_subresource("p", "binding", &binding("n1")).await.unwrap();
    let error = pods.create_subresource("p", "binding", &binding("n2")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\""
    );
    let here = ListOptions { field_selector: "spec.nodeName=n1".into(), ..ListOptions::default() };
    assert_eq!(pods.list(&here).await.unwrap().items.len(), 1);

    let status = Patch::Merge(json!({"status": {"phase": "Running"}, "spec": {"nodeName": "other"}}));
    let running = pods.patch_status("p", &status).await.unwrap();
    assert_eq!(running.spec.unwrap().node_name.as_deref(), Some("n1"), "the status verb changes only the status");
    assert_eq!(running.status.unwrap().phase.as_deref(), Some("Running"));

    assert!(!pods.delete("p", &DeleteOptions::default()).await.unwrap().gone);
    let ending = pods.get("p").await.unwrap();
    assert_eq!(ending.metadata.deletion_grace_period_seconds, Some(30));
    let now = DeleteOptions {
        grace_period_seconds: Some(0),
        uid: ending.metadata.uid.clone().unwrap(),
        ..DeleteOptions::default()
    };
    let wrong = DeleteOptions { uid: "other".into(), ..now.clone() };
    assert!(pods.delete("p", &wrong).await.unwrap_err().is_conflict());
    assert!(pods.delete("p", &now).await.unwrap().gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_may_are_let_in() {
    let server = TestServer::start().await;
    let anonymous = server.rest_as("", Method::GET, "/api/v1/pods", None, None).await;
    let text = r#"pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" at the cluster scope"#;
    assert_eq!((anonymous.status, anonymous.json()["message"].as_str().unwrap()), (403, text));
    let stranger = server.client("jane").namespaced::<Pod>("default");
    let error = stranger.list(&ListOptions::default()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#
    );
    let node = server.client("system:node:n1");
    let other = json!({"metadata": {"name": "n2"}});
    let error = node.all::<k8s_openapi::api::core::v1::Node>();
    let error = error.create(&serde_json::from_value(other).unwrap()).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Forbidden));
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_speaks_kubernetes() {
    let server = TestServer::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let made = server.rest(Method::POST, path, Some((JSON, json!({"metadata": {"generateName": "x-"}})))).await;
    assert_eq!(made.status, 201);
    let name = made.json()["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("x-") && name.len() == 7, "{name}");

    let list = server.rest(Method::GET, path, None).await.json();
    assert_eq!(list["kind"], "ConfigMapList");
    assert!(list["items"][0].get("kind").is_none() && list["items"][0]["metadata"]["resourceVersion"].is_string());

    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = server.rest_as("admin", Method::GET, path, Some(table), None).await.json();
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], name.as_str());
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");

    let one = format!("{path}/{name}");
    let patch = ("application/merge-patch+json", json!({"data": {"a": "b"}}));
    assert_eq!(server.rest(Method::PATCH, &format!("{one}?dryRun=All"), Some(patch.clone())).await.status, 200);
    assert!(server.rest(Method::GET, &one, None).await.json().get("data").is_none(), "a dry run stores nothing");
    assert_eq!(server.rest(Method::PATCH, &one, Some(patch)).await.json()["data"]["a"], "b");

    let watch = server.rest(Method::GET, &format!("{path}?watch=1&resourceVersion=0&timeoutSeconds=1"), None).await;
    let line: Value = serde_json::from_str(watch.body.lines().next().unwrap()).unwrap();
    assert_eq!((line["type"].as_str(), line["object"]["kind"].as_str()), (Some("ADDED"), Some("ConfigMap")));

    let gone = server.rest(Method::DELETE, &one, None).await.json();
    assert_eq!((gone["status"].as_str(), gone["details"]["name"].as_str()), (Some("Success"), Some(name.as_str())));
    let absent = server.rest(Method::GET, &one, None).await;
    assert_eq!((absent.status, absent.json()["code"].as_i64()), (404, Some(404)));

    for broken in ["{", "[]", "7", "{\"metadata\":7}", "{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}"] {
        let body: Value = serde_json::from_str(broken).unwrap_or(Value::Null);
        let answer = server.rest(Method::POST, path, Some((JSON, body))).await;
        assert!((400..500).contains(&answer.status), "{broken}: {}", answer.body);
    }
    assert_eq!(server.rest(Method::GET, "/apis/nothing/v1/things", None).await.status, 404);
    assert_eq!(server.rest(Method::GET, &format!("{path}?labelSelector=a%20in%20("), None).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_exact_when_many_create_at_once() {
    const ROOM: usize = 5;
    let server = TestServer::start().await;
    let admin = server.client("admin");
    let quotas = admin.namespaced::<ResourceQuota>("default");
    let hard = json!({"count/configmaps": ROOM.to_string()});
    let quota: ResourceQuota =
        serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).unwrap();
    quotas.create(&quota).await.unwrap();
    // What the quota's controller does.
    let status = json!({"status": {"hard": hard, "used": {"count/configmaps": "0"}}});
    let counted = quotas.patch_status("q", &Patch::Merge(status)).await.unwrap();
    let version = counted.metadata.resource_version.unwrap();

    let creates = (0..4 * ROOM).map(|index| {
        let maps = admin.namespaced::<ConfigMap>("default");
        async move { maps.create(&config_map(&format!("m{index}"))).await }
    });
    let results = futures::future::join_all(creates).await;
    let made = results.iter().filter(|result| result.is_ok()).count();
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.reason(), Some(Reason::Forbidden), "{error}");
        assert!(error.to_string().contains("exceeded quota: q, requested: count/configmaps=1"), "{error}");
    }
    let after = quotas.get("q").await.unwrap();
    let used = after.status.and_then(|status| status.used).unwrap_or_default();
    assert_eq!((made, used["count/configmaps"].0.as_str()), (ROOM, "5"), "since version {version}");
}
