//! Resources that change while pods run, against a real containerd: what waits for room, what the kubelet knows of it when
//! it starts anew, and what a pod is given as a whole.
//!
//! Needs root, containerd and runc; says so and passes where they are missing.

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::node::{Node, unavailable, until};
use support::pods::{condition, container, gone, pod, ready, text};

/// The limits of CPU (microseconds of 100000) and memory of a cgroup below a pod's; `""` is the pod's own.
fn limits(node: &Node, pod: &Value, class: &str, below: &str) -> (String, String) {
    let uid = text(pod, "/metadata/uid");
    let folder = format!("{}/kubepods/{class}/pod{uid}/{below}", node.cgroup.trim_start_matches('/'));
    let read = |controller: &str, file: &str| {
        let path = Path::new("/sys/fs/cgroup").join(controller).join(&folder).join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
    };
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        (read("", "cpu.max").replace(" 100000", ""), read("", "memory.max"))
    } else {
        (read("cpu", "cpu.cfs_quota_us"), read("memory", "memory.limit_in_bytes"))
    }
}

fn id(pod: &Value, container: usize) -> String {
    let id = text(pod, &format!("/status/containerStatuses/{container}/containerID"));
    id.trim_start_matches("containerd://").to_owned()
}

fn mebibytes(count: i64) -> String {
    (count << 20).to_string()
}

async fn until_pod(node: &Node, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    until(what, async || node.api.get("pods", "default", name).filter(&holds)).await
}

