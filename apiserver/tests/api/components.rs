//! The cluster's own programs run with the least that upstream's roles give them: what each asks for is allowed, and
//! what would make it more than it is is refused.

use http::Method;
use serde_json::{Value, json};

use crate::support::TestServer;

/// `verbs resource[/subresource][.group] [namespace[/name]]`, and whether all of the verbs are allowed or none.
type Case = (&'static str, bool);

const SCHEDULER: &[Case] = &[
    ("list,watch pods", true),
    ("list,watch nodes", true),
    ("list,watch persistentvolumeclaims", true),
    ("list,watch statefulsets.apps", true),
    ("list,watch poddisruptionbudgets.policy", true),
    ("list,watch csinodes.storage.k8s.io", true),
    ("create pods/binding default", true),
    ("patch,update pods/status default", true),
    ("delete pods default", true),
    ("create,patch events.events.k8s.io default", true),
    ("create leases.coordination.k8s.io kube-system", true),
    ("get,update leases.coordination.k8s.io kube-system/kube-scheduler", true),
    ("create,update,patch pods default", false),
    ("update,patch,delete nodes", false),
    ("get,list,watch secrets kube-system", false),
    ("create pods/exec default", false),
];

const CONTROLLER_MANAGER: &[Case] = &[
    ("list,watch pods", true),
    ("create,delete pods default", true),
    ("update deployments/status.apps default", true),
    ("create,update,delete endpointslices.discovery.k8s.io default", true),
    ("update certificatesigningrequests/approval.certificates.k8s.io", true),
    ("update certificatesigningrequests/status.certificates.k8s.io", true),
    ("create subjectaccessreviews.authorization.k8s.io", true),
    ("get,update leases.coordination.k8s.io kube-system/kube-controller-manager", true),
    ("impersonate users", false),
    ("create clusterrolebindings.rbac.authorization.k8s.io", false),
    ("bind clusterroles.rbac.authorization.k8s.io", false),
    ("create pods/exec default", false),
];

const PROXY: &[Case] = &[
    ("list,watch services", true),
    ("list,watch endpointslices.discovery.k8s.io", true),
    ("get,list,watch nodes", true),
    ("create,patch,update events default", true),
    ("list,watch secrets", false),
    ("list,watch configmaps", false),
    ("update,patch,delete services default", false),
    ("update nodes", false),
    ("create pods default", false),
];

const KUBELET: &[Case] = &[
    ("create nodes", true),
    ("patch,update nodes/status /n1", true),
    ("list,watch services", true),
    ("create,get,update leases.coordination.k8s.io kube-node-lease/n1", true),
    ("create tokenreviews.authentication.k8s.io", true),
    ("create subjectaccessreviews.authorization.k8s.io", true),
    ("create,get,list,watch certificatesigningrequests.certificates.k8s.io", true),
    ("create,patch,update events default", true),
    ("list,watch secrets", false),
    ("get secrets default/unrelated", false),
    ("get,update leases.coordination.k8s.io kube-node-lease/n2", false),
    ("update certificatesigningrequests/approval.certificates.k8s.io", false),
    ("create pods/binding default", false),
    ("create clusterrolebindings.rbac.authorization.k8s.io", false),
    ("create serviceaccounts/token default/unrelated", false),
];

/// One who joins.
const BOOTSTRAPPER: &[Case] = &[
    ("create,get,list,watch certificatesigningrequests.certificates.k8s.io", false),
    ("list nodes", false),
    ("get secrets kube-system", false),
];

async fn allowed(server: &TestServer, (user, group): (&str, &str), verb: &str, words: &[&str]) -> bool {
    let (resource, group_name) = match words[0].split_once('.') {
        Some((resource, group)) => (resource, group),
        None => (words[0], ""),
    };
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (namespace, name) = words.get(1).map_or(("", ""), |place| place.split_once('/').unwrap_or((place, "")));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": [group, "system:authenticated"], "resourceAttributes": {
            "verb": verb, "group": group_name, "resource": resource, "subresource": subresource,
            "namespace": namespace, "name": name,
        }},
    });
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let answer = server.rest(Method::POST, path, Some(("application/json", review))).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()["status"]["allowed"] == Value::Bool(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_component_may_what_it_needs_and_no_more() {
    let server = TestServer::start().await;
    let mut wrong = Vec::new();
    for (user, group, cases) in [
        ("system:kube-scheduler", "", SCHEDULER),
        ("system:kube-controller-manager", "", CONTROLLER_MANAGER),
        ("system:kube-proxy", "", PROXY),
        ("system:node:n1", "system:nodes", KUBELET),
        ("system:bootstrap:abcdef", "system:bootstrappers", BOOTSTRAPPER),
    ] {
        for (text, expected) in cases {
            let words: Vec<&str> = text.split(' ').collect();
            for verb in words[0].split(',') {
                if allowed(&server, (user, group), verb, &words[1..]).await != *expected {
                    let may = if *expected { "must be allowed" } else { "must be refused" };
                    wrong.push(format!("{user}: {verb} {} {may}", words[1..].join(" ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
