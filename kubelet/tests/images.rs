//! Images come from a registry: the pull policy, pull secrets, and several pulls at the same time. The registry is the
//! test's own, on the loopback, which the runtime asks without TLS.
//!
//! Needs root, containerd and runc; says so and passes where they are missing.

mod support;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::node::{Node, unavailable, until};
use support::pods::{container, exec, gone, pod, ready, text};
use tokio::sync::watch;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const USER: &str = "robot";
const PASSWORD: &str = "correct-horse-battery";
const WRONG_PASSWORD: &str = "incorrect-donkey-battery";

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// One image, under the tag `1`: the demo with a layer of its own, whose file `/name` names the repository.
struct Repository {
    /// Everything by digest, the manifest too.
    blobs: BTreeMap<String, Bytes>,
    manifest: String,
    /// The bytes of all of it.
    size: usize,
}

impl Repository {
    fn new(node: &Node, name: &str) -> Self {
        let folder = node.path(&format!("image-{name}"));
        std::fs::create_dir(&folder).unwrap();
        let tar = |words: &[&str]| {
            let output = Command::new("tar").arg("-C").arg(&folder).args(words).output().unwrap();
            assert!(output.status.success(), "tar {words:?}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        tar(&["-xf", &node.path("images.tar").display().to_string()]);
        std::fs::write(folder.join("name"), name).unwrap();
        let read = |path: &str| std::fs::read(folder.join(path)).unwrap();
        let blob = |it: &Value| read(&format!("blobs/{}", text(it, "/digest").replace(':', "/")));
        let parse = |bytes: Vec<u8>| -> Value { serde_json::from_slice(&bytes).unwrap() };
        let demo = |it: &&Value| it["annotations"]["io.containerd.image.name"] == xtask::images::DEMO_1;
        let index = parse(read("index.json"));
        let demo = index["manifests"].as_array().unwrap().iter().find(demo).unwrap();
        let mut manifest = parse(blob(demo));
        let mut config = parse(blob(&manifest["config"]));

        let mut blobs = BTreeMap::new();
        let mut put = |bytes: Vec<u8>| -> Value {
            let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            let descriptor = json!({"digest": format!("sha256:{hex}"), "size": bytes.len()});
            blobs.insert(format!("sha256:{hex}"), Bytes::from(bytes));
            descriptor
        };
        put(blob(&manifest["layers"][0]));
        let mut layer = put(tar(&["-cf", "-", "name"]));
        layer["mediaType"] = manifest["layers"][0]["mediaType"].clone();
        config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(layer["digest"].clone());
        manifest["layers"].as_array_mut().unwrap().push(layer);
        json_patch::merge(&mut manifest["config"], &put(config.to_string().into_bytes()));
        let manifest = text(&put(manifest.to_string().into_bytes()), "/digest").to_owned();
        let size = blobs.values().map(Bytes::len).sum();
        Self { blobs, manifest, size }
    }
}

/// The reading part of OCI's distribution, over plain HTTP.
struct Registry {
    repositories: BTreeMap<&'static str, Repository>,
    /// What was asked for, in order: `GET repository manifests 1`; and who was refused: `401 repository AUTHORIZATION`.
    asked: watch::Sender<Vec<String>>,
    address: SocketAddr,
}

impl Registry {
    async fn serve(node: &Node, names: &[&'static str]) -> Arc<Self> {
        let repositories = names.iter().map(|name| (*name, Repository::new(node, name))).collect();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let registry = Arc::new(Self { repositories, asked: watch::Sender::default(), address });
        let served = registry.clone();
        let answer = hyper::service::service_fn(move |request| {
            let registry = served.clone();
            async move { Ok::<_, Infallible>(registry.answer(&request).await) }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer.clone()));
            }
        });
        registry
    }

