//! Looks at what is left on its period, and has done what has to be done: images removed, conditions told, pods
//! evicted, logs rotated.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::images::{Image, ImagePolicy, ImageRecords};
use super::rank::{self, Candidate};
use super::signals::{self, Amount, Signal};
use super::thresholds::{Measured, Met, Pressure, Settings, Watchman};
use super::usage;
use crate::agent::executor::Executor;
use crate::agent::inbox::{Changed, Inbox};
use crate::agent::inventory::{Inventory, PodEntry};
use crate::log_rotation::{self, RotationPolicy};
use crate::node::cgroup;
use crate::pod::backoff::after;
use crate::pod::spec;
use crate::volume;

/// Between looks, upstream's number.
const PERIOD: Duration = Duration::from_secs(10);
/// Between looks at the images when nothing presses, upstream's number.
const IMAGES_PERIOD: Duration = Duration::from_secs(300);
/// The longest that the end of an evicted pod is waited for before the next one goes, upstream's number.
const EVICTION_PATIENCE: Duration = Duration::from_secs(30);
/// What pods evicted at once have to end, in seconds; upstream's number.
const AT_ONCE_SECONDS: i64 = 1;

/// Keeps the node from running out.
pub struct PressureKeeper {
    /// The runtime, the node's pods and settings.
    pub executor: Arc<Executor>,
    /// The containers of each pod.
    pub inventory: Inventory,
    /// Where evictions are asked for.
    pub inbox: Inbox,
    /// Where the conditions are told.
    pub told: watch::Sender<BTreeSet<Pressure>>,
    /// When pods are evicted.
    pub settings: Settings,
    /// When images are removed.
    pub images: ImagePolicy,
    /// When logs are rotated.
    pub logs: RotationPolicy,
}

/// What is remembered between looks.
#[derive(Default)]
struct Memory {
    watchman: Watchman,
    records: ImageRecords,
    image_folder: Option<PathBuf>,
    images_looked_at: Option<Timestamp>,
    evicted: Option<(String, Timestamp)>,
}

