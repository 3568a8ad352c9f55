//! Services and pods in, writes out.

use serde_json::json;

use super::*;

fn service(spec: Value) -> ServiceView {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "s", "labels": {"team": "a"}}, "spec": spec
    }))
    .unwrap()
}

fn pod(number: u8, http: i32, ready: bool, deleting: bool) -> Arc<PodView> {
    let status = if ready { "True" } else { "False" };
    let deleted = deleting.then_some("2026-01-01T00:00:00Z");
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": format!("web-{number}"), "namespace": "shop", "uid": format!("p{number}"),
                "labels": {"app": "web"}, "deletionTimestamp": deleted},
            "spec": {"nodeName": "n1", "hostname": "h", "subdomain": "web",
                "containers": [{"ports": [{"name": "http", "containerPort": http}]}]},
            "status": {"phase": "Running", "podIP": format!("10.0.0.{number}"),
                "conditions": [{"type": "Ready", "status": status}]}
        }))
        .unwrap(),
    )
}

fn decide(service: &ServiceView, pods: &[Arc<PodView>], slices: &[Arc<EndpointSlice>]) -> Vec<Action> {
    let zone_of = |node: &str| (node == "n1").then(|| "zone-a".to_owned());
    reconcile(&Observed { service, pods, zone_of: &zone_of, slices })
}

fn created(actions: &[Action]) -> Vec<EndpointSlice> {
    let objects = actions.iter().filter_map(|action| match action {
        Action::Create { object, .. } => Some((**object).clone()),
        _ => None,
    });
    objects.map(|object| serde_json::from_value(object).unwrap()).collect()
}

#[test]
fn conditions_ports_and_places_are_told() {
    let service = service(json!({"selector": {"app": "web"}, "clusterIP": "10.96.0.9",
        "ports": [{"port": 80, "targetPort": "http"}]}));
    let pods =
        [pod(1, 8080, true, false), pod(2, 8080, false, false), pod(3, 8080, true, true), pod(4, 9090, true, false)];
    let slices = created(&decide(&service, &pods, &[]));
    assert_eq!(slices.len(), 2, "pods whose port differs lie in a slice of their own");
    let first = &slices[0];
    assert_eq!(first.metadata.label(SERVICE_NAME), Some("web"));
    assert_eq!(first.metadata.label(MANAGED_BY), Some(CONTROLLER));
    assert_eq!(first.metadata.label("team"), Some("a"));
    assert_eq!(first.ports.as_ref().unwrap()[0].port, Some(8080));
    let told: Vec<_> = first
        .endpoints
        .iter()
        .flatten()
        .map(|endpoint| endpoint.conditions.as_ref().unwrap())
        .map(|conditions| (conditions.ready.unwrap(), conditions.serving.unwrap(), conditions.terminating.unwrap()))
        .collect();
    assert_eq!(told, [(true, true, false), (false, false, false), (false, true, true)]);
    let endpoint = &first.endpoints.as_ref().unwrap()[0];
    assert_eq!(endpoint.zone.as_deref(), Some("zone-a"));
    assert_eq!(endpoint.node_name.as_deref(), Some("n1"));
    assert_eq!(endpoint.hostname.as_deref(), Some("h"));
    assert_eq!(endpoint.target_ref.as_ref().unwrap().name.as_deref(), Some("web-1"));
    assert_eq!(slices[1].ports.as_ref().unwrap()[0].port, Some(9090));
}

#[test]
fn what_is_right_is_not_written() {
    let service = service(json!({"selector": {"app": "web"}, "clusterIP": "None",
        "ports": [{"port": 80}], "publishNotReadyAddresses": true}));
    let pods = [pod(1, 8080, false, false)];
    let mut slices = created(&decide(&service, &pods, &[]));
    assert_eq!(slices[0].metadata.label("service.kubernetes.io/headless"), Some(""));
    assert_eq!(slices[0].endpoints.as_ref().unwrap()[0].conditions.as_ref().unwrap().ready, Some(true));
    slices[0].metadata.name = Some("web-x".into());
    let slices: Vec<_> = slices.into_iter().map(Arc::new).collect();
    assert_eq!(decide(&service, &pods, &slices), []);
    let texts =
        |pods: &[Arc<PodView>]| decide(&service, pods, &slices).iter().map(ToString::to_string).collect::<Vec<_>>();
    let ready = texts(&[pod(1, 8080, true, false)]);
    assert_eq!(ready.len(), 1);
    assert!(ready[0].starts_with("patch endpointslices.discovery.k8s.io shop/web-x {\"endpoints\":"), "{}", ready[0]);
    let gone = texts(&[]);
    assert!(
        gone[0].starts_with("create") && gone[1] == "delete endpointslices.discovery.k8s.io shop/web-x",
        "{gone:?}"
    );
}

#[test]
fn services_without_selector_or_address_have_no_slices_of_ours() {
    assert_eq!(decide(&service(json!({"ports": [{"port": 80}]})), &[], &[]), []);
    assert_eq!(decide(&service(json!({"type": "ExternalName", "selector": {"a": "b"}})), &[], &[]), []);
}

#[test]
fn what_is_preferred_is_hinted_to_the_proxies() {
    let hints = |distribution: &str| {
        let spec = json!({"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ports": [{"port": 80}],
            "trafficDistribution": distribution});
        let slices = created(&decide(&service(spec), &[pod(1, 8080, true, false), pod(2, 8080, false, false)], &[]));
        let endpoints = slices[0].endpoints.clone().unwrap();
        assert_eq!(endpoints[1].hints, None, "one that is not ready has no clients");
        serde_json::to_value(&endpoints[0].hints).unwrap()
    };
    let zone = json!([{"name": "zone-a"}]);
    assert_eq!(hints("PreferClose"), json!({"forZones": zone}));
    assert_eq!(hints("PreferSameZone"), json!({"forZones": zone}));
    assert_eq!(hints("PreferSameNode"), json!({"forNodes": [{"name": "n1"}], "forZones": zone}));
    assert_eq!(hints(""), Value::Null);
}
