//! Custom kinds come with their definition and go with it, with all of their objects.

use http::Method;
use serde_json::{Value, json};

use crate::support::TestServer;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const JSON: &str = "application/json";

/// Follows a definition until it has come to what is waited for; `None` stands for its end.
async fn wait_for(server: &TestServer, name: &str, is_there: impl Fn(Option<&Value>) -> bool) {
    let look = || async {
        let answer = server.rest(Method::GET, &format!("{DEFINITIONS}/{name}"), None).await;
        let object = (answer.status == 200).then(|| answer.json());
        if is_there(object.as_ref()) { Ok(()) } else { Err(answer.body) }
    };
    let backoff = reeve_client::backoff::Backoff::RECONNECT;
    let waited = reeve_client::backoff::retry(backoff, "the definition", look);
    tokio::time::timeout(std::time::Duration::from_secs(30), waited).await.expect("the definition comes to it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_takes_its_objects_of_all_namespaces_along() {
    let server = TestServer::start().await;
    let definition = json!({
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    assert_eq!(server.rest(Method::POST, DEFINITIONS, Some((JSON, definition))).await.status, 201);
    let holds = |definition: Option<&Value>, condition: &str| {
        let conditions = definition.and_then(|definition| definition["status"]["conditions"].as_array());
        conditions.into_iter().flatten().any(|own| own["type"] == condition && own["status"] == "True")
    };
    wait_for(&server, "things.example.com", |definition| holds(definition, "Established")).await;
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "other": 1});
    for namespace in ["default", "kube-system"] {
        let path = format!("/apis/example.com/v1/namespaces/{namespace}/things");
        let made = server.rest_text("admin", Method::POST, &path, (JSON, &thing.to_string())).await;
        assert_eq!((made.status, &made.warnings[..]), (201, &[r#"unknown field "other""#.to_owned()][..]));
    }
    let other = thing.to_string().replace("/v1", "/v2");
    let path = "/apis/example.com/v1/namespaces/default/things";
    let refused = server.rest_text("admin", Method::POST, path, (JSON, &other)).await;
    assert_eq!((refused.status, &refused.warnings[..]), (400, &[r#"unknown field "other""#.to_owned()][..]));
    assert_eq!(server.rest(Method::DELETE, "/apis/example.com/v1/things", None).await.status, 404);

    assert_eq!(server.rest(Method::DELETE, &format!("{DEFINITIONS}/things.example.com"), None).await.status, 200);
    wait_for(&server, "things.example.com", |definition| definition.is_none()).await;
    assert_eq!(server.rest(Method::GET, path, None).await.status, 404);
}
