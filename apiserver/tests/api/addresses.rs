//! The ranges and addresses of Services as objects: IPAddresses come and go with their Services, whatever happens
//! between, and addresses come from every ServiceCIDR that is ready.

use futures::StreamExt as _;
use http::Method;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use reeve_client::api::WatchEvent;
use reeve_client::{Api, DeleteOptions, ListOptions, Patch, WatchOptions};
use serde_json::{Value, json};

use crate::service;
use crate::support::TestServer;

fn one_port(address: &str) -> Value {
    json!({"clusterIP": address, "ports": [{"port": 80}]})
}

fn address_of(service: &Service) -> String {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).expect("an address")
}

fn objects(server: &TestServer) -> Api<IPAddress> {
    server.client("admin").all()
}

/// Waits until an object is there in a state other than `not`, which it had before.
async fn there(addresses: &Api<IPAddress>, name: &str, not: Option<&str>) -> IPAddress {
    let options = WatchOptions {
        field_selector: format!("metadata.name={name}"),
        send_initial_events: true,
        ..WatchOptions::default()
    };
    let mut watch = addresses.watch(&options).await.expect("a watch").boxed();
    let found = async {
        loop {
            match watch.next().await.expect("the watch goes on").expect("an event") {
                WatchEvent::Added(one) | WatchEvent::Modified(one) if one.metadata.uid.as_deref() != not => return one,
                _ => {}
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), found).await.expect("it comes")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_service_is_an_object() {
    let server = TestServer::start().await;
    let (services, addresses) = (server.client("admin").namespaced::<Service>("default"), objects(&server));
    let made = services.create(&service("a", json!({"ports": [{"port": 80}]}))).await.unwrap();
    let address = address_of(&made);
    let object = addresses.get(&address).await.unwrap();
    let labels: Vec<(String, String)> = object.metadata.labels.unwrap().into_iter().collect();
    let label = |key: &str, value: &str| (format!("ipaddress.kubernetes.io/{key}"), value.to_owned());
    assert_eq!(labels, [label("ip-family", "IPv4"), label("managed-by", "ipallocator.k8s.io")]);
    let parent = object.spec.parent_ref;
    let named = (parent.group, parent.resource.as_str(), parent.namespace.as_deref(), parent.name.as_str());
    assert_eq!(named, (None, "services", Some("default"), "a"));
    let version = |version: Option<String>| version.unwrap();
    assert_eq!(version(object.metadata.resource_version), version(made.metadata.resource_version), "one transaction");
    assert!(object.metadata.uid.is_some() && object.metadata.creation_timestamp.is_some());
    let of_parent = ListOptions { field_selector: "spec.parentRef.name=a".into(), ..ListOptions::default() };
    assert_eq!(addresses.list(&of_parent).await.unwrap().items.len(), 1);

    let other = Patch::Merge(json!({"spec": {"type": "ExternalName", "externalName": "example.com", "clusterIP": "",
        "clusterIPs": null, "ports": null}}));
    services.patch("a", &other).await.unwrap();
    assert!(addresses.get(&address).await.unwrap_err().is_not_found(), "it went with the address");
    services.create(&service("b", one_port(&address))).await.unwrap();
    services.delete("b", &DeleteOptions::default()).await.unwrap();
    assert!(addresses.get(&address).await.unwrap_err().is_not_found(), "and with the Service");
    services.create(&service("c", json!({"clusterIP": "None"}))).await.unwrap();
    assert_eq!(addresses.list(&ListOptions::default()).await.unwrap().items.len(), 1, "that of this server's Service");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_somebody_made_is_taken() {
    let server = TestServer::start().await;
    let (services, addresses) = (server.client("admin").namespaced::<Service>("default"), objects(&server));
    let parent = json!({"group": "example.com", "resource": "gateways", "namespace": "default", "name": "g"});
    let own = json!({"metadata": {"name": "10.96.0.77"}, "spec": {"parentRef": parent}});
    addresses.create(&serde_json::from_value(own).unwrap()).await.unwrap();
    let error = services.create(&service("a", one_port("10.96.0.77"))).await.unwrap_err();
    assert!(error.to_string().ends_with("provided IP is already allocated"), "{error}");
    addresses.delete("10.96.0.77", &DeleteOptions::default()).await.unwrap();
    services.create(&service("a", one_port("10.96.0.77"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_deleted_by_hand_comes_again() {
    let server = TestServer::start().await;
    let (services, addresses) = (server.client("admin").namespaced::<Service>("default"), objects(&server));
    let address = address_of(&services.create(&service("a", json!({"ports": [{"port": 80}]}))).await.unwrap());
    let before = addresses.get(&address).await.unwrap().metadata.uid;
    addresses.delete(&address, &DeleteOptions::default()).await.unwrap();
    let error = services.create(&service("b", one_port(&address))).await.unwrap_err();
    assert!(error.to_string().ends_with("provided IP is already allocated"), "never another's meanwhile: {error}");
    let again = there(&addresses, &address, before.as_deref()).await;
    assert_eq!(again.spec.parent_ref.name, "a");

    let options = WatchOptions { send_initial_events: true, ..WatchOptions::default() };
    let events = server.client("admin").namespaced::<Event>("default");
    let mut watch = events.watch(&options).await.unwrap().boxed();
    let note = async {
        loop {
            match watch.next().await.expect("the watch goes on").expect("an event") {
                WatchEvent::Added(event) if event.reason.as_deref() == Some("ClusterIPNotAllocated") => break event,
                _ => {}
            }
        }
    };
    let event = tokio::time::timeout(std::time::Duration::from_secs(30), note).await.expect("it is told");
    assert_eq!(event.regarding.and_then(|one| one.name).as_deref(), Some("a"));
    assert_eq!(event.note.unwrap(), format!("Cluster IP [IPv4]: {address} is not allocated; repairing"));

    // So does one that lost its labels: whoever looks for the addresses of Services finds them by these.
    let label = "ipaddress.kubernetes.io/managed-by";
    let bare = addresses.patch(&address, &Patch::Merge(json!({"metadata": {"labels": {label: null}}}))).await.unwrap();
    let again = there(&addresses, &address, bare.metadata.uid.as_deref()).await;
    assert_eq!(again.metadata.labels.unwrap()[label], "ipallocator.k8s.io");

    services.delete("a", &DeleteOptions::default()).await.unwrap();
    assert!(addresses.get(&address).await.unwrap_err().is_not_found(), "the new one goes with its Service");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_claimed_stays_claimed() {
    let mut server = TestServer::start().await;
    let services = server.client("admin").namespaced::<Service>("default");
    let address = address_of(&services.create(&service("a", json!({"ports": [{"port": 80}]}))).await.unwrap());
    server.stop().await;
    // Earlier versions wrote a claim and no object; and a user may have made one for something else.
    let mut etcd = server.etcd().await;
    for one in [address.as_str(), "10.96.0.1"] {
        etcd.delete(format!("/registry/ipaddresses/{one}"), None).await.unwrap();
    }
    let own = r#"{"apiVersion":"networking.k8s.io/v1","kind":"IPAddress","metadata":{"name":"10.96.0.1","uid":"u"},"spec":{"parentRef":{"name":"x","resource":"others"}}}"#;
    etcd.put("/registry/ipaddresses/10.96.0.1", own, None).await.unwrap();
    server.restart_stopped().await;
    let services = server.client("admin").namespaced::<Service>("default");
    let error = services.create(&service("b", one_port(&address))).await.unwrap_err();
    assert!(error.to_string().ends_with("provided IP is already allocated"), "{error}");
    let addresses = objects(&server);
    assert_eq!(there(&addresses, &address, None).await.spec.parent_ref.name, "a");
    assert_eq!(there(&addresses, "10.96.0.1", Some("u")).await.spec.parent_ref.name, "kubernetes");
    services.delete("a", &DeleteOptions::default()).await.unwrap();
    services.create(&service("b", one_port(&address))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_come_from_every_range_that_is_ready() {
    let server = TestServer::start().await;
    let client = server.client("admin");
    let (services, ranges) = (client.namespaced::<Service>("default"), client.all::<ServiceCIDR>());
    let outside = |name: &str, address: &str| {
        format!(
            "Service {name:?} is invalid: spec.clusterIPs: Invalid value: [{address:?}]: failed to allocate IP \
             {address}: the provided network does not match the current range"
        )
    };
    let error = services.create(&service("a", one_port("10.98.0.5"))).await.unwrap_err();
    assert_eq!(error.to_string(), outside("a", "10.98.0.5"));

    let path = "/apis/networking.k8s.io/v1/servicecidrs";
    let made =
        json!({"metadata": {"name": "extra", "finalizers": ["example.com/hold"]}, "spec": {"cidrs": ["10.98.0.0/30"]}});
    let made: ServiceCIDR = serde_json::from_value(made).unwrap();
    let made = ranges.create(&made).await.unwrap();
    seen(&ranges, &made).await;
    services.create(&service("a", one_port("10.98.0.1"))).await.unwrap();
    for address in ["10.98.0.0", "10.98.0.3"] {
        let error = services.create(&service("n", one_port(address))).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            outside("n", address),
            "the network's own and the broadcast address are nobody's"
        );
    }

    let condition = |status: &str| {
        let time = "2026-01-01T00:00:00Z";
        let ready =
            json!({"type": "Ready", "status": status, "reason": "r", "message": "m", "lastTransitionTime": time});
        Patch::Merge(json!({"status": {"conditions": [ready]}}))
    };
    seen(&ranges, &ranges.patch_status("extra", &condition("False")).await.unwrap()).await;
    let error = services.create(&service("b", one_port("10.98.0.2"))).await.unwrap_err();
    assert_eq!(error.to_string(), outside("b", "10.98.0.2"));
    seen(&ranges, &ranges.patch_status("extra", &condition("True")).await.unwrap()).await;
    services.create(&service("b", one_port("10.98.0.2"))).await.unwrap();

    // One that is being deleted gives no more; what it gave stays.
    ranges.delete("extra", &DeleteOptions::default()).await.unwrap();
    seen(&ranges, &ranges.get("extra").await.unwrap()).await;
    services.delete("b", &DeleteOptions::default()).await.unwrap();
    let error = services.create(&service("b", one_port("10.98.0.2"))).await.unwrap_err();
    assert_eq!(error.to_string(), outside("b", "10.98.0.2"));
    services.patch("a", &Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}))).await.unwrap();
    assert_eq!(address_of(&services.get("a").await.unwrap()), "10.98.0.1");
    let listed = server.rest(Method::GET, path, None).await;
    assert_eq!(listed.status, 200, "{}", listed.body);
}

/// Waits until the server's own copy shows a version.
async fn seen(ranges: &Api<ServiceCIDR>, range: &ServiceCIDR) {
    let version = range.metadata.resource_version.clone().unwrap();
    let options = ListOptions { resource_version: version, ..ListOptions::default() };
    ranges.list(&options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_range_takes_what_the_first_has_no_room_for() {
    let server = TestServer::start_with(&["--service-cluster-ip-range=10.96.0.0/28"]).await;
    let client = server.client("admin");
    let (services, ranges) = (client.namespaced::<Service>("default"), client.all::<ServiceCIDR>());
    let any = |name: String| service(&name, json!({"ports": [{"port": 80}]}));
    for index in 0..13 {
        let made = services.create(&any(format!("s{index}"))).await.unwrap();
        assert!(address_of(&made).starts_with("10.96.0."), "the oldest range comes first");
    }
    let full = services.create(&any("x".into())).await.unwrap_err();
    assert!(full.to_string().ends_with("failed to allocate a serviceIP: range is full"), "{full}");
    let more = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.98.0.0/30"]}});
    seen(&ranges, &ranges.create(&serde_json::from_value(more).unwrap()).await.unwrap()).await;
    // Two at once want the last two.
    let (one, two) = (any("x".into()), any("y".into()));
    let (one, two) = tokio::join!(services.create(&one), services.create(&two));
    let mut both = [address_of(&one.unwrap()), address_of(&two.unwrap())];
    both.sort();
    assert_eq!(both, ["10.98.0.1", "10.98.0.2"]);
    assert!(services.create(&any("z".into())).await.is_err());
}
