//! The table of pods' workers: by UID, and by name for the API. How pods come into it and leave it.

use jiff::Timestamp;
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

    /// A pod appeared in the API, changed or went.
    pub(super) fn pod_changed(&mut self, key: &ObjectKey, now: Timestamp) {
        let pod = self.pods.get(key);
        let current = pod.as_ref().map(|pod| spec::uid(pod).to_owned());
        // Other pods of that name are gone from the API.
        let known: Vec<String> = self.by_key.get(key).into_iter().flatten().cloned().collect();
        for uid in known.iter().filter(|uid| Some(*uid) != current.as_ref()) {
            if let Some(worker) = self.workers.get_mut(uid) {
                worker.state.object_gone = true;
            }
            self.step(uid, now);
        }
        let (Some(pod), Some(uid)) = (pod, current) else { return };
        let worker = self.workers.entry(uid.clone()).or_insert_with(|| Worker::new(key.clone(), None));
        worker.take_pod(pod);
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
        for uid in self.uids() {
            let Some(worker) = self.workers.get_mut(&uid) else { continue };
            let stored = self.pods.get(&worker.key).filter(|pod| spec::uid(pod) == uid);
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
        self.by_key.entry(key.clone()).or_default().insert(uid.clone());
        self.workers.entry(uid.clone()).or_insert_with(|| {
            let mut worker = Worker::new(key.clone(), None);
            // Found after the start: it is nobody's unless the API says otherwise.
            worker.state.object_gone =
                self.synced && self.relisted && self.pods.get(&key).is_none_or(|pod| spec::uid(&pod) != uid);
            worker
        });
    }

    /// Nothing is left of the pod.
    pub(super) fn forget(&mut self, uid: &str) {
        if let Some(worker) = self.workers.remove(uid) {
            tracing::info!(pod = %worker.key, %uid, "pod is gone");
            if let Some(uids) = self.by_key.get_mut(&worker.key) {
                uids.remove(uid);
                if uids.is_empty() {
                    self.by_key.remove(&worker.key);
                }
            }
        }
        self.timers.retain(|(_, owner)| owner != uid);
    }
}
