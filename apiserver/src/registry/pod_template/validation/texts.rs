//! Whole messages of a pod's rules, in their order: what a client reads.

use k8s_openapi::api::core::v1::Pod;
use reeve_api::validation::ErrorList;
use serde_json::{Value, json};

use super::super::defaults;

/// The messages about a pod whose specification differs in some fields from one that is in order.
fn problems(metadata: Value, fields: Value) -> Vec<String> {
    let mut spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    for (name, value) in fields.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    let mut pod: Pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
    defaults::pod_spec(pod.spec.as_mut().unwrap());
    let mut errors = ErrorList::new();
    super::pod(&pod, &mut errors);
    super::pod_annotations_agree(&pod, &mut errors);
    errors.iter().map(ToString::to_string).collect()
}

fn container(fields: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i:1"});
    for (name, value) in fields.as_object().into_iter().flatten() {
        container[name] = value.clone();
    }
    json!({"containers": [container]})
}

#[test]
fn messages_are_upstreams() {
    let table: Vec<(Value, Vec<&str>)> = vec![
        (
            json!({"hostAliases": [{"ip": "x", "hostnames": ["B"]}]}),
            vec![
                "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "spec.hostAliases[0].hostnames[0]: Invalid value: \"B\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ],
        ),
        (
            json!({"overhead": {"cpu": "-1"}}),
            vec!["spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
        (
            json!({"os": {"name": "plan9"}}),
            vec!["spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\""],
        ),
        (
            json!({"os": {"name": "windows"}, "hostPID": true}),
            vec!["spec.hostPID: Forbidden: cannot be set for a windows pod"],
        ),
        (
            json!({"hostUsers": false, "hostPID": true}),
            vec!["spec.HostPID: Forbidden: when `pod.Spec.HostUsers` is false"],
        ),
        (
            json!({"hostPID": true, "shareProcessNamespace": true}),
            vec![
                "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
            ],
        ),
        (
            json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 81}]}]}),
            vec![
                "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
            ],
        ),
        (
            container(json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"key": "k"}}}], "envFrom": [{}]})),
            vec![
                "spec.containers[0].env[0].valueFrom.secretKeyRef.name: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
            ],
        ),
        (
            {
                let file = |volume: &str, path: &str, key: &str| json!({"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": volume, "path": path, "key": key}}});
                let env = [file("v", "a.env", "K"), file("none", "/a", "K="), file("map", "../a", "")];
                let mut fields = container(json!({"env": env}));
                fields["volumes"] = json!([{"name": "v", "emptyDir": {}}, {"name": "map", "configMap": {"name": "m"}}]);
                fields
            },
            vec![
                "spec.containers[0].env[1].valueFrom.fileKeyRef.path: Invalid value: \"/a\": must be a relative path",
                "spec.containers[0].env[1].valueFrom.fileKeyRef.key: Invalid value: \"K=\": a valid environment variable name must consist only of printable ASCII characters other than '='",
                "spec.containers[0].env[2].valueFrom.fileKeyRef.path: Invalid value: \"../a\": must not contain '..'",
                "spec.containers[0].env[2].valueFrom.fileKeyRef.key: Required value",
                "spec.containers[0].env[1].valueFrom.fileKeyRef.volumeName: Not found: \"none\"",
                "spec.containers[0].env[2].valueFrom.fileKeyRef.volumeName: Invalid value: \"map\": referenced volume must be of type emptyDir",
            ],
        ),
        (
            container(json!({"resizePolicy": [{"resourceName": "disk", "restartPolicy": "NotRequired"}]})),
            vec!["spec.containers[0].resizePolicy: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\""],
        ),
        (
            container(json!({"resources": {"claims": [{"name": "x"}]}})),
            vec![
                "spec.containers[0].resources.claims[0]: Not found: \"x\": must be one of the names in pod.spec.resourceClaims which is empty",
            ],
        ),
        (
            container(
                json!({"resources": {"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}, "requests": {"hugepages-2Mi": "3Mi"}}}),
            ),
            vec![
                "spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                "spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
            ],
        ),
        (
            json!({"resources": {"requests": {"cpu": "1"}}, "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}}}]}),
            vec![
                "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
            ],
        ),
        (
            container(json!({"securityContext": {"seccompProfile": {"type": "Unconfined", "localhostProfile": "x"}}})),
            vec![
                "spec.containers[0].securityContext.seccompProfile.localhostProfile: Invalid value: {\"Type\":\"Unconfined\",\"LocalhostProfile\":\"x\"}: can only be set when seccomp type is Localhost",
            ],
        ),
        (
            json!({"topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}},
                {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}},
            ]}),
            vec![
                "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{z, DoNotSchedule}\"",
            ],
        ),
        (
            json!({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "a"}, "configMap": {"name": "b"}}]}}]}),
            vec!["spec.volumes[0].projected.sources[0]: Forbidden: may not specify more than 1 volume type per source"],
        ),
        (
            json!({"volumes": [{"name": "v", "gcePersistentDisk": {"pdName": "", "partition": 300}, "emptyDir": {}}]}),
            vec!["spec.volumes[0].gcePersistentDisk: Forbidden: may not specify more than 1 volume type"],
        ),
    ];
    for (fields, expected) in table {
        assert_eq!(problems(json!({}), fields.clone()), expected, "{fields}");
    }
}

#[test]
fn annotations_that_mean_something_are_checked() {
    let metadata = json!({"annotations": {
        "controller.kubernetes.io/pod-deletion-cost": "+1",
        "container.apparmor.security.beta.kubernetes.io/other": "strange",
        "container.seccomp.security.alpha.kubernetes.io/c": "unconfined",
    }});
    let fields = container(json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}));
    assert_eq!(
        problems(metadata, fields),
        [
            "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/other]: Invalid value: \"other\": container not found",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/other]: Invalid value: \"strange\": invalid AppArmor profile name: \"strange\"",
            "spec.containers[0].securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
        ]
    );
}
