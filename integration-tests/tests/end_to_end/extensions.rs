//! What extends the API and runs in pods of the cluster itself: admission webhooks, and a server behind an APIService.
//! The API server has no way to pods of its own; it asks through the kubelet of the pod's node.

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reeve_integration_tests::{
    bed::{Bed, bed, is_serving},
    kubectl::{Kubectl, contains},
};
use serde_json::{Value, json};

const NAMESPACE: &str = "extensions";

/// The server: labels what is made or changed, and has something against the key `forbidden`; and it serves a group of the
/// API. The host's Python runs it, which the demo's image is lent.
const SERVER: &str = r#"
import base64, http.server, json, ssl

GROUP = {"name": "lent.example.com", "versions": [{"groupVersion": "lent.example.com/v1", "version": "v1"}]}
ANSWERS = {
    "/apis/lent.example.com": {"kind": "APIGroup", "apiVersion": "v1", **GROUP},
    "/apis/lent.example.com/v1": {
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "lent.example.com/v1",
        "resources": [{"name": "answers", "singularName": "answer", "namespaced": False, "kind": "Answer", "verbs": ["get"]}],
    },
    "/apis/lent.example.com/v1/answers/one": {
        "kind": "Answer", "apiVersion": "lent.example.com/v1", "metadata": {"name": "one"}, "said": "by a pod",
    },
}

class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def say(self, code, answer):
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        self.say(200 if path in ANSWERS else 404, ANSWERS.get(path, {}))

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        response = {"uid": request["uid"], "allowed": True}
        if self.path.startswith("/mutate"):
            patch = [{"op": "add", "path": "/metadata/labels", "value": {"hooked": request["operation"]}}]
            response["patchType"] = "JSONPatch"
            response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
        elif "forbidden" in (request["object"].get("data") or {}):
            response["allowed"] = False
            response["status"] = {"message": "this may not be kept", "code": 403}
        print("asked for", self.path.split("?")[0], "from", self.client_address[0], flush=True)
        self.say(200, {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})

server = http.server.ThreadingHTTPServer(("", 8443), Server)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
# The handshake is the connection's own thread's.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"#;

/// An authority, and the certificate and key of the server in its Service, all as PEM.
fn certificates() -> Result<(String, String, String)> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate()?;
    let root = authority.self_signed(&authority_key)?.pem();
    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(vec![format!("hook.{NAMESPACE}.svc")])?;
    server.distinguished_name.push(DnType::CommonName, "hook");
    let server = server.signed_by(&key, &Issuer::new(authority, authority_key))?;
    Ok((root, server.pem(), key.serialize_pem()))
}

/// The server's pod and its Service.
fn server(certificate: &str, key: &str) -> Value {
    let metadata = json!({"name": "hook", "labels": {"app": "hook"}});
    let lent = ["/usr", "/lib", "/lib64"];
    let mut mounts =
        vec![json!({"name": "script", "mountPath": "/script"}), json!({"name": "tls", "mountPath": "/tls"})];
    let mut volumes = vec![
        json!({"name": "script", "configMap": {"name": "script"}}),
        json!({"name": "tls", "secret": {"secretName": "tls"}}),
    ];
    for (index, folder) in lent.iter().enumerate() {
        mounts.push(json!({"name": format!("host{index}"), "mountPath": folder, "readOnly": true}));
        volumes.push(json!({"name": format!("host{index}"), "hostPath": {"path": folder}}));
    }
    let container = json!({
        "name": "hook", "image": "reeve.local/demo:1", "command": ["/usr/bin/python3", "/script/server.py"],
        "volumeMounts": mounts, "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    });
    let pod = json!({"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": volumes});
    let service = json!({"selector": {"app": "hook"}, "ports": [{"port": 443, "targetPort": 8443}]});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "script"}, "data": {"server.py": SERVER}},
        {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"}, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": certificate, "tls.key": key},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"}, "spec": service},
    ]})
}

