//! What the server itself asks: admission webhooks, nodes behind `nodes/proxy`, and servers behind API services.

use std::convert::Infallible;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use reeve_client::tls::{ServerFiles, ServerTls};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{self, TestServer};

const JSON: &str = "application/json";

type Answer = fn(&str, &str) -> String;

/// An HTTPS server with the certificate of the test's own; answers to a path and a body. Ends with the test.
async fn backend(server: &TestServer, answer: Answer) -> u16 {
    let files = ServerFiles {
        certificate: server.file("server.crt"),
        key: server.file("server.key"),
        client_ca: server.file("ca.crt"),
    };
    let tls = ServerTls::load(files, &[b"http/1.1"]).expect("a configuration").acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let service = hyper::service::service_fn(move |request: Request<Incoming>| async move {
                    let path = request.uri().to_string();
                    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    let text = answer(&path, &String::from_utf8_lossy(&body));
                    Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from(text))))
                });
                // A client may leave as it likes.
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    port
}

/// Labels what is made or changed, and has something against the name `bad` and against the key `forbidden`.
fn review(path: &str, body: &str) -> String {
    let review: Value = serde_json::from_str(body).expect("a review");
    let request = &review["request"];
    let mut response = json!({"uid": request["uid"], "allowed": true});
    if path.starts_with("/mutate") {
        let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"hooked": request["operation"]}}]);
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(patch.to_string()).into();
    } else if request["name"] == "kept" && request["operation"] == "DELETE" {
        response["allowed"] = false.into();
        response["status"] = json!({"message": "kept for ever", "code": 403});
    } else if request["object"]["data"].get("forbidden").is_some() {
        response["allowed"] = false.into();
        response["status"] = json!({"message": format!("{} it is not", request["operation"].as_str().unwrap_or(""))});
    } else {
        response["warnings"] = json!(["looked at"]);
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_change_and_judge() {
    let server = TestServer::start().await;
    let port = backend(&server, review).await;
    let authority = STANDARD.encode(std::fs::read(server.file("ca.crt")).expect("our own file"));
    for (kind, resource, path) in [
        ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "mutate"),
        ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "judge"),
    ] {
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "a"},
            "webhooks": [{
                "name": format!("{path}.example.com"),
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": format!("https://localhost:{port}/{path}"), "caBundle": authority},
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                    "operations": ["CREATE", "UPDATE", "DELETE"],
                }],
            }],
        });
        let path = format!("/apis/admissionregistration.k8s.io/v1/{resource}");
        let made = server.rest(Method::POST, &path, Some((JSON, configuration))).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = |name: &str, data: Value| json!({"metadata": {"name": name}, "data": data});
    // The cache may learn of the configurations a moment later: nothing is stored until it has.
    let labelled =
        |answer: &support::Answer, operation: &str| answer.json()["metadata"]["labels"]["hooked"] == operation;
    let known = reeve_client::backoff::retry(reeve_client::backoff::Backoff::RECONNECT, "webhooks", || async {
        let tried = server.rest(Method::POST, &format!("{maps}?dryRun=All"), Some((JSON, map("a", json!({}))))).await;
        if labelled(&tried, "CREATE") { Ok(()) } else { Err(tried.body) }
    });
    tokio::time::timeout(std::time::Duration::from_secs(20), known).await.expect("the webhooks are asked");

    let made = server.rest(Method::POST, maps, Some((JSON, map("kept", json!({"a": "1"}))))).await;
    assert!(made.status == 201 && labelled(&made, "CREATE"), "{}", made.body);
    let refused = server.rest(Method::POST, maps, Some((JSON, map("b", json!({"forbidden": "1"}))))).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let message = "admission webhook \"judge.example.com\" denied the request: CREATE it is not";
    assert_eq!(refused.json()["message"], message);

    let path = format!("{maps}/kept");
    let merge = "application/merge-patch+json";
    let patched = server.rest(Method::PATCH, &path, Some((merge, json!({"data": {"a": "2"}})))).await;
    assert!(patched.status == 200 && labelled(&patched, "UPDATE"), "{}", patched.body);
    let refused = server.rest(Method::PATCH, &path, Some((merge, json!({"data": {"forbidden": "2"}})))).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let stored = server.rest(Method::GET, &path, None).await.json();
    assert_eq!(stored["data"], json!({"a": "2"}));

    let refused = server.rest(Method::DELETE, &path, None).await;
    assert_eq!(
        (refused.status, refused.json()["message"].clone()),
        (403, json!("admission webhook \"judge.example.com\" denied the request: kept for ever"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_reached_through_the_server() {
    let server = TestServer::start().await;
    let port = backend(&server, |path, body| format!("{path} {body}")).await;
    let node = json!({"metadata": {"name": "n"}});
    assert_eq!(server.rest(Method::POST, "/api/v1/nodes", Some((JSON, node))).await.status, 201);
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    let merge = "application/merge-patch+json";
    let told = server.rest(Method::PATCH, "/api/v1/nodes/n/status", Some((merge, status))).await;
    assert_eq!(told.status, 200, "{}", told.body);

    let answer = server.rest(Method::GET, "/api/v1/nodes/n/proxy/stats/summary?watch=1&a=%2F", None).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "/stats/summary?watch=1&a=%2F "));
    let answer = server.rest(Method::POST, "/api/v1/nodes/n/proxy/run", Some((JSON, json!({})))).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "/run {}"));
    let moved = server.rest(Method::GET, "/api/v1/nodes/n/proxy", None).await;
    assert_eq!(moved.status, 301);
    let refused = server.rest_as("nobody", Method::GET, "/api/v1/nodes/n/proxy/pods", None, None).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    // What only this host can reach is not for users, but through the kubelet's own port.
    let refused = server.rest(Method::GET, "/api/v1/nodes/n:1/proxy/", None).await;
    assert_eq!((refused.status, refused.json()["message"].clone()), (400, json!("address not allowed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_registered() {
    let server = TestServer::start().await;
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    let apps = server.rest(Method::GET, &format!("{services}/v1.apps"), None).await.json();
    assert_eq!(apps["status"]["conditions"][0]["reason"], "Local");
    let registration = json!({
        "metadata": {"name": "v1.absent.example.com"},
        "spec": {
            "group": "absent.example.com", "version": "v1", "groupPriorityMinimum": 10, "versionPriority": 10,
            "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": "none"},
        },
    });
    let made = server.rest(Method::POST, services, Some((JSON, registration))).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let absent = reeve_client::backoff::retry(reeve_client::backoff::Backoff::RECONNECT, "a finding", || async {
        let found = server.rest(Method::GET, &format!("{services}/v1.absent.example.com"), None).await.json();
        let reason = found["status"]["conditions"][0]["reason"].clone();
        if reason == "ServiceNotFound" { Ok(()) } else { Err(reason) }
    });
    tokio::time::timeout(std::time::Duration::from_secs(20), absent).await.expect("the backend is looked for");
    let answer = server.rest(Method::GET, "/apis/absent.example.com/v1/things", None).await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "service unavailable\n"));
    let groups = server.rest(Method::GET, "/apis", None).await.json();
    let listed =
        groups["groups"].as_array().is_some_and(|all| all.iter().any(|group| group["name"] == "absent.example.com"));
    assert!(listed, "{groups}");
}
