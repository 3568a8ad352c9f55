//! The shared testbed.

use std::{fs::File, io::Read, net::Ipv4Addr, os::fd::AsFd, path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use xtask::{cargo::Workspace, command, network, node::Node, test, up::Testbed};

/// The longest that a test waits for one thing. Generous: it only costs time when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The testbed and its checkout.
pub struct Bed {
    /// The cluster.
    pub testbed: Testbed,
    /// The checkout.
    pub workspace: Workspace,
}

/// The shared testbed; `None` when end-to-end tests are not asked for.
///
/// # Errors
/// They are asked for, and the testbed is not there.
pub fn bed() -> Result<Option<Bed>> {
    if std::env::var_os(test::E2E).is_none() {
        eprintln!("skipped: runs in `cargo xtask test`, which brings a cluster up and sets {}", test::E2E);
        return Ok(None);
    }
    let dir = std::env::var_os(test::E2E_DIR).with_context(|| format!("{} is not set", test::E2E_DIR))?;
    let workspace = Workspace::locate()?;
    let testbed = Testbed::open(&PathBuf::from(dir), &workspace)?;
    Ok(Some(Bed { testbed, workspace }))
}

impl Bed {
    /// Runs `rctl` and returns what it printed.
    ///
    /// # Errors
    /// rctl fails.
    pub fn rctl(&self, arguments: &[&str]) -> Result<String> {
        self.testbed.rctl.run(arguments)
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// rctl refuses it.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        command::run_with_input(&mut self.testbed.rctl.command(&["apply", "-f", "-"]), manifest).map(drop)
    }

    /// Applies a manifest; what it makes is removed at the end of the test.
    ///
    /// # Errors
    /// rctl refuses it.
    pub fn keep_applied(&self, manifest: &str) -> Result<Applied<'_>> {
        let applied = Applied { bed: self, manifest: manifest.to_owned() };
        self.apply(manifest)?;
        Ok(applied)
    }

    /// The node with this number.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, index: usize) -> Result<Node> {
        let nodes = self.testbed.nodes()?;
        nodes.into_iter().find(|node| node.index == index).with_context(|| format!("there is no node {index}"))
    }

    /// Runs the demo's program on the host, as a client from outside.
    ///
    /// # Errors
    /// It fails.
    pub fn from_host(&self, arguments: &[&str]) -> Result<String> {
        command::run(command::system(&self.testbed.demo).args(arguments))
    }

    /// Runs the demo's program on a node.
    ///
    /// # Errors
    /// It fails.
    pub fn from_node(&self, index: usize, arguments: &[&str]) -> Result<String> {
        let words = self.node(index)?.command(&self.testbed.daemons, &self.testbed.demo.display().to_string())?;
        let (program, rest) = words.split_first().context("a command")?;
        command::run(command::system(program).args(rest).args(arguments))
    }

    /// Runs `nft` on a node, to look at its rules.
    ///
    /// # Errors
    /// It fails.
    pub fn nft(&self, node: usize, arguments: &[&str]) -> Result<String> {
        let words = self.node(node)?.command(&self.testbed.daemons, "nft")?;
        let (program, rest) = words.split_first().context("a command")?;
        command::run(command::system(program).args(rest).args(arguments))
    }

    /// Does something on a thread in the network namespace of the node with this number. Sockets stay in it.
    ///
    /// # Errors
    /// There is no such node, or the work fails.
    pub fn within_node<T: Send>(&self, index: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = network::namespace_path(&self.testbed.instance, &self.node(index)?.name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let inside = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join()).map_err(|_| anyhow!("the work on node {index} panicked"))?
    }

    /// The cluster address of a Service.
    ///
    /// # Errors
    /// It has none.
    pub fn cluster_ip(&self, service: &str) -> Result<Ipv4Addr> {
        let service = self.testbed.rctl.json(&["get", "service", service])?;
        service["spec"]["clusterIP"].as_str().and_then(|text| text.parse().ok()).context("no clusterIP")
    }

    /// The node port of a Service's first port.
    ///
    /// # Errors
    /// It has none.
    pub fn node_port(&self, service: &str) -> Result<u16> {
        let service = self.testbed.rctl.json(&["get", "service", service])?;
        let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("no nodePort")?;
        Ok(u16::try_from(port)?)
    }

    /// Applies the demo under another name, and waits until it is available.
    ///
    /// # Errors
    /// It does not come up.
    pub fn deploy(&self, name: &str) -> Result<Deployed<'_>> {
        let manifest = std::fs::read_to_string(self.workspace.file("deploy/examples/web.yaml"))?;
        let manifest = manifest
            .replace("app: web", &format!("app: {name}"))
            .replace("name: web-nodeport", &format!("name: {name}-nodeport"))
            .replace("name: web\n", &format!("name: {name}\n"));
        self.apply(&manifest)?;
        let deployed = Deployed { bed: self, name: name.to_owned() };
        deployed.rolled_out()?;
        Ok(deployed)
    }

    /// The events of a pod that exists.
    ///
    /// # Errors
    /// There is no such pod.
    pub fn events_of(&self, pod: &str) -> Result<Events<'_>> {
        let object = self.testbed.rctl.json(&["get", "pod", pod])?;
        let uid = object["metadata"]["uid"].as_str().context("a uid")?;
        Ok(Events { bed: self, selector: format!("involvedObject.uid={uid}") })
    }

    /// Waits for an event of a pod that exists, with this reason and these words in its message.
    ///
    /// # Errors
    /// It does not come in time: with the events that did.
    pub fn wait_for_event(&self, pod: &str, reason: &str, words: &str) -> Result<()> {
        self.events_of(pod)?.wait_for(reason, words)
    }

    /// Waits until what `rctl get ARGUMENTS -o json` returns satisfies a condition. Woken by a watch.
    ///
    /// # Errors
    /// It does not come about in time: with the last state.
    pub fn wait_for(&self, arguments: &[&str], what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        crate::wait::wait_for(&self.testbed.rctl, arguments, what, holds)
    }
}

