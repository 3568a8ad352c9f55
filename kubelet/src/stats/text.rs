//! The figures in Prometheus' text: `/metrics/resource` and `/metrics/cadvisor`.

use std::fmt::Write as _;

use super::{ContainerStats, PodStats, Snapshot, Usage};

/// Text in Prometheus' format.
#[derive(Debug, Default)]
pub struct Text {
    out: String,
}

impl Text {
    /// Begins a family of series.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _infallible = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One value, with its time in milliseconds if it has one.
    pub fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64, at: Option<i64>) {
        self.out.push_str(name);
        if !labels.is_empty() {
            self.out.push('{');
            for (index, (label, text)) in labels.iter().enumerate() {
                if index > 0 {
                    self.out.push(',');
                }
                let _infallible = write!(self.out, "{label}=\"");
                for c in text.chars() {
                    match c {
                        '\\' => self.out.push_str("\\\\"),
                        '"' => self.out.push_str("\\\""),
                        '\n' => self.out.push_str("\\n"),
                        c => self.out.push(c),
                    }
                }
                self.out.push('"');
            }
            self.out.push('}');
        }
        let _infallible = write!(self.out, " {value}");
        if let Some(at) = at {
            let _infallible = write!(self.out, " {at}");
        }
        self.out.push('\n');
    }

    /// What was written.
    pub fn finish(self) -> String {
        self.out
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floating point")]
fn float(value: u64) -> f64 {
    value as f64
}

fn seconds(nanoseconds: u64) -> f64 {
    float(nanoseconds) / 1e9
}

/// A sort of figure and how it is read.
type Figure = (&'static str, &'static str, fn(&Usage) -> Option<f64>);

/// The figures of `/metrics/resource`, without what they are of.
const RESOURCE: [Figure; 3] = [
    ("cpu_usage_seconds_total", "Cumulative cpu time consumed by the {} in core-seconds", |it| it.cpu.map(seconds)),
    ("memory_working_set_bytes", "Current working set of the {} in bytes", |it| it.working_set().map(float)),
    ("swap_usage_bytes", "Current amount of the {} swap usage in bytes. Reported only on non-windows systems", |it| {
        it.swap.map(float)
    }),
];

/// `/metrics/resource`.
pub fn resource(snapshot: &Snapshot) -> String {
    let mut text = Text::default();
    let at = Some(snapshot.at.as_millisecond());
    for (name, help, read) in RESOURCE {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        for of in ["container", "node", "pod"] {
            let series = format!("{of}_{name}");
            text.family(&series, kind, &help.replace("{}", of));
            match of {
                "node" => read(&snapshot.usage).into_iter().for_each(|it| text.value(&series, &[], it, at)),
                "pod" => {
                    for pod in &snapshot.pods {
                        let labels = [("namespace", &*pod.namespace), ("pod", &*pod.name)];
                        read(&pod.usage).into_iter().for_each(|it| text.value(&series, &labels, it, at));
                    }
                }
                _ => {
                    for (pod, container) in containers(snapshot) {
                        let labels =
                            [("container", &*container.name), ("namespace", &*pod.namespace), ("pod", &*pod.name)];
                        read(&container.usage).into_iter().for_each(|it| text.value(&series, &labels, it, at));
                    }
                }
            }
        }
    }
    let series = "container_start_time_seconds";
    text.family(series, "gauge", "Start time of the container since unix epoch in seconds");
    for (pod, container) in containers(snapshot) {
        let labels = [("container", &*container.name), ("namespace", &*pod.namespace), ("pod", &*pod.name)];
        text.value(series, &labels, start(container), at);
    }
    text.family(
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    text.value("resource_scrape_error", &[], 0.0, None);
    text.finish()
}

fn containers(snapshot: &Snapshot) -> impl Iterator<Item = (&PodStats, &ContainerStats)> {
    snapshot.pods.iter().flat_map(|pod| pod.containers.iter().map(move |it| (pod, it)))
}

fn start(container: &ContainerStats) -> f64 {
    float(u64::try_from(container.started.as_millisecond()).unwrap_or_default()) / 1e3
}

/// The figures of cgroups in `/metrics/cadvisor`.
const CADVISOR: [Figure; 14] = [
    ("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", |it| it.cpu.map(seconds)),
    ("container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds.", |it| {
        it.cpu_user.map(seconds)
    }),
    ("container_cpu_system_seconds_total", "Cumulative system cpu time consumed in seconds.", |it| {
        it.cpu_system.map(seconds)
    }),
    ("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", |it| it.periods.map(float)),
    ("container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.", |it| {
        it.throttled_periods.map(float)
    }),
    ("container_cpu_cfs_throttled_seconds_total", "Total time duration the container has been throttled.", |it| {
        it.throttled.map(seconds)
    }),
    ("container_memory_usage_bytes", "Current memory usage in bytes, including all memory.", |it| it.memory.map(float)),
    ("container_memory_working_set_bytes", "Current working set in bytes.", |it| it.working_set().map(float)),
    ("container_memory_rss", "Size of RSS in bytes.", |it| it.rss.map(float)),
    ("container_memory_cache", "Number of bytes of page cache memory.", |it| it.cache.map(float)),
    ("container_memory_swap", "Container swap usage in bytes.", |it| it.swap.map(float)),
    ("container_memory_failures_total", "Cumulative count of major page faults.", |it| it.major_page_faults.map(float)),
    ("container_spec_memory_limit_bytes", "Memory limit for the container.", |it| {
        Some(it.memory_limit.map_or(0.0, float))
    }),
    ("container_threads", "Number of threads running inside the container", |it| it.processes.map(float)),
];

/// The figures of interfaces in `/metrics/cadvisor`: the direction's word, and which of its figures.
const NETWORK: [(&str, &str, usize); 4] = [
    ("bytes_total", "Cumulative count of bytes", 0),
    ("packets_total", "Cumulative count of packets", 1),
    ("errors_total", "Cumulative count of errors", 2),
    ("packets_dropped_total", "Cumulative count of packets dropped", 3),
];

/// `/metrics/cadvisor`: the series that dashboards of containers are drawn from.
pub fn cadvisor(snapshot: &Snapshot) -> String {
    let mut text = Text::default();
    let at = Some(snapshot.at.as_millisecond());
    for (series, help, read) in CADVISOR {
        text.family(series, if series.ends_with("_total") { "counter" } else { "gauge" }, help);
        let mut put = |container: &str, id: &str, image: &str, name: &str, pod: (&str, &str), usage: &Usage| {
            let Some(value) = read(usage) else { return };
            let (namespace, pod) = pod;
            let mut labels = vec![("container", container)];
            match series {
                "container_cpu_usage_seconds_total" => labels.push(("cpu", "total")),
                "container_memory_failures_total" => {
                    labels.extend([("failure_type", "pgmajfault"), ("scope", "hierarchy")]);
                }
                _ => {}
            }
            labels.extend([("id", id), ("image", image), ("name", name), ("namespace", namespace), ("pod", pod)]);
            labels.sort_by_key(|(label, _)| *label);
            text.value(series, &labels, value, at);
        };
        put("", "/", "", "", ("", ""), &snapshot.usage);
        for pod in &snapshot.pods {
            let of = (&*pod.namespace, &*pod.name);
            put("", &pod.cgroup, "", "", of, &pod.usage);
            for it in pod.containers.iter().chain(&pod.sandbox) {
                put(&it.name, &it.cgroup, &it.image, &it.id, of, &it.usage);
            }
        }
    }
    for (series, help) in [
        ("container_start_time_seconds", "Start time of the container since unix epoch in seconds."),
        ("container_last_seen", "Last time a container was seen by the exporter"),
        ("container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem."),
    ] {
        text.family(series, "gauge", help);
        for (pod, it) in containers(snapshot) {
            let value = match series {
                "container_start_time_seconds" => Some(start(it)),
                "container_last_seen" => Some(float(u64::try_from(snapshot.at.as_second()).unwrap_or_default())),
                _ => it.layer.map(|(bytes, _)| float(bytes)),
            };
            let labels = [
                ("container", &*it.name),
                ("id", &*it.cgroup),
                ("image", &*it.image),
                ("name", &*it.id),
                ("namespace", &*pod.namespace),
                ("pod", &*pod.name),
            ];
            value.into_iter().for_each(|value| text.value(series, &labels, value, at));
        }
    }
    network(&mut text, snapshot, at);
    text.family("machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    text.value("machine_cpu_cores", &[], snapshot.cpus.into(), at);
    text.family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    text.value("machine_memory_bytes", &[], float(snapshot.memory), at);
    text.finish()
}

fn network(text: &mut Text, snapshot: &Snapshot, at: Option<i64>) {
    for (direction, word) in [("receive", "received"), ("transmit", "transmitted")] {
        for (suffix, help, index) in NETWORK {
            let series = format!("container_network_{direction}_{suffix}");
            text.family(&series, "counter", &format!("{help} {word}"));
            let node = snapshot.network.iter().map(|it| ("", "", "/", "", it));
            let pods = snapshot.pods.iter().flat_map(|pod| {
                // The sandbox's id stands for the pod's network.
                let name = pod.sandbox.as_ref().map_or("", |sandbox| &*sandbox.id);
                pod.network.iter().map(move |it| (&*pod.namespace, &*pod.name, &*pod.cgroup, name, it))
            });
            for (namespace, pod, id, name, interface) in node.chain(pods) {
                let figures = if direction == "receive" { &interface.received } else { &interface.sent };
                let labels = [
                    ("container", ""),
                    ("id", id),
                    ("image", ""),
                    ("interface", &*interface.name),
                    ("name", name),
                    ("namespace", namespace),
                    ("pod", pod),
                ];
                text.value(&series, &labels, float(figures[index]), at);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stats::Interface;
    use jiff::Timestamp;

    pub fn snapshot() -> Snapshot {
        let started = Timestamp::from_second(1_000).unwrap();
        let usage = |cpu, memory| Usage {
            cpu: Some(cpu),
            memory: Some(memory),
            inactive_file: Some(memory * 3 / 10),
            ..Usage::default()
        };
        let container = ContainerStats {
            name: "app".into(),
            id: "c1".into(),
            image: "i".into(),
            started,
            cgroup: "/kubepods/podu/c1".into(),
            usage: usage(1_500_000_000, 1000),
            rate: Some(250_000_000),
            layer: Some((5, 1)),
            log: Some((7, 2)),
        };
        Snapshot {
            at: Timestamp::from_second(2_000).unwrap(),
            node: "n1".into(),
            booted: started,
            cpus: 2,
            memory: 1_000_000,
            usage: Usage { memory: Some(3000), inactive_file: None, cpu: Some(5_000_000_000), ..Usage::default() },
            rate: None,
            network: vec![],
            file_system: None,
            images: None,
            processes: None,
            kubelet: Usage::default(),
            pods_total: Usage::default(),
            pods: vec![PodStats {
                namespace: "shop".into(),
                name: "web".into(),
                uid: "u".into(),
                started,
                cgroup: "/kubepods/podu".into(),
                usage: usage(2_000_000_000, 2000),
                rate: None,
                network: vec![Interface { name: "eth0".into(), received: [10, 1, 0, 0], sent: [20, 2, 0, 0] }],
                containers: vec![container],
                sandbox: None,
                volumes: Vec::new(),
                files: (4, 1),
            }],
        }
    }

    #[test]
    fn resources_are_told_in_upstreams_series() {
        let text = resource(&snapshot());
        for line in [
            "container_cpu_usage_seconds_total{container=\"app\",namespace=\"shop\",pod=\"web\"} 1.5 2000000",
            "container_memory_working_set_bytes{container=\"app\",namespace=\"shop\",pod=\"web\"} 700 2000000",
            "container_start_time_seconds{container=\"app\",namespace=\"shop\",pod=\"web\"} 1000 2000000",
            "node_cpu_usage_seconds_total 5 2000000",
            "pod_memory_working_set_bytes{namespace=\"shop\",pod=\"web\"} 1400 2000000",
            "resource_scrape_error 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn dashboards_find_their_series() {
        let text = cadvisor(&snapshot());
        for line in [
            "container_cpu_usage_seconds_total{container=\"app\",cpu=\"total\",id=\"/kubepods/podu/c1\",image=\"i\",\
             name=\"c1\",namespace=\"shop\",pod=\"web\"} 1.5 2000000",
            "container_network_transmit_bytes_total{container=\"\",id=\"/kubepods/podu\",image=\"\",interface=\"eth0\",\
             name=\"\",namespace=\"shop\",pod=\"web\"} 20 2000000",
            "machine_cpu_cores 2 2000000",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.value("a", &[("b", "x\"y\\z\n")], 1.0, None);
        assert_eq!(text.finish(), "a{b=\"x\\\"y\\\\z\\n\"} 1\n");
    }
}
