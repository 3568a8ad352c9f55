//! What field ownership costs a write: `cargo bench -p reeve-api --bench ownership`.
//!
//! A pod of 4 KB with two containers is created, its status is patched, and a configuration of it is applied.

use std::hint::black_box;
use std::time::{Duration, Instant};

use reeve_api::json::Tree;
use reeve_api::patch::apply::{FieldSet, Managers, OneVersion, Writer};
use reeve_api::patch::{apply_merge_patch, strategic};
use reeve_api::schema::builtin;
use serde_json::{Value, json};

fn container(name: &str) -> Value {
    let env: Vec<Value> = (0..12)
        .map(|number| json!({"name": format!("VARIABLE_{number}"), "value": "some value of a variable"}))
        .collect();
    json!({
        "name": name, "image": "registry.example.com/team/web:1.2.3", "env": env,
        "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "1", "memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "volumeMounts": [{"mountPath": "/data", "name": "data"}],
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-0", "namespace": "default", "uid": "0b8d0f9c", "creationTimestamp": "2021-01-02T03:04:05Z",
            "labels": {"app": "web", "tier": "front", "pod-template-hash": "abc"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u-1"}],
        },
        "spec": {
            "containers": [container("a"), container("b")],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler", "nodeName": "node-1",
        },
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    })
}

fn time(what: &str, mut work: impl FnMut()) {
    for _ in 0..200 {
        work();
    }
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..2000 {
            work();
        }
        best = best.min(start.elapsed() / 2000);
    }
    println!("{what:48} {:8.2} us", best.as_secs_f64() * 1e6);
}

fn main() {
    let schema = builtin("v1", "Pod").expect("a schema");
    let pod = pod();
    let bytes = serde_json::to_vec(&pod).expect("JSON");
    println!("a pod of {} bytes", bytes.len());
    let status = FieldSet::of_fields(&["status"]);
    let spec = FieldSet::of_fields(&["spec"]);
    let writer = |subresource: &'static str| Writer {
        manager: "bench",
        api_version: "v1",
        subresource,
        now: "2021-01-02T03:04:05Z",
        reset: if subresource.is_empty() { &status } else { &spec },
        schema: &schema,
        versions: &OneVersion,
    };
    let zero = schema.zero();
    let managers = writer("").update(&zero, &pod, Managers::default());
    let managed = managers.write().expect("managers");
    println!("its managedFields: {} bytes", managed.len());
    let patch = json!({"status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}});
    let mut patched = pod.clone();
    apply_merge_patch(&mut patched, patch.clone());

    let live_text = pod.to_string();
    let patched_text = patched.to_string();
    let zero_text = zero.to_string();
    fn tree(text: &str) -> Tree<'_> {
        Tree::read(text.as_bytes()).expect("JSON")
    }
    time("read a tree", || {
        black_box(tree(&live_text));
    });
    time("owned by its creator, from text to text", || {
        let (zero, new) = (tree(&zero_text), tree(&live_text));
        black_box(writer("").update(zero.root(), new.root(), Managers::default()).write());
    });
    time("owned by who patches its status, from text to text", || {
        let (live, new) = (tree(&live_text), tree(&patched_text));
        let managers = Managers::read(&managed).expect("managers");
        black_box(writer("status").update(live.root(), new.root(), managers).write());
    });
    time("decode a value", || {
        black_box(serde_json::from_slice::<Value>(&bytes).expect("JSON"));
    });
    time("owned by its creator", || {
        black_box(writer("").update(&zero, &pod, Managers::default()));
    });
    time("write managedFields", || {
        black_box(managers.write());
    });
    time("read managedFields", || {
        black_box(Managers::read(&managed));
    });
    time("owned by who patches its status", || {
        black_box(writer("status").update(&pod, &patched, managers.clone()));
    });
    time("apply it again", || {
        black_box(writer("").apply(&pod, &pod, managers.clone(), true, None).is_ok());
    });
    time("strategic merge patch of its status", || {
        let mut target = pod.clone();
        strategic::apply(&mut target, patch.clone(), &schema).expect("applies");
        black_box(target);
    });
}
