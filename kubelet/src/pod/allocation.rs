//! The resources that the node has given to a pod: those that its spec said when the node took it, and others once the
//! node has room for them. Pure. Until then the pod runs, restarts and counts with the resources that it was given.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use serde::{Deserialize, Serialize};

use super::spec;

/// The resources of a pod as a whole and of its containers, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<ResourceRequirements>,
    #[serde(default)]
    containers: BTreeMap<String, Option<ResourceRequirements>>,
}

impl Allocation {
    /// What the pod's spec says.
    pub fn of(pod: &Pod) -> Self {
        let containers = spec::all_containers(pod).map(|it| (it.name.clone(), it.resources.clone()));
        Self { pod: spec::spec(pod).resources.clone(), containers: containers.collect() }
    }

    /// The pod with these resources in its spec.
    pub fn put_into<'a>(&self, pod: &'a Pod) -> Cow<'a, Pod> {
        let known = |container: &Container| self.containers.get(&container.name);
        let has = |container: &Container| known(container).is_none_or(|it| *it == container.resources);
        if self.pod == spec::spec(pod).resources && spec::all_containers(pod).all(has) {
            return Cow::Borrowed(pod);
        }
        let mut pod = pod.clone();
        let own = pod.spec.get_or_insert_default();
        own.resources.clone_from(&self.pod);
        for container in own.init_containers.iter_mut().flatten().chain(&mut own.containers) {
            if let Some(resources) = self.containers.get(&container.name) {
                container.resources.clone_from(resources);
            }
        }
        Cow::Owned(pod)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(whole: Value, cpu: &str, image: &str) -> Pod {
        serde_json::from_value(json!({"spec": {
            "resources": whole,
            "containers": [{"name": "a", "image": image, "resources": {"requests": {"cpu": cpu}}}, {"name": "b"}],
        }}))
        .unwrap()
    }

    #[test]
    fn what_was_given_stays_and_all_else_follows_the_spec() {
        let (given, asked) = (pod(json!(null), "1", "i:1"), pod(json!({"limits": {"cpu": "4"}}), "2", "i:2"));
        let allocation = Allocation::of(&given);
        assert_eq!(*allocation.put_into(&asked), pod(json!(null), "1", "i:2"));
        let same = pod(json!(null), "1", "i:2");
        assert!(matches!(allocation.put_into(&same), Cow::Borrowed(_)));
        let text = serde_json::to_string(&Allocation::of(&asked)).unwrap();
        assert_eq!(serde_json::from_str::<Allocation>(&text).unwrap(), Allocation::of(&asked));
    }
}