impl PressureKeeper {
    /// Looks until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let keeper = Arc::new(self);
        let mut memory = Memory::default();
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            keeper.look(&mut memory, Timestamp::now()).await;
        }
    }

    async fn look(self: &Arc<Self>, memory: &mut Memory, now: Timestamp) {
        for pod in self.inventory.all() {
            for container in pod.containers.iter().filter(|it| it.running) {
                log_rotation::rotate(&self.executor.runtime, container, self.logs, now).await;
            }
        }
        if memory.image_folder.is_none() {
            memory.image_folder = self.executor.runtime.image_folder().await.unwrap_or_else(|error| {
                tracing::debug!(%error, "the runtime does not say where its images lie");
                None
            });
        }
        let measured = self.measure(memory);
        let (pressure, met) = memory.watchman.observe(&self.settings, &measured, now);
        self.tell(&pressure);
        let of_disk = met.filter(|it| !matches!(it.threshold.signal, Signal::Memory | Signal::Processes));
        let due = memory.images_looked_at.is_none_or(|at| after(at, IMAGES_PERIOD) <= now);
        if due || of_disk.is_some() {
            memory.images_looked_at = Some(now);
            let disk = measured.get(&Signal::ImageBytes).copied().unwrap_or_default();
            let freed = self.remove_images(&mut memory.records, disk, of_disk.is_some(), now).await;
            if freed && of_disk.is_some() {
                // What was freed is measured before pods go.
                return;
            }
        }
        // A volume may hold any number of files: they are counted beside the loop.
        let keeper = self.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || keeper.evict_for_limits()).await {
            tracing::warn!(%error, "what pods hold on the disk could not be counted");
        }
        if let Some(met) = met {
            self.evict(memory, &met, now);
        }
    }

    fn measure(&self, memory: &Memory) -> Measured {
        let mut measured = Measured::new();
        let mut put = |signal, amount: std::io::Result<Amount>| match amount {
            Ok(amount) => {
                measured.insert(signal, amount);
            }
            Err(error) => tracing::warn!(signal = signal.name(), %error, "what is left cannot be measured"),
        };
        put(Signal::Memory, signals::memory());
        put(Signal::Processes, signals::processes());
        let node = signals::file_system(&self.executor.config.root_dir);
        let image = match &memory.image_folder {
            Some(folder) => signals::file_system(folder),
            None => signals::file_system(&self.executor.config.root_dir),
        };
        for (bytes, inodes, found) in
            [(Signal::NodeBytes, Signal::NodeInodes, node), (Signal::ImageBytes, Signal::ImageInodes, image)]
        {
            match found {
                Ok(found) => {
                    put(bytes, Ok(found.0));
                    put(inodes, Ok(found.1));
                }
                Err(error) => put(bytes, Err(error)),
            }
        }
        // A file system without inodes of its own says that it has none.
        measured.retain(|_, amount| amount.capacity > 0);
        measured
    }

    fn tell(&self, pressure: &BTreeSet<Pressure>) {
        self.told.send_if_modified(|known| {
            if known == pressure {
                return false;
            }
            let names: Vec<&str> = pressure.iter().map(|it| it.name()).collect();
            tracing::warn!(conditions = names.join(","), "the node's pressure changed");
            known.clone_from(pressure);
            true
        });
    }

    /// Removes images by the policy, or all that nobody uses; whether one went.
    async fn remove_images(&self, records: &mut ImageRecords, disk: Amount, all: bool, now: Timestamp) -> bool {
        let asked_at = Timestamp::now();
        let listed = match self.executor.runtime.images().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::debug!(%error, "the images cannot be listed");
                return false;
            }
        };
        if let Err(error) = self.executor.pulled.reconcile(&listed, asked_at) {
            tracing::warn!(%error, "the records of pulled images could not be brought up to date");
        }
        let names = self.inventory.images();
        let in_use = listed.iter().filter(|image| {
            let mut known = std::iter::once(&image.id).chain(&image.repo_tags).chain(&image.repo_digests);
            known.any(|name| names.contains(name))
        });
        let used: BTreeSet<String> = in_use.map(|it| it.id.clone()).collect();
        let told = self.executor.runtime.sandbox_image().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the runtime does not say which image its sandboxes are of");
            None
        });
        let pause: BTreeSet<String> = self.executor.sandbox_image.clone().into_iter().chain(told).collect();
        let images: Vec<Image> = listed
            .iter()
            .map(|it| Image {
                id: it.id.clone(),
                size: i64::try_from(it.size).unwrap_or(i64::MAX),
                pinned: it.pinned || it.repo_tags.iter().any(|tag| pause.contains(tag)),
            })
            .collect();
        records.observe(&images, &used, now);
        let mut removed = false;
        for id in records.victims(&images, disk, self.images, all, now) {
            match self.executor.runtime.remove_image(&id).await {
                Ok(()) => {
                    tracing::info!(image = %id, "an unused image is removed to free disk");
                    removed = true;
                    if let Err(error) = self.executor.pulled.forget(&id) {
                        tracing::warn!(image = %id, %error, "the record of a removed image could not be removed");
                    }
                }
                Err(error) => tracing::warn!(image = %id, %error, "an unused image could not be removed"),
            }
        }
        removed
    }

    /// Evicts the first pod in the order, unless one is still ending.
    fn evict(&self, memory: &mut Memory, met: &Met, now: Timestamp) {
        let pods = self.executor.pods.list();
        if let Some((uid, at)) = &memory.evicted {
            let ending = pods.iter().any(|pod| spec::uid(pod) == uid && !spec::is_terminal(pod));
            if ending && after(*at, EVICTION_PATIENCE) > now {
                return;
            }
        }
        let entries = self.inventory.all();
        let mut candidates: Vec<Candidate<'_>> = pods
            .iter()
            .filter(|pod| !spec::is_terminal(pod) && pod.metadata.deletion_timestamp.is_none())
            .filter_map(|pod| {
                let entry = entries.iter().find(|it| it.uid == spec::uid(pod))?;
                let containers = self.used(pod, entry, met.threshold.signal);
                let volumes =
                    if met.threshold.signal.resource() == "ephemeral-storage" { self.volumes(pod) } else { 0 };
                let used = containers.iter().map(|(_, used)| used).sum::<i64>() + volumes;
                Some(Candidate { pod, used, containers })
            })
            .collect();
        let resource = met.threshold.signal.resource();
        rank::rank(&mut candidates, resource);
        let Some(first) = candidates.first() else {
            tracing::warn!(resource, "the node is low and no pod can be evicted");
            return;
        };
        let grace_seconds = match met.threshold.grace {
            Some(_) => self.settings.max_grace_seconds.min(spec::grace_seconds(first.pod)),
            None => AT_ONCE_SECONDS,
        };
        memory.evicted = Some((spec::uid(first.pod).to_owned(), now));
        self.ask(first.pod, rank::message(met, first), grace_seconds);
    }

    fn ask(&self, pod: &Pod, message: String, grace_seconds: i64) {
        let uid = spec::uid(pod).to_owned();
        self.inbox.put(Changed::Evicted { uid, message, grace_seconds });
    }

    /// What each container uses of a signal's resource.
    fn used(&self, pod: &Pod, entry: &PodEntry, signal: Signal) -> Vec<(String, i64)> {
        let cgroup = cgroup::pod_path(&self.executor.config.cgroup_root, pod);
        let running = entry.containers.iter().filter(|it| it.running);
        let of = |container: &crate::agent::inventory::ContainerEntry| match signal {
            Signal::Memory => usage::working_set(&format!("{cgroup}/{}", container.id)),
            Signal::Processes => Ok(0),
            _ => usage::disk(&container.log_path).map(|(bytes, inodes)| match signal {
                Signal::NodeInodes | Signal::ImageInodes => inodes,
                _ => bytes,
            }),
        };
        // A container that goes meanwhile uses nothing.
        running.map(|it| (it.name.clone(), of(it).unwrap_or_default())).collect()
    }

    /// What the pod's own volumes hold on the disk.
    fn volumes(&self, pod: &Pod) -> i64 {
        let own = spec::spec(pod).volumes.iter().flatten().filter(|it| it.empty_dir.is_some());
        let paths = own.filter_map(|it| volume::path(&self.executor.config, spec::runtime_uid(pod), it));
        paths.map(|path| usage::disk(&path).unwrap_or_default().0).sum()
    }

    /// Evicts pods that hold more on the disk than they may.
    fn evict_for_limits(&self) {
        let entries = self.inventory.all();
        for pod in self.executor.pods.list() {
            if spec::is_terminal(&pod) || pod.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let Some(entry) = entries.iter().find(|it| it.uid == spec::uid(&pod)) else { continue };
            if let Some(message) = self.over_limit(&pod, entry) {
                self.ask(&pod, message, AT_ONCE_SECONDS);
            }
        }
    }

    fn over_limit(&self, pod: &Pod, entry: &PodEntry) -> Option<String> {
        let bytes = |text: &str| crate::quantity::whole(text);
        for volume in spec::spec(pod).volumes.iter().flatten() {
            let limit = volume.empty_dir.as_ref().and_then(|it| it.size_limit.as_ref());
            let Some(limit) = limit.filter(|it| bytes(&it.0).is_some_and(|it| it > 0)) else { continue };
            let path = volume::path(&self.executor.config, spec::runtime_uid(pod), volume)?;
            if Some(usage::disk(&path).unwrap_or_default().0) > bytes(&limit.0) {
                return Some(format!(
                    "Usage of EmptyDir volume \"{}\" exceeds the limit \"{}\". ",
                    volume.name, limit.0
                ));
            }
        }
        let limits: Vec<(&str, &str)> = spec::containers(pod)
            .iter()
            .filter_map(|it| {
                let limit = it.resources.as_ref()?.limits.as_ref()?.get("ephemeral-storage")?;
                Some((it.name.as_str(), limit.0.as_str()))
            })
            .collect();
        if limits.is_empty() {
            return None;
        }
        let used = self.used(pod, entry, Signal::NodeBytes);
        for (name, limit) in &limits {
            if used.iter().any(|(of, used)| of == name && Some(*used) > bytes(limit)) {
                return Some(format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". "));
            }
        }
        let total: i64 = limits.iter().filter_map(|(_, limit)| bytes(limit)).sum();
        let all = used.iter().map(|(_, used)| used).sum::<i64>() + self.volumes(pod);
        (limits.len() == spec::containers(pod).len() && all > total).then(|| {
            let total = rank::quantity(total);
            format!("Pod ephemeral local storage usage exceeds the total limit of containers {total}. ")
        })
    }
}