    async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let simply = |status| Response::builder().status(status).body(Full::default()).unwrap();
        let parts: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
        let &["v2", name, kind, reference] = parts.as_slice() else { return simply(StatusCode::OK) };
        let given = request.headers().get(header::AUTHORIZATION).map_or("", |it| it.to_str().unwrap());
        if name == "private" && given != format!("Basic {}", base64(&format!("{USER}:{PASSWORD}"))) {
            self.asked.send_modify(|all| all.push(format!("401 {name} {given}")));
            let refusal = Response::builder().status(StatusCode::UNAUTHORIZED);
            return refusal.header(header::WWW_AUTHENTICATE, "Basic realm=\"test\"").body(Full::default()).unwrap();
        }
        self.asked.send_modify(|all| all.push(format!("{} {name} {kind} {reference}", request.method())));
        if kind == "blobs" && ["left", "right"].contains(&name) {
            // Neither gets anything before both have begun.
            let begun = |all: &Vec<String>, name| all.iter().any(|it| it.starts_with(&format!("GET {name} blobs")));
            self.asked.subscribe().wait_for(|all| begun(all, "left") && begun(all, "right")).await.unwrap();
        }
        let Some(repository) = self.repositories.get(name) else { return simply(StatusCode::NOT_FOUND) };
        let digest = if reference == "1" { &repository.manifest } else { reference };
        let Some(blob) = repository.blobs.get(digest).cloned() else { return simply(StatusCode::NOT_FOUND) };
        let kind = if kind == "manifests" { MANIFEST } else { "application/octet-stream" };
        let answer = Response::builder().header(header::CONTENT_TYPE, kind).header("docker-content-digest", digest);
        answer.body(Full::new(blob)).unwrap()
    }

    fn image(&self, repository: &str) -> String {
        format!("{}/{repository}:1", self.address)
    }

    /// How often the repository's tag was looked up: once in each pull that is allowed.
    fn pulls(&self, repository: &str) -> usize {
        self.asked.borrow().iter().filter(|it| **it == format!("HEAD {repository} manifests 1")).count()
    }

    /// A pod with one container, whose image is the repository's.
    fn pod(&self, name: &str, repository: &str, policy: &str, command: &[&str], secrets: &[&str]) -> Value {
        let mut main = container("main", command);
        main["image"] = json!(self.image(repository));
        main["imagePullPolicy"] = json!(policy);
        let secrets = secrets.iter().map(|name| json!({"name": name}));
        pod(name, json!({"containers": [main], "imagePullSecrets": secrets.collect::<Value>()}))
    }
}

/// A node with a kubelet, and a registry with these repositories.
async fn start(repositories: &[&'static str]) -> Option<(Node, Arc<Registry>)> {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return None;
    }
    let mut node = Node::new().await;
    let registry = Registry::serve(&node, repositories).await;
    node.start_kubelet();
    Some((node, registry))
}

const STAYS: [&str; 2] = ["/bin/sleep", "infinity"];

fn events(node: &Node, pod: &str) -> Vec<Value> {
    node.api.list("events").into_iter().filter(|it| text(it, "/involvedObject/name") == pod).collect()
}

/// Waits until each of these events of a pod is told: type, reason and message.
async fn told(node: &Node, pod: &str, expected: &[(&str, &str, &str)]) {
    for (kind, reason, message) in expected {
        until(&format!("{pod}: {kind} {reason} {message}; there is {:#?}", events(node, pod)), async || {
            let parts = [("/type", kind), ("/reason", reason), ("/message", message)];
            events(node, pod).iter().any(|it| parts.iter().all(|(at, part)| text(it, at) == **part)).then_some(())
        })
        .await;
    }
}

/// Waits until the pod's container waits for this reason; returns the message.
async fn waits(node: &Node, pod: &str, reason: &str) -> String {
    until(&format!("{pod} waits for {reason}"), async || {
        let object = node.api.get("pods", "default", pod)?;
        let waiting = object.pointer("/status/containerStatuses/0/state/waiting")?;
        (text(waiting, "/reason") == reason).then(|| text(waiting, "/message").to_owned())
    })
    .await
}