/// The events of one pod, and of none that had its name before.
pub struct Events<'a> {
    bed: &'a Bed,
    selector: String,
}

impl Events<'_> {
    /// Waits for an event with this reason whose message has these words in it.
    ///
    /// # Errors
    /// It does not come in time: with the events that did.
    pub fn wait_for(&self, reason: &str, words: &str) -> Result<()> {
        let is_it = |event: &Value| {
            event["reason"] == reason && event["message"].as_str().is_some_and(|message| message.contains(words))
        };
        let arguments = ["events", "--field-selector", &self.selector];
        self.bed.wait_for(&arguments, &format!("event {reason}: {words}"), |list| {
            list["items"].as_array().is_some_and(|events| events.iter().any(is_it))
        })?;
        Ok(())
    }
}

/// What a manifest made; removed at the end of its test.
pub struct Applied<'a> {
    bed: &'a Bed,
    manifest: String,
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        let arguments = ["delete", "--ignore-not-found", "--wait=false", "-f", "-"];
        let result = command::run_with_input(&mut self.bed.testbed.rctl.command(&arguments), &self.manifest);
        if let Err(error) = result {
            eprintln!("clean-up: {error:#}");
        }
    }
}

/// The demo under a name of its own; removed at the end of its test.
pub struct Deployed<'a> {
    bed: &'a Bed,
    /// The Deployment's and the Service's name.
    pub name: String,
}

impl Deployed<'_> {
    /// Waits until the Deployment's newest template is rolled out.
    ///
    /// # Errors
    /// It takes too long.
    pub fn rolled_out(&self) -> Result<()> {
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        self.bed.rctl(&["rollout", "status", &format!("deployment/{}", self.name), &timeout]).map(drop)
    }

    /// The ClusterIP's URL.
    ///
    /// # Errors
    /// The Service has none.
    pub fn cluster_url(&self) -> Result<String> {
        Ok(format!("http://{}/", self.bed.cluster_ip(&self.name)?))
    }

    /// The URL of the NodePort on the node with this number.
    ///
    /// # Errors
    /// The Service has none.
    pub fn node_port_url(&self, node: usize) -> Result<String> {
        let port = self.bed.node_port(&format!("{}-nodeport", self.name))?;
        Ok(format!("http://{}:{port}/", self.bed.testbed.instance.node_address(node)))
    }

    /// Waits until the selected pods satisfy a condition.
    ///
    /// # Errors
    /// They do not in time.
    pub fn wait_pods(&self, what: &str, holds: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
        let selector = format!("app={}", self.name);
        let state = self.bed.wait_for(&["pods", "-l", &selector], what, |list| {
            holds(list["items"].as_array().map_or(&[], Vec::as_slice))
        })?;
        Ok(state["items"].as_array().cloned().unwrap_or_default())
    }
}

impl Drop for Deployed<'_> {
    fn drop(&mut self) {
        let (service, node_port) = (format!("service/{}", self.name), format!("service/{}-nodeport", self.name));
        let deployment = format!("deployment/{}", self.name);
        // A test that deleted it itself is no failure; one that failed already says why.
        if let Err(error) = self.bed.rctl(&["delete", &deployment, &service, &node_port, "--ignore-not-found"]) {
            eprintln!("clean-up of {}: {error:#}", self.name);
        }
    }
}

/// The pod's name.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The pod that answered.
pub fn who(answer: &str) -> String {
    answer.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Whether a pod is Ready and not on its way out.
pub fn is_serving(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null() && xtask::rctl::is_ready(pod)
}

/// Reads all that a child writes, for messages.
pub fn said(reader: Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(mut reader) = reader
        && let Err(error) = reader.read_to_string(&mut text)
    {
        text = format!("({error})");
    }
    text
}
