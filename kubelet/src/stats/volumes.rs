//! What pods' volumes hold. To count files takes time: it is done by one at a time, and what was counted is good for a
//! while.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Volume};
use parking_lot::Mutex;

use super::FileSystem;
use super::collect::file_system;
use crate::config::Config;
use crate::pod::spec;
use crate::pressure::usage;
use crate::volume;

/// How long figures are good for, upstream's `volumeStatsAggPeriod`.
const PERIOD: SignedDuration = SignedDuration::from_mins(1);

/// A volume's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeStats {
    /// Its name in the pod.
    pub name: String,
    /// When it was counted.
    pub at: Timestamp,
    /// The file system that it lies on.
    pub system: FileSystem,
    /// Its bytes and inodes.
    pub used: (u64, u64),
    /// Whether it takes of the node's disk, and goes with the pod.
    pub ephemeral: bool,
}

/// When a pod's volumes were counted, and what was found.
type Counted = (Timestamp, Vec<VolumeStats>);

/// The latest figures of each pod, by its UID. Cheap to clone.
#[derive(Clone, Default)]
pub struct VolumeFigures {
    known: Arc<Mutex<HashMap<String, Counted>>>,
    counting: Arc<Mutex<()>>,
}

impl VolumeFigures {
    /// The figures of these pods' volumes. While somebody else counts, those of before. Blocking.
    pub fn of(&self, pods: &[Arc<Pod>], config: &Config, at: Timestamp) -> HashMap<String, Vec<VolumeStats>> {
        if let Some(_turn) = self.counting.try_lock() {
            let is_fresh = |counted: &Timestamp| *counted <= at && at.duration_since(*counted) < PERIOD;
            for pod in pods {
                let uid = spec::runtime_uid(pod);
                if self.known.lock().get(uid).is_some_and(|(counted, _)| is_fresh(counted)) {
                    continue;
                }
                let own = spec::mounted_volumes(pod).filter_map(|it| count(it, &volume::path(config, uid, it)?, at));
                let own: Vec<VolumeStats> = own.collect();
                // A pod without volumes may have some that are not made yet.
                if !own.is_empty() {
                    self.known.lock().insert(uid.to_owned(), (at, own));
                }
            }
            self.known.lock().retain(|uid, _| pods.iter().any(|pod| spec::runtime_uid(pod) == uid));
        }
        self.known.lock().iter().map(|(uid, (_, own))| (uid.clone(), own.clone())).collect()
    }
}

/// Counts a volume that is the pod's own. What the node or another machine holds is not.
fn count(volume: &Volume, path: &Path, at: Timestamp) -> Option<VolumeStats> {
    if volume.host_path.is_some() || volume.nfs.is_some() || !path.exists() {
        return None;
    }
    let (bytes, inodes) = usage::disk(path).ok()?;
    let on_disk = volume.empty_dir.as_ref().is_some_and(|it| it.medium.as_deref().unwrap_or_default().is_empty());
    Some(VolumeStats {
        name: volume.name.clone(),
        at,
        system: file_system(path)?,
        used: (u64::try_from(bytes).unwrap_or_default(), u64::try_from(inodes).unwrap_or_default()),
        ephemeral: on_disk || volume.config_map.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Tuning;

    fn config(root: &Path) -> Config {
        Config {
            node_name: "n".into(),
            node_ip: [127, 0, 0, 1].into(),
            runtime_endpoint: "/none".into(),
            root_dir: root.to_owned(),
            pod_logs_dir: root.to_owned(),
            cluster_dns: Vec::new(),
            cluster_domain: String::new(),
            resolv_conf: "/none".into(),
            port: 1,
            max_pods: 1,
            node_labels: Vec::new(),
            register_with_taints: Vec::new(),
            cgroup_root: String::new(),
            allowed_unsafe_sysctls: Vec::new(),
            reserved: Default::default(),
            tuning: Tuning::new(1),
        }
    }

    #[test]
    fn volumes_are_counted_once_in_a_while() {
        let root = tempfile::tempdir().unwrap();
        let config = config(root.path());
        let mounts = json!([{"name": "a", "mountPath": "/a"}, {"name": "h", "mountPath": "/h"}]);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {
                "containers": [{"name": "c", "volumeMounts": mounts}],
                "volumes": [
                    {"name": "a", "emptyDir": {}},
                    {"name": "h", "hostPath": {"path": "/"}},
                    {"name": "unused", "emptyDir": {}},
                ],
            },
        }))
        .unwrap();
        let pods = [Arc::new(pod)];
        let figures = VolumeFigures::default();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert!(figures.of(&pods, &config, at(0)).is_empty(), "the volume is not made yet");
        let folder = root.path().join("pods/u/volumes/kubernetes.io~empty-dir/a");
        std::fs::create_dir_all(&folder).unwrap();
        let inodes = |second: i64| {
            let found = figures.of(&pods, &config, at(second)).remove("u").unwrap();
            assert_eq!(found.len(), 1);
            assert!(found[0].ephemeral && found[0].system.capacity > 0);
            found[0].used.1
        };
        assert_eq!(inodes(1), 1);
        std::fs::write(folder.join("file"), "x").unwrap();
        assert_eq!((inodes(60), inodes(61)), (1, 2));
        let turn = figures.counting.lock();
        std::fs::write(folder.join("other"), "x").unwrap();
        assert_eq!(inodes(200), 2, "somebody else counts");
        drop(turn);
        assert_eq!(inodes(200), 3);
        assert!(figures.of(&[], &config, at(201)).is_empty());
    }
}