/// The two configurations, for the ConfigMaps of the namespace, and the registration of the group. They know no label but
/// that of the namespace, whose own ConfigMaps come before them.
fn extensions(authority: &str) -> String {
    let bundle = STANDARD.encode(authority);
    let configuration = |kind: &str, path: &str| {
        let service = json!({"namespace": NAMESPACE, "name": "hook", "path": path});
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "hook.lent.example.com"},
            "webhooks": [{
                "name": "hook.lent.example.com", "clientConfig": {"service": service, "caBundle": bundle},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"],
                }],
                "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
            }],
        })
    };
    let registration = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.lent.example.com"},
        "spec": {
            "group": "lent.example.com", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
            "service": {"namespace": NAMESPACE, "name": "hook"}, "caBundle": bundle,
        },
    });
    let items = [
        configuration("MutatingWebhookConfiguration", "/mutate"),
        configuration("ValidatingWebhookConfiguration", "/judge"),
        registration,
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Waits until the registered group is (or is not) available, for this reason.
fn until_group_is(bed: &Bed, status: &str, reason: &str) -> Result<()> {
    let is = |registration: &Value| {
        let conditions = registration["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|it| it["type"] == "Available" && it["status"] == status && it["reason"] == reason)
    };
    bed.wait_for(&["apiservice", "v1.lent.example.com"], &format!("{status}, {reason}"), is).map(drop)
}

#[test]
fn pods_serve_webhooks_and_parts_of_the_api() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, NAMESPACE)?;
    let (authority, certificate, key) = certificates()?;
    kubectl.feed(&["apply", "-f", "-"], &server(&certificate, &key).to_string())?;
    let pod = bed.wait_for(&["pod", "hook", "-n", NAMESPACE], "it serves", is_serving)?;
    let _extensions = bed.keep_applied(&extensions(&authority))?;

    // The API server learns of the configurations by watch, as of the registration. By when the group is available, it has
    // asked the pod.
    until_group_is(&bed, "True", "Passed")?;
    let said = kubectl.run(&["get", "--raw", "/apis/lent.example.com/v1/answers/one"])?;
    contains(&said, &["by a pod"])?;
    let known = kubectl.run(&["api-resources", "--api-group", "lent.example.com"])?;
    contains(&known, &["answers", "Answer"])?;

    let made = kubectl.json(&["create", "configmap", "good", "--from-literal=a=b"])?;
    assert_eq!(made["metadata"]["labels"], json!({"hooked": "CREATE"}), "{made}");
    kubectl.run(&["patch", "configmap", "good", "-p", r#"{"data":{"a":"c"}}"#])?;
    let changed = kubectl.json(&["get", "configmap", "good"])?;
    assert_eq!(changed["metadata"]["labels"], json!({"hooked": "UPDATE"}), "{changed}");
    let denied = kubectl.ends_with(1, &["create", "configmap", "bad", "--from-literal=forbidden=b"])?;
    contains(&denied, &[r#"admission webhook "hook.lent.example.com" denied the request: this may not be kept"#])?;
    // Whoever asked did so on the pod's own node.
    let node = kubectl.json(&["get", "node", pod["spec"]["nodeName"].as_str().context("a node")?])?;
    let (range, _) = node["spec"]["podCIDR"].as_str().and_then(|it| it.rsplit_once('.')).context("a range")?;
    let asked = |path: &str| format!("asked for /{path} from {range}.");
    contains(&kubectl.run(&["logs", "hook"])?, &[&asked("mutate"), &asked("judge")])?;

    // Nobody is behind the Service any more: what must be asked about is refused, what may be asked about is not.
    kubectl.run(&["delete", "pod", "hook"])?;
    until_group_is(&bed, "False", "MissingEndpoints")?;
    let refused = kubectl.ends_with(1, &["create", "configmap", "late", "--from-literal=a=b"])?;
    contains(
        &refused,
        &[r#"failed calling webhook "hook.lent.example.com""#, r#"no endpoints available for service "hook""#],
    )?;
    let refused = kubectl.ends_with(1, &["get", "--raw", "/apis/lent.example.com/v1/answers/one"])?;
    contains(&refused, &["the server is currently unable to handle the request"])?;
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let lax = r#"[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]"#;
        kubectl.run(&["patch", kind, "hook.lent.example.com", "--type=json", "-p", lax])?;
    }
    let late = kubectl.json(&["create", "configmap", "late", "--from-literal=forbidden=b"])?;
    assert!(late["metadata"]["labels"].is_null(), "{late}");
    Ok(())
}
