//! Tests of workloads, as handlers use their strategies.

use serde_json::json;

use super::{context, object};
use crate::registry::{AnyObject, Registry};

fn text(object: &dyn AnyObject) -> String {
    String::from_utf8(object.encode().expect("encodes")).expect("text")
}

fn created(word: &str, json: serde_json::Value) -> Box<dyn AnyObject> {
    let mut object = object(&Registry::builtin(), word, json);
    object.metadata_mut().uid = Some("u".into());
    object.prepare_for_create(&context());
    object
}

/// An object that replaces a created one: the system's fields are carried over.
fn changed(word: &str, json: serde_json::Value) -> Box<dyn AnyObject> {
    let mut object = object(&Registry::builtin(), word, json);
    object.metadata_mut().uid = Some("u".into());
    object
}

fn problems(object: &dyn AnyObject) -> Vec<String> {
    object.validate().iter().map(ToString::to_string).collect()
}

fn workload(api_version: &str, kind: &str, spec: serde_json::Value) -> serde_json::Value {
    let mut all = json!({
        "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    });
    for (field, value) in spec.as_object().expect("an object") {
        all[field] = value.clone();
    }
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "namespace": "n"}, "spec": all})
}

fn job(spec: serde_json::Value) -> serde_json::Value {
    let mut all = json!({
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}},
    });
    for (field, value) in spec.as_object().expect("an object") {
        all[field] = value.clone();
    }
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "n"}, "spec": all})
}

#[test]
fn a_job_finds_its_pods_by_itself() {
    let object = created("job", job(json!({})));
    assert_eq!(problems(object.as_ref()), [] as [&str; 0]);
    let text = text(object.as_ref());
    assert!(text.contains(r#""selector":{"matchLabels":{"batch.kubernetes.io/controller-uid":"u"}}"#), "{text}");
    assert!(text.contains(r#""completions":1"#) && text.contains(r#""backoffLimit":6"#), "{text}");
    let labels = object.metadata().labels.clone().unwrap_or_default();
    assert_eq!(labels.get("job-name").map(String::as_str), Some("a"));
}

#[test]
fn a_jobs_own_selector_is_for_those_who_say_so() {
    let selector = json!({"matchLabels": {"a": "b"}});
    let object = created("job", job(json!({"selector": selector})));
    let found = problems(object.as_ref());
    assert!(found.iter().any(|problem| problem.ends_with("`selector` not auto-generated")), "{found:?}");
}

#[test]
fn a_jobs_completions_follow_its_parallelism_when_it_is_indexed() {
    let indexed = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2});
    let old = created("job", job(indexed));
    let mut new = old.clone_object();
    let changed = |completions: i32, parallelism: i32| {
        let mut json: serde_json::Value = serde_json::from_str(&text(old.as_ref())).expect("json");
        json["spec"]["completions"] = completions.into();
        json["spec"]["parallelism"] = parallelism.into();
        object(&Registry::builtin(), "job", json)
    };
    new.prepare_for_update(&context(), old.as_ref());
    assert!(new.validate_update(old.as_ref()).is_empty());
    assert!(changed(3, 3).validate_update(old.as_ref()).is_empty());
    let errors = changed(3, 2).validate_update(old.as_ref());
    assert_eq!(
        errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"]
    );
}

#[test]
fn a_daemon_set_counts_the_changes_of_its_template() {
    let old = created("ds", workload("apps/v1", "DaemonSet", json!({})));
    let generation = |object: &dyn AnyObject| {
        let annotations = object.metadata().annotations.clone().unwrap_or_default();
        annotations.get("deprecated.daemonset.template.generation").cloned()
    };
    assert_eq!(generation(old.as_ref()).as_deref(), Some("1"));
    let mut json: serde_json::Value = serde_json::from_str(&text(old.as_ref())).expect("json");
    json["spec"]["template"]["spec"]["containers"][0]["image"] = "j".into();
    let mut new = object(&Registry::builtin(), "ds", json);
    new.prepare_for_update(&context(), old.as_ref());
    assert_eq!((generation(new.as_ref()).as_deref(), new.metadata().generation), (Some("2"), Some(2)));
}

#[test]
fn a_stateful_sets_claims_are_volumes_of_its_pods() {
    let mounts = json!([{"name": "data", "mountPath": "/d"}]);
    let template = json!({
        "metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": mounts}]},
    });
    let claim = json!({
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    let with = created(
        "sts",
        workload("apps/v1", "StatefulSet", json!({"template": template, "volumeClaimTemplates": [claim]})),
    );
    assert_eq!(problems(with.as_ref()), [] as [&str; 0]);
    let without = created("sts", workload("apps/v1", "StatefulSet", json!({"template": template})));
    assert_eq!(
        problems(without.as_ref()),
        [r#"spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data""#]
    );
    let mut json: serde_json::Value = serde_json::from_str(&text(with.as_ref())).expect("json");
    json["spec"]["serviceName"] = "other".into();
    let new = object(&Registry::builtin(), "sts", json);
    assert_eq!(new.validate_update(with.as_ref()).len(), 1);
}

#[test]
fn a_pods_resources_change_by_resizing_only() {
    let pod = |cpu: &str, image: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [{"name": "c", "image": image, "resources": {"requests": {"cpu": cpu}}}]},
        })
    };
    let old = created("po", pod("1", "i:1"));
    let mut new = changed("po", pod("2", "i:2"));
    assert!(!new.validate_update(old.as_ref()).is_empty());
    new.prepare_for_subresource_update("resize", &context(), old.as_ref());
    assert!(new.validate_subresource_update("resize", old.as_ref()).is_empty());
    let text = text(new.as_ref());
    assert!(text.contains(r#""cpu":"2""#) && text.contains(r#""image":"i:1""#), "{text}");
    assert_eq!(new.metadata().generation, Some(2));
    let unlimited = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    });
    let mut gone = changed("po", unlimited);
    gone.prepare_for_subresource_update("resize", &context(), old.as_ref());
    let errors = gone.validate_subresource_update("resize", old.as_ref());
    assert_eq!(
        errors.iter().map(|error| error.detail.clone()).collect::<Vec<_>>(),
        ["Pod QOS Class may not change as a result of resizing", "resource requests cannot be removed"]
    );
}

