//! The table of pods' workers: by UID, and by name for the API. How pods come into it and leave it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use reeve_api::ObjectKey;

use super::Agent;
use super::inbox::{Changed, Reference};
use super::worker::Worker;
use crate::pod::plan::Target;
use crate::pod::spec;

impl Agent {
    /// The UIDs of all pods.
    pub(super) fn uids(&self) -> Vec<String> {
        self.workers.keys().cloned().collect()
    }

    /// The pod that is to run under a name: a static one, or the API's. A mirror pod shows one and is none.
    fn wanted(&self, key: &ObjectKey) -> Option<Arc<Pod>> {
        let of_api = || self.pods.get(key).filter(|pod| spec::mirrored(pod).is_none());
        self.executor.fixed.get(key).or_else(of_api)
    }

    /// Whether another pod of this one's name is still there: a static pod waits for its predecessor's end.
    pub(super) fn has_predecessor(&self, uid: &str, key: &ObjectKey) -> bool {
        self.by_key.get(key).is_some_and(|uids| uids.iter().any(|it| it != uid))
    }

    /// A pod appeared in the API, changed or went.
    pub(super) fn pod_changed(&mut self, key: &ObjectKey, now: Timestamp) {
        let pod = self.wanted(key);
        let current = pod.as_ref().map(|pod| spec::uid(pod).to_owned());
        let has_static = pod.as_ref().is_some_and(|pod| spec::is_static(pod));
        // Other pods of that name are gone from the API, or from the files.
        let known: Vec<String> = self.by_key.get(key).into_iter().flatten().cloned().collect();
        for uid in known.iter().filter(|uid| Some(*uid) != current.as_ref()) {
            if let Some(worker) = self.workers.get_mut(uid)
                && (self.synced || has_static || worker.is_static())
            {
                worker.state.object_gone = true;
            }
            self.step(uid, now);
        }
        let (Some(pod), Some(uid)) = (pod, current) else { return };
        let worker = self.workers.entry(uid.clone()).or_insert_with(|| Worker::new(key.clone(), None));
        worker.take_pod(pod);
        if has_static {
            let mirror = self.pods.get(key).filter(|it| spec::mirrored(it) == Some(&uid));
            worker.take_mirror(mirror);
        }
        self.by_key.entry(key.clone()).or_default().insert(uid.clone());
        self.step(&uid, now);
    }

    /// A ConfigMap or Secret changed: the pods that use it fill their volumes again.
    pub(super) fn reference_changed(&mut self, reference: &Reference, now: Timestamp) {
        for uid in self.executor.references.users(reference) {
            if let Some(worker) = self.workers.get_mut(&uid) {
                worker.state.volumes_stale = true;
                worker.state.failures.retain(|target, _| !matches!(target, Target::Volumes | Target::Start(_)));
            }
            self.step(&uid, now);
        }
    }

    /// Both first lists are there: from now on decisions are made.
    pub(super) fn begin(&mut self, now: Timestamp) {
        if !self.synced || !self.relisted {
            return;
        }
        for pod in self.pods.list() {
            self.inbox.put(Changed::Pod(spec::key(&pod)));
        }
        self.adopt_leftovers();
        for uid in self.uids() {
            let Some(worker) = self.workers.get(&uid) else { continue };
            let key = worker.key.clone();
            let stored = self.wanted(&key).filter(|pod| spec::uid(pod) == uid);
            let Some(worker) = self.workers.get_mut(&uid) else { continue };
            match stored {
                Some(pod) => worker.take_pod(pod),
                None => {
                    tracing::info!(pod = %worker.key, %uid, "the API does not know this pod: it is ended");
                    worker.state.object_gone = true;
                }
            }
            self.step(&uid, now);
        }
    }

    /// A pod that the runtime has and nobody told of.
    pub(super) fn adopt(&mut self, uid: String, key: ObjectKey) {
        // Found after the start: it is nobody's unless the API or the files say otherwise. And where a static pod has
        // the name, another one of it is a version that is gone.
        let wanted = self.wanted(&key);
        let is_other = wanted.as_ref().is_none_or(|pod| spec::uid(pod) != uid);
        let replaced = wanted.as_ref().is_some_and(|pod| spec::is_static(pod));
        let gone = is_other && (replaced || (self.synced && self.relisted));
        self.by_key.entry(key.clone()).or_default().insert(uid.clone());
        self.workers.entry(uid).or_insert_with(|| {
            let mut worker = Worker::new(key, None);
            worker.state.object_gone = gone;
            worker
        });
    }

    /// Nothing is left of the pod.
    pub(super) fn forget(&mut self, uid: &str, now: Timestamp) {
        let mut waiting = Vec::new();
        self.inventory.remove(uid);
        self.executor.probes.forget(uid);
        if let Some(worker) = self.workers.remove(uid) {
            tracing::info!(pod = %worker.key, %uid, "pod is gone");
            if let Some(uids) = self.by_key.get_mut(&worker.key) {
                uids.remove(uid);
                waiting.extend(uids.iter().cloned());
                if uids.is_empty() {
                    self.by_key.remove(&worker.key);
                }
            }
        }
        self.timers.retain(|(_, owner)| owner != uid);
        // What a pod leaves may be what another one waits for.
        waiting.extend(self.waiting_for_room());
        for uid in waiting {
            self.step(&uid, now);
        }
    }
}
