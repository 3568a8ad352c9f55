//! How long a pod takes from its creation in the API until Ready, beside the same calls of the runtime alone; and
//! what an idle kubelet costs. Runs with `REEVE_MEASURE=1`, since its figures need a quiet machine.

mod support;

use std::time::{Duration, Instant};

use reeve_kubelet::config::{Config, Tuning};
use reeve_kubelet::pod::user::RunAs;
use reeve_kubelet::runtime::Runtime;
use reeve_kubelet::runtime::convert::{ContainerInput, HostDns, container_config, sandbox_config};
use serde_json::json;
use support::node::{Node, unavailable, until};

const RUNS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_start_and_idle_cost() {
    if std::env::var_os("REEVE_MEASURE").is_none() {
        eprintln!("skipped: REEVE_MEASURE is not set");
        return;
    }
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    until("the node is registered", async || node.api.get("nodes", "", "test")).await;
    let pod = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "uid": uuid::Uuid::new_v4().to_string()},
            "spec": {
                "nodeName": "test", "hostNetwork": true, "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "main", "image": xtask::images::DEMO_1, "command": ["/bin/sleep", "infinity"]}],
            },
            "status": {"phase": "Pending"},
        })
    };
    let mut whole = Vec::new();
    for run in 0..RUNS {
        let name = format!("p{run}");
        let began = Instant::now();
        node.api.put("pods", pod(&name));
        until("ready", async || {
            let object = node.api.get("pods", "default", &name)?;
            let conditions = object.pointer("/status/conditions")?.as_array()?.clone();
            conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True").then_some(())
        })
        .await;
        whole.push(began.elapsed());
    }
    let idle_from = processor_time(node.kubelet_pid());
    let idle = Duration::from_secs(10);
    tokio::time::sleep(idle).await;
    let used = processor_time(node.kubelet_pid()) - idle_from;
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.kubelet_pid())).unwrap();
    let memory: Vec<&str> = status.lines().filter(|it| it.starts_with("VmRSS") || it.starts_with("RssAnon")).collect();

    let runtime = Runtime::new(&node.socket(), Duration::from_secs(10)).unwrap();
    let config = Config {
        node_name: "test".into(),
        node_ip: [127, 0, 0, 1].into(),
        runtime_endpoint: node.socket(),
        root_dir: node.path("bare"),
        pod_logs_dir: node.path("bare-logs"),
        cluster_dns: Vec::new(),
        cluster_domain: "cluster.local".into(),
        resolv_conf: "/etc/resolv.conf".into(),
        port: 1,
        max_pods: 110,
        node_labels: Vec::new(),
        register_with_taints: Vec::new(),
        cgroup_root: node.cgroup.clone(),
        tuning: Tuning::new(2),
    };
    let mut bare = Vec::new();
    node.kill_kubelet();
    for run in 0..RUNS {
        let pod = serde_json::from_value(pod(&format!("bare{run}"))).unwrap();
        let began = Instant::now();
        let sandbox = sandbox_config(&pod, 0, &config, &HostDns::default());
        let id = runtime.run_sandbox(sandbox.clone()).await.unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let input = ContainerInput {
            attempt: 0,
            env: Vec::new(),
            mounts: Vec::new(),
            image: xtask::images::DEMO_1,
            run_as: RunAs::default(),
            seccomp_dir: std::path::Path::new(""),
            termination_file: None,
            node_memory: 1 << 30,
        };
        let made = container_config(&pod, container, input);
        let made = runtime.create_container(&id, made, sandbox).await.unwrap();
        runtime.start_container(&made).await.unwrap();
        bare.push(began.elapsed());
    }
    whole.sort();
    bare.sort();
    eprintln!("create to Ready, median of {RUNS}: {} ms", whole[RUNS / 2].as_millis());
    eprintln!("the runtime alone, median of {RUNS}: {} ms", bare[RUNS / 2].as_millis());
    eprintln!("idle with {RUNS} pods: {used} ticks of 10 ms in {} s; {}", idle.as_secs(), memory.join(" "));
}

/// User and system time of a process in clock ticks.
fn processor_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
