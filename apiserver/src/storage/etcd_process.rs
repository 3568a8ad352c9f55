//! A real etcd for tests and benchmarks: own data folder, free loopback ports, killed on drop.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running etcd.
pub struct EtcdProcess {
    child: Child,
    data: tempfile::TempDir,
    ports: (u16, u16),
}

impl EtcdProcess {
    /// Starts etcd on an empty data folder and returns as soon as it serves.
    pub fn start() -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        // A free port may be taken before etcd binds it: then the next two are tried.
        for _ in 0..10 {
            let ports = free_ports();
            if let Some(child) = spawn(data.path(), ports) {
                return Self { child, data, ports };
            }
        }
        panic!("etcd did not start: is etcd-server installed?");
    }

    /// The URL for clients.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.0)
    }

    /// `kill -9`.
    #[allow(dead_code, reason = "benchmarks include this file and do not kill")]
    pub fn kill(&mut self) {
        self.child.kill().expect("etcd is ours to kill");
        self.child.wait().expect("a killed process ends");
    }

    /// Starts again on the same data and ports.
    #[allow(dead_code, reason = "benchmarks include this file and do not kill")]
    pub fn restart(&mut self) {
        self.child = spawn(self.data.path(), self.ports).expect("etcd starts on its own data");
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_ports() -> (u16, u16) {
    let listeners = [0, 0].map(|_: i32| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let [client, peer] = listeners.map(|listener| listener.local_addr().expect("an address").port());
    (client, peer)
}

fn spawn(data: &Path, (client, peer): (u16, u16)) -> Option<Child> {
    let client = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    let mut child = Command::new("etcd")
        .arg("--data-dir")
        .arg(data)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--logger", "zap"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcd can be run");
    let mut log = BufReader::new(child.stderr.take().expect("its log is piped"));
    let mut line = String::new();
    loop {
        line.clear();
        if log.read_line(&mut line).unwrap_or(0) == 0 {
            child.wait().expect("etcd closed its log to end");
            return None;
        }
        if line.contains("serving client traffic insecurely") || line.contains("ready to serve client requests") {
            break;
        }
    }
    // Its log must be read on, or etcd would block.
    std::thread::spawn(move || std::io::copy(&mut log.by_ref(), &mut std::io::sink()));
    Some(child)
}