async fn end(node: &Node, pods: &[&str]) {
    pods.iter().for_each(|name| node.api.delete_gracefully(name, 1));
    for name in pods {
        gone(node, name).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_says_when_to_pull() {
    let Some((node, registry)) = start(&["app"]).await else { return };
    for (name, policy) in [("first", "IfNotPresent"), ("second", "IfNotPresent"), ("never", "Never")] {
        node.api.put("pods", registry.pod(name, "app", policy, &STAYS, &[]));
        ready(&node, name).await;
    }
    assert_eq!(registry.pulls("app"), 1);
    let present = format!(
        "Container image \"{}\" already present on machine and can be accessed by the pod",
        registry.image("app")
    );
    told(&node, "second", &[("Normal", "Pulled", &present)]).await;
    told(&node, "never", &[("Normal", "Pulled", &present)]).await;
    assert_eq!(exec(&node, "first", &["/bin/cat", "/name"], None).await.0.trim(), "app");

    // Its container ends, and the image is pulled again for the next start.
    node.api.put("pods", registry.pod("always", "app", "Always", &["/bin/true"], &[]));
    until("the container runs again", async || {
        let object = node.api.get("pods", "default", "always")?;
        (object.pointer("/status/containerStatuses/0/restartCount")?.as_i64()? >= 1).then_some(())
    })
    .await;
    assert!(registry.pulls("app") >= 3, "{:?}", registry.asked.borrow());

    node.api.put("pods", registry.pod("absent", "absent", "Never", &STAYS, &[]));
    let message = format!("Container image \"{}\" is not present with pull policy of Never", registry.image("absent"));
    assert_eq!(waits(&node, "absent", "ErrImageNeverPull").await, message);
    let error = ("Warning", "Failed", "Error: ErrImageNeverPull");
    told(&node, "absent", &[("Warning", "ErrImageNeverPull", &message), error]).await;
    assert!(!registry.asked.borrow().iter().any(|it| it.contains(" absent ")), "{:?}", registry.asked.borrow());
    end(&node, &["first", "second", "never", "always", "absent"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_image_is_pulled_with_the_pods_secrets_alone() {
    let Some((node, registry)) = start(&["private"]).await else { return };
    let (right, wrong) = (base64(&format!("{USER}:{PASSWORD}")), base64(&format!("{USER}:{WRONG_PASSWORD}")));
    let (host, url) = (registry.address.to_string(), format!("https://{}/v2/", registry.address));
    for (name, auths) in [
        ("right", json!({host: {"auth": right}})),
        ("wrong", json!({url: {"username": USER, "password": WRONG_PASSWORD}})),
    ] {
        let data = json!({".dockerconfigjson": base64(&json!({"auths": auths}).to_string())});
        let (metadata, kind) = (json!({"name": name, "namespace": "default"}), "kubernetes.io/dockerconfigjson");
        node.api.put("secrets", json!({"metadata": metadata, "type": kind, "data": data}));
    }
    let unlucky: [(&str, &[&str]); 3] = [("open", &[]), ("unknown", &["nowhere"]), ("wrong", &["wrong"])];
    for (name, secrets) in unlucky {
        node.api.put("pods", registry.pod(name, "private", "Always", &STAYS, secrets));
    }
    let image = registry.image("private");
    for (name, _) in unlucky {
        let why = waits(&node, name, "ErrImagePull").await;
        assert!(why.starts_with(&format!("failed to pull and unpack image \"{image}\": ")), "{name}: {why}");
        assert!(why.contains("authorization failed") || why.contains("401 Unauthorized"), "{name}: {why}");
        let (pulling, failed) =
            (format!("Pulling image \"{image}\""), format!("Failed to pull image \"{image}\": {why}"));
        let error = ("Warning", "Failed", "Error: ErrImagePull");
        told(&node, name, &[("Normal", "Pulling", &pulling), ("Warning", "Failed", &failed), error]).await;
    }
    let missing = "Unable to retrieve some image pull secrets (nowhere); attempting to pull the image may not succeed.";
    told(&node, "unknown", &[("Warning", "FailedToRetrieveImagePullSecret", missing)]).await;
    // One that is refused does not keep the next one from being tried.
    node.api.put("pods", registry.pod("right", "private", "Always", &STAYS, &["wrong", "right"]));
    ready(&node, "right").await;
    assert!(registry.asked.borrow().contains(&format!("401 private Basic {wrong}")), "{:?}", registry.asked.borrow());

    let back_off = format!("Back-off pulling image \"{image}\"");
    let why = waits(&node, "open", "ImagePullBackOff").await;
    assert!(why.starts_with(&format!("{back_off}: ErrImagePull: failed to pull and unpack image ")), "{why}");
    told(&node, "open", &[("Normal", "BackOff", &back_off), ("Warning", "Failed", "Error: ImagePullBackOff")]).await;

    let log = |name: &str| std::fs::read_to_string(node.path(name)).unwrap();
    let objects = |kind: &str| json!(node.api.list(kind)).to_string();
    for told in [log("kubelet.log"), log("containerd.log"), objects("pods"), objects("events")] {
        assert!(told.contains(&image), "the pulls are told");
        for secret in [PASSWORD, WRONG_PASSWORD, &right, &wrong] {
            assert!(!told.contains(secret), "{secret} is told in {told}");
        }
    }
    end(&node, &["open", "unknown", "wrong", "right"]).await;
}

/// Makes a pull secret of this name for the registry.
fn put_secret(node: &Node, registry: &Registry, name: &str, password: &str) {
    let auth = base64(&format!("{USER}:{password}"));
    let config = json!({"auths": {registry.address.to_string(): {"auth": auth}}}).to_string();
    put_raw_secret(node, name, &config);
}

fn put_raw_secret(node: &Node, name: &str, config: &str) {
    let metadata = json!({"name": name, "namespace": "default", "uid": uuid::Uuid::new_v4().to_string()});
    let data = json!({".dockerconfigjson": base64(config)});
    let kind = "kubernetes.io/dockerconfigjson";
    node.api.put("secrets", json!({"metadata": metadata, "type": kind, "data": data}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_secret_pulled_is_for_those_who_have_it() {
    let Some((mut node, registry)) = start(&["private", "app"]).await else { return };
    put_secret(&node, &registry, "right", PASSWORD);
    put_secret(&node, &registry, "copy", PASSWORD);
    put_secret(&node, &registry, "wrong", WRONG_PASSWORD);
    node.api.put("pods", registry.pod("first", "private", "IfNotPresent", &STAYS, &["right"]));
    ready(&node, "first").await;
    node.api.put("pods", registry.pod("open", "app", "IfNotPresent", &STAYS, &[]));
    ready(&node, "open").await;
    let pulls = registry.pulls("private");
    let image = registry.image("private");
    let present = format!("Container image \"{image}\" already present on machine and can be accessed by the pod");

    let refusals = async |node: &Node, suffix: &str| {
        // Without credentials, or with others: it has to be pulled, and cannot be.
        for (name, secrets) in [("bare", &[][..]), ("other", &["wrong"][..])] {
            let name = format!("{name}{suffix}");
            node.api.put("pods", registry.pod(&name, "private", "IfNotPresent", &STAYS, secrets));
            let why = waits(node, &name, "ErrImagePull").await;
            assert!(why.contains("authorization failed") || why.contains("401 Unauthorized"), "{name}: {why}");
        }
        let never = format!("never{suffix}");
        node.api.put("pods", registry.pod(&never, "private", "Never", &STAYS, &[]));
        let message = format!("Container image \"{image}\" is not present with pull policy of Never");
        assert_eq!(waits(node, &never, "ErrImageNeverPull").await, message);
        for (name, secret) in [("same", "right"), ("copied", "copy")] {
            let name = format!("{name}{suffix}");
            node.api.put("pods", registry.pod(&name, "private", "Never", &STAYS, &[secret]));
            ready(node, &name).await;
            told(node, &name, &[("Normal", "Pulled", &present)]).await;
        }
        // What everybody may pull, and what was there before, everybody may use.
        let anyone = format!("anyone{suffix}");
        node.api.put("pods", registry.pod(&anyone, "app", "Never", &STAYS, &[]));
        let preloaded = format!("preloaded{suffix}");
        node.api.put("pods", pod(&preloaded, json!({"containers": [container("main", &STAYS)]})));
        ready(node, &anyone).await;
        ready(node, &preloaded).await;
        let all = ["bare", "other", "never", "same", "copied", "anyone", "preloaded"];
        end(node, &all.map(|it| format!("{it}{suffix}")).each_ref().map(String::as_str)).await;
    };
    refusals(&node, "").await;
    assert_eq!(registry.pulls("private"), pulls, "those who have the credentials pull nothing");
    node.kill_kubelet();
    node.start_kubelet();
    refusals(&node, "-later").await;
    assert_eq!(registry.pulls("private"), pulls);

    let records = node.path("kubelet/image_manager/pulled");
    let texts: Vec<String> =
        std::fs::read_dir(&records).unwrap().map(|it| std::fs::read_to_string(it.unwrap().path()).unwrap()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    let encoded = base64(&format!("{USER}:{PASSWORD}"));
    assert!(texts.iter().all(|it| !it.contains(PASSWORD) && !it.contains(&encoded)), "{texts:?}");
    end(&node, &["first", "open"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_secret_that_cannot_be_read_is_told() {
    let Some((node, registry)) = start(&["private"]).await else { return };
    put_secret(&node, &registry, "right", PASSWORD);
    put_raw_secret(&node, "broken", &format!("{{\"auths\": {{\"{}\": {{\"password\": \"{PASSWORD}", registry.address));
    node.api.put("pods", registry.pod("torn", "private", "IfNotPresent", &STAYS, &["broken", "right"]));
    let why = waits(&node, "torn", "ErrImagePull").await;
    assert!(why.starts_with("pull secret \"default/broken\": .dockerconfigjson: EOF while parsing"), "{why}");
    assert!(!why.contains(PASSWORD));
    let failed = format!("Failed to pull image \"{}\": {why}", registry.image("private"));
    told(&node, "torn", &[("Warning", "Failed", &failed)]).await;
    // Mended, it does.
    put_secret(&node, &registry, "broken", PASSWORD);
    ready(&node, "torn").await;
    end(&node, &["torn"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_go_on_at_the_same_time() {
    let Some((node, registry)) = start(&["left", "right"]).await else { return };
    for name in ["left", "right"] {
        node.api.put("pods", registry.pod(name, name, "IfNotPresent", &STAYS, &[]));
    }
    for name in ["left", "right"] {
        ready(&node, name).await;
        let start = format!("Successfully pulled image \"{}\" in ", registry.image(name));
        let rest = until(&format!("{name}: {start}"), async || {
            events(&node, name).iter().find_map(|it| Some(text(it, "/message").strip_prefix(&start)?.to_owned()))
        })
        .await;
        let (took, rest) = rest.split_once(' ').unwrap();
        assert!(took.trim_end_matches('s').trim_end_matches('m').parse::<f64>().unwrap() > 0.0, "{took}");
        let size = registry.repositories[name].size;
        assert_eq!(rest, format!("({took} including waiting). Image size: {size} bytes."));
    }
    end(&node, &["left", "right"]).await;
}