#[test]
fn what_a_pod_asks_for_as_a_whole_is_resized_and_stays() {
    let pod = |whole: serde_json::Value, init: serde_json::Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
            "spec": {
                "resources": whole, "initContainers": [init],
                "containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "1"}}}],
            },
        })
    };
    let init = |cpu: &str, policy: &str| {
        json!({
            "name": "i", "image": "i:1", "resources": {"requests": {"cpu": cpu}},
            "resizePolicy": [{"resourceName": "cpu", "restartPolicy": policy}],
        })
    };
    let whole = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"memory": "64Mi"}});
    let resized = |old: serde_json::Value, new: serde_json::Value| {
        let (old, mut new) = (created("po", old), changed("po", new));
        new.prepare_for_subresource_update("resize", &context(), old.as_ref());
        let errors = new.validate_subresource_update("resize", old.as_ref());
        (text(new.as_ref()), errors.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let stays = init("1", "NotRequired");
    let (object, errors) = resized(pod(whole("2"), stays.clone()), pod(whole("3"), init("2", "NotRequired")));
    assert_eq!(errors, [""; 0]);
    assert!(object.contains(r#""cpu":"3""#), "{object}");
    // It may begin to ask as a whole.
    let (object, errors) = resized(pod(json!(null), stays.clone()), pod(whole("3"), stays.clone()));
    assert_eq!((object.contains(r#""cpu":"3""#), errors), (true, Vec::new()));
    let (_, errors) = resized(pod(whole("2"), stays.clone()), pod(json!(null), stays.clone()));
    assert_eq!(errors, ["spec.resources: Forbidden: pod-level resources cannot be removed"]);
    let (_, errors) = resized(pod(whole("2"), stays.clone()), pod(json!({"requests": {"cpu": "2"}}), stays.clone()));
    assert!(
        errors.contains(&"spec.resources.limits: Forbidden: pod-level resource limits cannot be removed".to_owned()),
        "{errors:?}"
    );
    let restarts = |cpu: &str| init(cpu, "RestartContainer");
    let (_, errors) = resized(pod(whole("2"), restarts("1")), pod(whole("2"), restarts("2")));
    assert_eq!(
        errors,
        ["spec.initContainers[0]: Forbidden: non-sidecar init containers with a resize policy of RestartContainer \
             cannot be resized"]
    );
}

#[test]
fn ephemeral_containers_come_and_stay() {
    let pod = |names: &[&str]| {
        let containers: Vec<serde_json::Value> =
            names.iter().map(|name| json!({"name": name, "image": "i:1"})).collect();
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [{"name": "c", "image": "i:1"}], "ephemeralContainers": containers},
        })
    };
    let old = created("po", pod(&[]));
    let mut one = changed("po", pod(&["debug"]));
    assert!(!one.validate().is_empty(), "not on create");
    one.prepare_for_subresource_update("ephemeralcontainers", &context(), old.as_ref());
    assert!(one.validate_subresource_update("ephemeralcontainers", old.as_ref()).is_empty());
    let mut none = changed("po", pod(&[]));
    none.prepare_for_subresource_update("ephemeralcontainers", &context(), one.as_ref());
    let errors = none.validate_subresource_update("ephemeralcontainers", one.as_ref());
    assert_eq!(
        errors.iter().map(|error| error.detail.clone()).collect::<Vec<_>>(),
        ["existing ephemeral containers \"debug\" may not be removed\n"]
    );
}

#[test]
fn a_budget_has_one_bound() {
    let json = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "a", "namespace": "n"},
        "spec": {"minAvailable": 1, "maxUnavailable": "50%"},
    });
    assert_eq!(
        problems(created("pdb", json).as_ref()),
        ["spec: Invalid value: {\"MinAvailable\":1,\"Selector\":null,\"MaxUnavailable\":\"50%\",\
          \"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set"]
    );
}
