//! Fields that an object should not have, in every verb that takes one: warned of, refused or dropped, as upstream; and
//! warnings that come with an error.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestServer};

const PATH: &str = "/apis/apps/v1/namespaces/default/deployments";
const APPLY: &str = "application/apply-patch+yaml";

const YAML: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: first
  name: web
spec:
  other: 1
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers:
      - name: c
        image: i
        image: j
";

const JSON: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{
    "other":1,"paused":true,"paused":false,"selector":{"matchLabels":{"a":"b"}},
    "template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i","nested":1}]}}}}"#;

async fn sent(server: &TestServer, method: Method, path: &str, media: &str, body: &str) -> Answer {
    server.rest_text("admin", method, path, (media, body)).await
}

/// What a request warns of, and what it answers in strictness.
async fn told(server: &TestServer, method: Method, path: &str, media: &str, body: &str) -> (Vec<String>, String) {
    let strict = if path.contains('?') { "&fieldValidation=Strict" } else { "?fieldValidation=Strict" };
    let refused = sent(server, method.clone(), &format!("{path}{strict}"), media, body).await;
    assert!(refused.warnings.is_empty(), "{:?}", refused.warnings);
    let lax = strict.replace("Strict", "Ignore") + "&dryRun=All";
    let ignored = sent(server, method.clone(), &format!("{path}{lax}"), media, body).await;
    assert!(ignored.status < 300 && ignored.warnings.is_empty(), "{:?}: {}", ignored.warnings, ignored.body);
    let warned = sent(server, method, path, media, body).await;
    assert!(warned.status < 300, "{}", warned.body);
    let message = refused.json()["message"].as_str().unwrap_or_default().to_owned();
    let message = message.rsplit_once("strict decoding error: ").map_or(message.clone(), |(_, why)| why.to_owned());
    (warned.warnings, message)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_tells_of_unknown_and_doubled_fields() {
    let server = TestServer::start().await;
    let (warned, refused) = told(&server, Method::POST, PATH, "application/json", JSON).await;
    let expected = [
        r#"unknown field "spec.other""#,
        r#"duplicate field "spec.paused""#,
        r#"unknown field "spec.template.spec.containers[0].nested""#,
    ];
    assert_eq!(warned, expected, "in the order of the text");
    assert_eq!(refused, expected.join(", "));

    let one = format!("{PATH}/web");
    let (warned, refused) = told(&server, Method::PUT, &one, "application/yaml", YAML).await;
    assert_eq!(
        warned,
        [
            r#"line 5: key "name" already set in map"#,
            r#"line 15: key "image" already set in map"#,
            r#"unknown field "spec.other""#
        ]
    );
    assert_eq!(
        refused,
        "yaml: unmarshal errors:\n  line 5: key \"name\" already set in map\n  line 15: key \"image\" already set in map, \
         unknown field \"spec.other\""
    );

    let known = YAML.replace("  other: 1\n", "");
    let (warned, refused) =
        told(&server, Method::PATCH, &format!("{one}?fieldManager=m&force=true"), APPLY, &known).await;
    assert_eq!(warned, [r#"line 5: key "name" already set in map"#, r#"line 14: key "image" already set in map"#]);
    assert!(
        refused.starts_with("error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n")
    );
    let apply = format!("{PATH}/new?fieldManager=m");
    let fresh = known.replace("name: web", "name: new");
    assert_eq!(sent(&server, Method::PATCH, &apply, APPLY, &fresh).await.warnings.len(), 2, "also when it creates");

    let merge = r#"{"spec":{"other":1,"paused":true,"paused":false}}"#;
    let expected = [r#"duplicate field "spec.paused""#, r#"unknown field "spec.other""#];
    for media in ["application/merge-patch+json", "application/strategic-merge-patch+json"] {
        let (warned, refused) = told(&server, Method::PATCH, &one, media, merge).await;
        assert_eq!(warned, expected, "{media}");
        assert_eq!(refused, expected.join(", "), "{media}");
    }
    let operations = r#"[{"op":"add","path":"/spec/other","value":1,"foo":2},
        {"op":"add","path":"/spec/a","path":"/spec/paused","value":true}]"#;
    let (warned, refused) = told(&server, Method::PATCH, &one, "application/json-patch+json", operations).await;
    let expected = [
        r#"json patch unknown field "[0].foo""#,
        r#"json patch duplicate field "[1].path""#,
        r#"unknown field "spec.other""#,
    ];
    assert_eq!(warned, expected);
    assert_eq!(refused, expected.join(", "));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_has_its_warnings() {
    let server = TestServer::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let warning = [r#"unknown field "foo""#];
    for (method, path, body, status) in [
        (Method::POST, path.to_owned(), json!({"metadata": {"name": "A_"}, "foo": 1}), 422),
        (
            Method::POST,
            "/api/v1/namespaces/no/configmaps".to_owned(),
            json!({"metadata": {"name": "a"}, "foo": 1}),
            404,
        ),
        (Method::PUT, format!("{path}/a"), json!({"metadata": {"name": "a", "uid": "u"}, "foo": 1}), 409),
        (Method::PATCH, format!("{path}/a"), json!({"metadata": {"resourceVersion": "1"}, "foo": 1}), 409),
    ] {
        if method == Method::PUT {
            let made = server.rest(Method::POST, path_of(&path), Some(("application/json", named("a")))).await;
            assert_eq!(made.status, 201, "{}", made.body);
        }
        let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let answer = sent(&server, method.clone(), &path, media, &body.to_string()).await;
        assert_eq!((answer.status, &answer.warnings[..]), (status, &warning.map(str::to_owned)[..]), "{method} {path}");
    }
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn path_of(object: &str) -> &str {
    object.rsplit_once('/').map_or(object, |(collection, _)| collection)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_upstream_has_no_path_for_is_not_done() {
    let server = TestServer::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    assert_eq!(server.rest(Method::POST, path, Some(("application/json", named("a")))).await.status, 201);
    for (method, path, status) in [
        (Method::DELETE, "/api/v1/configmaps", 405),
        (Method::POST, "/api/v1/configmaps", 405),
        (Method::GET, "/api/v1/configmaps/a", 404),
        (Method::DELETE, "/api/v1/configmaps/a", 404),
    ] {
        let body = (method == Method::POST).then(|| ("application/json", named("b")));
        assert_eq!(server.rest(method.clone(), path, body).await.status, status, "{method} {path}");
    }
    let one = format!("{path}/a");
    let moved = json!({"metadata": {"namespace": "other"}});
    let answer = server.rest(Method::PATCH, &one, Some(("application/merge-patch+json", moved))).await;
    assert_eq!(
        (answer.status, answer.json()["message"].as_str()),
        (400, Some("the namespace of the provided object does not match the namespace sent on the request"))
    );
    let dry = server.rest(Method::DELETE, &format!("{one}?dryRun=All"), None).await.json();
    assert_eq!((&dry["kind"], &dry["status"]), (&json!("Status"), &json!("Success")), "as without a dry run");
    assert_eq!(server.rest(Method::GET, &one, None).await.status, 200);
    let large = json!({"metadata": {"name": "large"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
            {"name": "c", "image": "i", "command": vec!["x".repeat(110_000); 20]},
        ]}},
    }});
    let answer = server.rest(Method::POST, PATH, Some(("application/json", large))).await;
    assert_eq!(answer.status, 413, "what the store does not take will never be taken: {}", answer.body);
}
