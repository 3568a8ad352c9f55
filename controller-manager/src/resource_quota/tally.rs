//! The objects of kinds that no controller holds, followed only while a quota counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use reeve_api::{GroupVersionResource, ObjectKey};
use reeve_client::watch::Event;
use reeve_client::{Client, Follower, Scope};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

use super::Counted;

const FIELDS: &[&str] = &["metadata.name", "metadata.namespace", "metadata.resourceVersion"];
const CLAIM_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.resourceVersion",
    "spec.storageClassName",
    "spec.resources.requests",
];

/// What is told of a change: the namespace, the resource, and whether something was only added.
pub type Tell = Arc<dyn Fn(&str, &str, bool) + Send + Sync>;

/// The objects of one resource.
#[derive(Default)]
struct Copy {
    objects: BTreeMap<ObjectKey, Arc<Counted>>,
    fresh: BTreeMap<ObjectKey, Arc<Counted>>,
}

impl Copy {
    /// Takes an event; returns the namespaces that it changes, and whether they only grew.
    fn take(&mut self, event: Event<Counted>) -> Vec<(String, bool)> {
        match event {
            Event::Init => self.fresh.clear(),
            Event::InitApply(object) => {
                self.fresh.insert(object.key.clone(), Arc::new(object));
            }
            Event::InitDone(_) => {
                let old = std::mem::replace(&mut self.objects, std::mem::take(&mut self.fresh));
                let all: BTreeSet<&String> = old.keys().chain(self.objects.keys()).map(|key| &key.namespace).collect();
                return all.into_iter().map(|namespace| (namespace.clone(), false)).collect();
            }
            Event::Apply(object) => {
                let (key, amounts) = (object.key.clone(), object.amounts.clone());
                let namespace = key.namespace.clone();
                return match self.objects.insert(key, Arc::new(object)) {
                    None => vec![(namespace, true)],
                    Some(old) if old.amounts != amounts => vec![(namespace, false)],
                    Some(_) => vec![],
                };
            }
            Event::Delete(object) => {
                self.objects.remove(&object.key);
                return vec![(object.key.namespace, false)];
            }
            Event::Bookmark(_) => {}
        }
        vec![]
    }
}

/// One resource that is followed; dropped, it is not followed any more.
struct Followed {
    copy: Arc<Mutex<Copy>>,
    whole: signal::Receiver<bool>,
    _task: JoinSet<()>,
}

/// The resources that are followed, by their qualified names.
#[derive(Default)]
pub struct Tallies(Mutex<BTreeMap<String, Followed>>);

impl Tallies {
    /// Follows a resource if it is not followed yet, and waits until its copy is whole.
    pub async fn follow(&self, client: &Client, resource: &GroupVersionResource, tell: &Tell) {
        let mut whole = {
            let mut all = self.0.lock();
            let followed = all.entry(resource.qualified()).or_insert_with(|| start(client, resource, tell));
            followed.whole.clone()
        };
        // An error means that it was let go meanwhile; then nobody counts it.
        if whole.wait_for(|whole| *whole).await.is_err() {
            tracing::debug!(resource = %resource.qualified(), "no quota counts this any more");
        }
    }

    /// Whether a resource is followed.
    pub fn has(&self, resource: &str) -> bool {
        self.0.lock().contains_key(resource)
    }

    /// Lets go what no quota counts.
    pub fn keep(&self, counted: &BTreeSet<String>) {
        self.0.lock().retain(|resource, _| counted.contains(resource));
    }

    /// The objects of a resource in a namespace; `None` when it is not followed or its copy is not whole.
    pub fn objects(&self, resource: &str, namespace: &str) -> Option<Vec<Arc<Counted>>> {
        let all = self.0.lock();
        let followed = all.get(resource).filter(|followed| *followed.whole.borrow())?;
        let copy = followed.copy.lock();
        let from = ObjectKey::new(namespace, "");
        let of = copy.objects.range(from..).take_while(|(key, _)| key.namespace == namespace);
        Some(of.map(|(_, object)| object.clone()).collect())
    }
}

fn start(client: &Client, resource: &GroupVersionResource, tell: &Tell) -> Followed {
    let is_claim = resource.group.is_empty() && resource.resource == "persistentvolumeclaims";
    let fields = if is_claim { CLAIM_FIELDS } else { FIELDS };
    let mut follower = Follower::new(client.clone(), resource.clone(), Scope::all(), fields);
    let copy = Arc::new(Mutex::new(Copy::default()));
    let (sender, whole) = signal::channel(false);
    let (tell, name, shared) = (tell.clone(), resource.qualified(), copy.clone());
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            match follower.next::<Counted>().await {
                Ok(event) => {
                    let is_whole = matches!(event, Event::InitDone(_));
                    let changed = shared.lock().take(event);
                    if is_whole {
                        sender.send_replace(true);
                    }
                    changed.iter().for_each(|(namespace, only_more)| tell(namespace, &name, *only_more));
                }
                Err(error) => tracing::debug!(resource = name, %error, "the watch is interrupted"),
            }
        }
    });
    Followed { copy, whole, _task: task }
}
