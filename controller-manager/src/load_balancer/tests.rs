//! Services, nodes and a pool in, writes out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn service(name: &str, spec: Value, ingress: &[&str]) -> Arc<ServiceView> {
    let ingress: Vec<Value> = ingress.iter().map(|ip| json!({"ip": ip})).collect();
    let service = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec, "status": {"loadBalancer": {"ingress": ingress}}
    });
    Arc::new(serde_json::from_value(service).unwrap())
}

fn balancer(name: &str, ingress: &[&str]) -> Arc<ServiceView> {
    service(name, json!({"type": "LoadBalancer"}), ingress)
}

fn node(name: &str, ready: &str, address: &str) -> Arc<NodeView> {
    let node = json!({"metadata": {"name": name}, "status": {
        "conditions": [{"type": "Ready", "status": ready}], "addresses": [{"type": "InternalIP", "address": address}]}});
    Arc::new(serde_json::from_value(node).unwrap())
}

fn decide(service: &Arc<ServiceView>, others: &[Arc<ServiceView>], nodes: &[Arc<NodeView>]) -> Vec<String> {
    let pool = Pool::new(["192.0.2.8-192.0.2.10"]).unwrap();
    let services: Vec<Arc<ServiceView>> = others.iter().chain([service]).cloned().collect();
    let nodes_with_endpoints = BTreeSet::from(["n2".to_owned()]);
    let observed =
        Observed { service, services: &services, nodes, nodes_with_endpoints: &nodes_with_endpoints, pool: &pool };
    reconcile(&observed).iter().map(ToString::to_string).collect()
}

fn given(address: &str) -> [String; 2] {
    [
        format!(
            r#"patch services/status shop/web {{"status":{{"loadBalancer":{{"ingress":[{{"ip":"{address}","ipMode":"VIP"}}]}}}}}}"#
        ),
        format!("event Normal EnsuredLoadBalancer Service/web: Ensured load balancer: address {address}"),
    ]
}

#[test]
fn the_first_free_address_is_given_and_kept() {
    let web = balancer("web", &[]);
    assert_eq!(decide(&web, &[], &[]), given("192.0.2.8"));
    assert_eq!(decide(&web, &[balancer("a", &["192.0.2.8"])], &[]), given("192.0.2.9"));
    assert_eq!(decide(&web, &[], &[node("n1", "False", "192.0.2.8")]), given("192.0.2.9"), "a node has the first");
    assert_eq!(decide(&balancer("web", &["192.0.2.10"]), &[], &[]), Vec::<String>::new());
    let full: Vec<_> =
        [("a", "192.0.2.8"), ("b", "192.0.2.9"), ("c", "192.0.2.10")].map(|(name, ip)| balancer(name, &[ip])).into();
    let waits =
        "event Warning SyncLoadBalancerFailed Service/web: Error syncing load balancer: no address of the pool is free";
    assert_eq!(decide(&web, &full, &[]), [waits]);
}

#[test]
fn a_wanted_address_is_given_or_refused_with_the_cause() {
    let wants = |ip: &str, has: &[&str]| service("web", json!({"type": "LoadBalancer", "loadBalancerIP": ip}), has);
    assert_eq!(decide(&wants("192.0.2.10", &[]), &[], &[]), given("192.0.2.10"));
    assert_eq!(decide(&wants("192.0.2.10", &["192.0.2.8"]), &[], &[]), given("192.0.2.10"), "it was changed");
    let outside = decide(&wants("198.51.100.1", &[]), &[], &[]);
    assert!(outside[0].ends_with(r#"spec.loadBalancerIP "198.51.100.1" is not an address of the pool"#), "{outside:?}");
    let taken = decide(&wants("192.0.2.8", &[]), &[balancer("a", &["192.0.2.8"])], &[]);
    assert!(taken[0].ends_with("spec.loadBalancerIP 192.0.2.8 is taken by shop/a"), "{taken:?}");
}

#[test]
fn other_classes_are_left_alone_and_other_types_give_back() {
    let foreign = json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/other"});
    assert_eq!(decide(&service("web", foreign, &[]), &[], &[]), Vec::<String>::new());
    let ours = json!({"type": "LoadBalancer", "loadBalancerClass": CLASS});
    assert_eq!(decide(&service("web", ours, &[]), &[], &[]), given("192.0.2.8"));
    let back = decide(&service("web", json!({"type": "ClusterIP"}), &["192.0.2.8"]), &[], &[]);
    assert_eq!(back, [r#"patch services/status shop/web {"status":{"loadBalancer":{"ingress":[]}}}"#]);
}

#[test]
fn a_ready_node_announces_and_with_local_policy_one_with_endpoints() {
    let announces = |service: &Arc<ServiceView>, nodes: &[Arc<NodeView>]| -> Vec<String> {
        let text = |node: &str| {
            format!(r#"patch services shop/web {{"metadata":{{"annotations":{{"{ANNOUNCED_BY}":"{node}"}}}}}}"#)
        };
        let all = decide(service, &[], nodes);
        ["n1", "n2", "n3"].into_iter().filter(|node| all.contains(&text(node))).map(str::to_owned).collect()
    };
    let nodes = [node("n1", "True", "10.0.0.1"), node("n2", "True", "10.0.0.2"), node("n3", "Unknown", "10.0.0.3")];
    let web = balancer("web", &["192.0.2.8"]);
    let chosen = announces(&web, &nodes);
    assert!(chosen == ["n1"] || chosen == ["n2"], "{chosen:?}");
    let local = service("web", json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}), &["192.0.2.8"]);
    assert_eq!(announces(&local, &nodes), ["n2"]);
    for (present, expected) in [("n1", None), ("n2", None), ("n3", Some(&chosen))] {
        let mut moved = (*web).clone();
        moved.announced_by = Some(present.into());
        let found = announces(&Arc::new(moved), &nodes);
        assert_eq!(Some(&found).filter(|found| !found.is_empty()), expected, "who can, keeps it: {present}");
    }
}

proptest! {
    /// Whatever Services have by whatever writes: turn after turn, each that gets one has an address of its own.
    #[test]
    fn no_address_is_given_twice(begin in prop::collection::vec(prop::option::of(7u8..12), 1..6)) {
        let mut services: Vec<Arc<ServiceView>> = begin.iter().enumerate().map(|(index, last)| {
            let ip = last.map(|last| format!("192.0.2.{last}"));
            balancer(&format!("s{index}"), &ip.iter().map(String::as_str).collect::<Vec<_>>())
        }).collect();
        let pool = Pool::new(["192.0.2.8-192.0.2.10"]).unwrap();
        for _ in 0..2 {
            for index in 0..services.len() {
                let nodes_with_endpoints = BTreeSet::new();
                let service = services[index].clone();
                let observed = Observed { service: &service, services: &services, nodes: &[], nodes_with_endpoints: &nodes_with_endpoints, pool: &pool };
                for action in reconcile(&observed) {
                    if let Action::Patch { subresource: "status", patch, .. } = action {
                        let mut changed = (*service).clone();
                        changed.ingress = serde_json::from_value(patch["status"]["loadBalancer"]["ingress"].clone()).unwrap();
                        services[index] = Arc::new(changed);
                    }
                }
            }
        }
        let mut all: Vec<Ipv4Addr> = services.iter().flat_map(|service| addresses(service)).collect();
        prop_assert!(all.iter().all(|address| pool.contains(*address)));
        prop_assert_eq!(all.len(), services.len().min(3));
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), services.len().min(3));
    }
}