fn settled(pod: &Value) -> bool {
    condition(pod, "PodResizeInProgress").is_empty() && condition(pod, "PodResizePending").is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_starts_with_what_the_node_has_given_it() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let resources = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu}, "limits": {"memory": memory}});
    let mut main = container("main", &["/bin/sleep", "infinity"]);
    main["resources"] = resources("100m", "64Mi");
    node.api.put("pods", pod("sized", json!({"containers": [main]})));
    ready(&node, "sized").await;
    let ask = |node: &Node, cpu: &str, memory: &str| {
        let mut object = node.api.get("pods", "default", "sized").unwrap();
        object["spec"]["containers"][0]["resources"] = resources(cpu, memory);
        node.api.put("pods", object);
    };
    // One that fits, so that what the container has is not what it was made with; then one that does not.
    ask(&node, "100m", "80Mi");
    let memory_is = |pod: &Value, memory: &str| {
        text(pod, "/status/containerStatuses/0/resources/limits/memory") == memory && settled(pod)
    };
    until_pod(&node, "sized", "it has more", |pod| memory_is(pod, "80Mi")).await;
    ask(&node, "10000", "96Mi");
    let waits = |pod: &Value| condition(pod, "PodResizePending") == "True";
    let object = until_pod(&node, "sized", "it waits for room", waits).await;
    assert_eq!(text(&object, "/status/allocatedResources/cpu"), "100m");

    // The kubelet that comes next knows what was given; a container that ends comes back with it.
    node.kill_kubelet();
    let first = id(&object, 0);
    node.ctr(&["tasks", "kill", "-s", "SIGKILL", &first]);
    node.start_kubelet();
    let restarted = |pod: &Value| condition(pod, "Ready") == "True" && id(pod, 0) != first && waits(pod);
    let object = until_pod(&node, "sized", "the container is back", restarted).await;
    assert_eq!(object.pointer("/status/containerStatuses/0/resources"), Some(&resources("100m", "80Mi")));
    assert_eq!(limits(&node, &object, "burstable", &id(&object, 0)).1, mebibytes(80));
    assert_eq!(limits(&node, &object, "burstable", "").1, mebibytes(80));

    // What fits is given at once, to the container and its pod.
    ask(&node, "100m", "72Mi");
    let object = until_pod(&node, "sized", "it has less", |pod| memory_is(pod, "72Mi")).await;
    assert_eq!(limits(&node, &object, "burstable", &id(&object, 0)).1, mebibytes(72));
    assert_eq!(limits(&node, &object, "burstable", "").1, mebibytes(72));
    assert_eq!(object.pointer("/status/containerStatuses/0/restartCount"), Some(&json!(1)));
    node.api.delete_gracefully("sized", 1);
    gone(&node, "sized").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_pod_has_as_a_whole_is_resized_in_place() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let whole = |cpu: &str, memory: &str| json!({"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": cpu, "memory": memory}});
    let mut own = container("own", &["/bin/sleep", "infinity"]);
    own["resources"] = json!({"limits": {"cpu": "20m", "memory": "24Mi"}});
    let containers = json!([container("free", &["/bin/sleep", "infinity"]), own]);
    node.api.put("pods", pod("whole", json!({"resources": whole("500m", "128Mi"), "containers": containers})));
    let object = ready(&node, "whole").await;
    let (free, own) = (id(&object, 0), id(&object, 1));
    let has = |node: &Node, below: &str| limits(node, &object, "burstable", below);
    let told = |pod: &Value| (pod["status"]["resources"].clone(), pod["status"]["allocatedResources"].clone());
    let requests = json!({"cpu": "50m", "memory": "32Mi"});
    assert_eq!(told(&object), (whole("500m", "128Mi"), requests.clone()));
    assert_eq!(
        (has(&node, ""), has(&node, &free)),
        (("50000".into(), mebibytes(128)), ("50000".into(), mebibytes(128)))
    );
    assert_eq!(has(&node, &own), ("2000".into(), mebibytes(24)));

    let ask = |node: &Node, resources: Value| {
        let mut object = node.api.get("pods", "default", "whole").unwrap();
        object["spec"]["resources"] = resources;
        node.api.put("pods", object);
    };
    // More memory and less CPU, for the pod and for the container that has no limits of its own.
    ask(&node, whole("250m", "160Mi"));
    let is = |wanted: Value| move |pod: &Value| pod["status"]["resources"] == wanted && settled(pod);
    let now = until_pod(&node, "whole", "the pod is resized", is(whole("250m", "160Mi"))).await;
    assert_eq!(
        (has(&node, ""), has(&node, &free)),
        (("25000".into(), mebibytes(160)), ("25000".into(), mebibytes(160)))
    );
    assert_eq!(has(&node, &own), ("2000".into(), mebibytes(24)));
    assert_eq!((id(&now, 0), id(&now, 1)), (free.clone(), own.clone()));
    for reason in ["ResizeStarted", "ResizeCompleted"] {
        let is_it = |it: &Value| it["involvedObject"]["name"] == "whole" && it["reason"] == reason;
        until(reason, async || node.api.list("events").iter().any(is_it).then_some(())).await;
    }

    // More than the node has waits, also for the next kubelet; what was given stays.
    let mut large = whole("250m", "160Mi");
    large["requests"]["cpu"] = json!("10000");
    ask(&node, large);
    let waits = |pod: &Value| condition(pod, "PodResizePending") == "True";
    until_pod(&node, "whole", "it waits", waits).await;
    node.kill_kubelet();
    node.start_kubelet();
    ask(&node, whole("250m", "64Mi"));
    let now = until_pod(&node, "whole", "the pod is smaller", is(whole("250m", "64Mi"))).await;
    assert_eq!((has(&node, "").1, has(&node, &free).1), (mebibytes(64), mebibytes(64)));
    assert_eq!(told(&now).1, requests);
    // Less than is used would end processes.
    ask(&node, whole("250m", "1"));
    let refused = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let mut progress = conditions.filter(|it| it["type"] == "PodResizeInProgress");
        progress.any(|it| {
            it["reason"] == "Error"
                && text(it, "/message").starts_with("cannot decrease memory limits: [attempting to set pod")
        })
    };
    let now = until_pod(&node, "whole", "it is refused", refused).await;
    assert_eq!(has(&node, "").1, mebibytes(64));
    assert_eq!(told(&now).0, whole("250m", "64Mi"));
    node.api.delete_gracefully("whole", 1);
    gone(&node, "whole").await;
}
