//! How long pods take from their creation in the API until Ready, one by one and many at once, beside the same calls of
//! the runtime alone; and what an idle kubelet costs. Runs with `REEVE_MEASURE=1`, since its figures need a quiet machine.

mod support;

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reeve_kubelet::config::{Config, Tuning};
use reeve_kubelet::pod::user::RunAs;
use reeve_kubelet::runtime::Runtime;
use reeve_kubelet::runtime::convert::{ContainerInput, HostDns, container_config, sandbox_config};
use serde_json::{Value, json};
use support::node::{Network, Node, unavailable, until};

const RUNS: usize = 10;
const AT_ONCE: usize = 30;

fn pod(name: &str) -> Value {
    let main = json!({
        "name": "main", "image": xtask::images::DEMO_1, "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sleep", "infinity"],
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": uuid::Uuid::new_v4().to_string()},
        "spec": {"nodeName": "test", "terminationGracePeriodSeconds": 1, "containers": [main]},
        "status": {"phase": "Pending"},
    })
}

async fn is_ready(node: &Node, name: &str) {
    until("ready", async || {
        let object = node.api.get("pods", "default", name)?;
        let conditions = object.pointer("/status/conditions")?.as_array()?.clone();
        conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True").then_some(())
    })
    .await;
}

/// The runtime alone, as the kubelet calls it.
struct Bare {
    runtime: Runtime,
    config: Config,
}

impl Bare {
    fn new(node: &Node) -> Self {
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
            allowed_unsafe_sysctls: Vec::new(),
            reserved: Default::default(),
            register_with_taints: Vec::new(),
            cgroup_root: node.cgroup.clone(),
            tuning: Tuning::new(2),
        };
        Self { runtime: Runtime::new(&node.socket(), Duration::from_secs(10)).unwrap(), config }
    }

    async fn start(&self, name: &str) {
        let pod = serde_json::from_value(pod(name)).unwrap();
        let sandbox = sandbox_config(&pod, 0, &self.config, &HostDns::default());
        let id = self.runtime.run_sandbox(sandbox.clone(), String::new()).await.unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let input = ContainerInput {
            attempt: 0,
            env: Vec::new(),
            mounts: Vec::new(),
            image: xtask::images::DEMO_1,
            run_as: RunAs::default(),
            pid_target: None,
            seccomp_dir: std::path::Path::new(""),
            termination_file: None,
            node_memory: 1 << 30,
        };
        let made = container_config(&pod, container, input);
        let made = self.runtime.create_container(&id, made, sandbox).await.unwrap();
        self.runtime.start_container(&made).await.unwrap();
    }
}

fn median(mut times: Vec<Duration>) -> u128 {
    times.sort();
    times[times.len() / 2].as_millis()
}

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
    let mut node = Node::with(Network::Bridge).await;
    let bare = Bare::new(&node);
    node.start_kubelet();
    until("the node is registered", async || node.api.get("nodes", "", "test")).await;
    // In turns: what else the machine does falls on both.
    let (mut whole, mut alone) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let name = format!("p{run}");
        let began = Instant::now();
        node.api.put("pods", pod(&name));
        is_ready(&node, &name).await;
        whole.push(began.elapsed());
        let began = Instant::now();
        bare.start(&format!("bare{run}")).await;
        alone.push(began.elapsed());
    }
    eprintln!("create to Ready, median of {RUNS}: {} ms", median(whole));
    eprintln!("the runtime alone, median of {RUNS}: {} ms", median(alone));

    let idle_from = processor_time(node.kubelet_pid());
    let idle = Duration::from_secs(10);
    tokio::time::sleep(idle).await;
    let used = processor_time(node.kubelet_pid()) - idle_from;
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.kubelet_pid())).unwrap();
    let memory: Vec<&str> = status.lines().filter(|it| it.starts_with("VmRSS") || it.starts_with("RssAnon")).collect();
    eprintln!("idle with {RUNS} pods: {used} ticks of 10 ms in {} s; {}", idle.as_secs(), memory.join(" "));

    let busy_from = processor_time(node.kubelet_pid());
    let began = Instant::now();
    (0..AT_ONCE).for_each(|number| drop(node.api.put("pods", pod(&format!("many{number}")))));
    for number in 0..AT_ONCE {
        is_ready(&node, &format!("many{number}")).await;
    }
    let took = began.elapsed().as_millis();
    let used = (processor_time(node.kubelet_pid()) - busy_from) * 10;
    eprintln!("{AT_ONCE} at once until all Ready: {took} ms, of which the kubelet computed {used} ms");
    node.kill_kubelet();
    let began = Instant::now();
    let in_flight = Tuning::new(std::thread::available_parallelism().unwrap().get()).starts_in_flight;
    let names = (0..AT_ONCE).map(|number| format!("bare-many{number}"));
    futures::stream::iter(names).for_each_concurrent(in_flight, async |name| bare.start(&name).await).await;
    eprintln!("{AT_ONCE} at once, the runtime alone, {in_flight} in flight: {} ms", began.elapsed().as_millis());
}

/// User and system time of a process in clock ticks.
fn processor_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
