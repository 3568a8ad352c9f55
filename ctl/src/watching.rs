//! Watches of any resource, for verbs that follow or wait. They go on where the server or the connection ended them.

use std::collections::{HashMap, HashSet};

use reeve_api::{Reason, ResourceInfo};
use reeve_client::watch::Event;
use reeve_client::{Error, Follower};
use serde_json::{Value, json};

use crate::errors::Outcome;
use crate::session::Cluster;
use crate::value::{name, namespace, text};
use crate::verbs::common::typed;

/// What to watch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    /// Empty for all.
    pub namespace: &'a str,
    /// A label selector.
    pub labels: &'a str,
    /// A field selector.
    pub fields: &'a str,
}

/// A watch with the errors that end it.
struct Watch {
    cluster: Cluster,
    info: ResourceInfo,
    follower: Follower,
    /// Whether the server has answered; until then no error is taken for an interruption.
    answered: bool,
}

impl Watch {
    fn new(cluster: &Cluster, info: &ResourceInfo, selection: Selection<'_>) -> Watch {
        let follower = cluster.api(info, selection.namespace).follow(selection.labels, selection.fields);
        Watch { cluster: cluster.clone(), info: info.clone(), follower, answered: false }
    }

    async fn next(&mut self) -> Outcome<Event<Value>> {
        loop {
            let event = if self.answered {
                self.follower.next::<Value>().await
            } else {
                self.cluster.attempt(self.follower.next::<Value>()).await?
            };
            match event {
                Ok(event) => {
                    self.answered = true;
                    let typed = |object| typed(object, &self.info);
                    return Ok(match event {
                        Event::InitApply(object) => Event::InitApply(typed(object)),
                        Event::Apply(object) => Event::Apply(typed(object)),
                        Event::Delete(object) => Event::Delete(typed(object)),
                        other => other,
                    });
                }
                Err(error) if ends_watch(&error, self.answered) => return Err(self.cluster.explain(error)),
                // The follower waits before it goes on.
                Err(_) => {}
            }
        }
    }
}

/// Whether trying again cannot help, or is not what somebody wants who has just made a mistake in the address.
fn ends_watch(error: &Error, answered: bool) -> bool {
    match error.reason() {
        Some(Reason::Expired | Reason::Gone) => false,
        Some(
            Reason::InternalError
            | Reason::ServerTimeout
            | Reason::ServiceUnavailable
            | Reason::Timeout
            | Reason::TooManyRequests,
        )
        | None => !answered,
        Some(_) => true,
    }
}

/// A change of a selection.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// New, or new to the selection.
    Added(Value),
    /// Changed.
    Modified(Value),
    /// Gone, or no longer in the selection.
    Deleted(Value),
}

/// The changes of a selection after a list of it, for ever.
pub struct Changes {
    watch: Watch,
    known: Known,
    ready: std::vec::IntoIter<Change>,
}

impl Changes {
    /// Follows a selection whose objects were `listed` at `revision`.
    pub fn after(
        cluster: &Cluster,
        info: &ResourceInfo,
        selection: Selection<'_>,
        listed: &[Value],
        revision: i64,
    ) -> Changes {
        let mut watch = Watch::new(cluster, info, selection);
        watch.follower = watch.follower.after(revision);
        watch.answered = true;
        Changes { watch, known: Known::new(listed), ready: Vec::new().into_iter() }
    }

    /// The next change.
    pub async fn next(&mut self) -> Outcome<Change> {
        loop {
            if let Some(change) = self.ready.next() {
                return Ok(change);
            }
            let event = self.watch.next().await?;
            self.ready = self.known.changes(event).into_iter();
        }
    }
}

type Key = (String, String);

/// Which objects the user has been told of, so that a watch that had to begin anew tells only what is new.
#[derive(Debug, Default)]
struct Known {
    versions: HashMap<Key, String>,
    /// What the new beginning has brought so far.
    present: HashSet<Key>,
}

impl Known {
    fn new(objects: &[Value]) -> Known {
        let mut known = Known::default();
        for object in objects {
            known.versions.insert(key(object), text(object, "metadata.resourceVersion").to_owned());
        }
        known
    }

    fn changes(&mut self, event: Event<Value>) -> Vec<Change> {
        match event {
            Event::Init => {
                self.present.clear();
                vec![]
            }
            Event::InitApply(object) => {
                self.present.insert(key(&object));
                self.applied(object).into_iter().collect()
            }
            Event::InitDone(_) => {
                let gone: Vec<Key> = self.versions.keys().filter(|key| !self.present.contains(*key)).cloned().collect();
                self.present.clear();
                gone.into_iter()
                    .map(|key| {
                        self.versions.remove(&key);
                        // Its last state was not seen.
                        Change::Deleted(json!({"metadata": {"namespace": key.0, "name": key.1}}))
                    })
                    .collect()
            }
            Event::Apply(object) => self.applied(object).into_iter().collect(),
            Event::Delete(object) => {
                self.versions.remove(&key(&object));
                vec![Change::Deleted(object)]
            }
            Event::Bookmark(_) => vec![],
        }
    }

    fn applied(&mut self, object: Value) -> Option<Change> {
        let version = text(&object, "metadata.resourceVersion").to_owned();
        match self.versions.insert(key(&object), version.clone()) {
            None => Some(Change::Added(object)),
            Some(before) if before == version => None,
            Some(_) => Some(Change::Modified(object)),
        }
    }
}

fn key(object: &Value) -> Key {
    (namespace(object).to_owned(), name(object).to_owned())
}

/// The field selector of one object.
pub fn by_name(name: &str) -> String {
    format!("metadata.name={name}")
}

/// Follows one object until `check` is content. It sees the present state first (`None` when there is no object),
/// then the state after each change.
pub async fn until<T>(
    cluster: &Cluster,
    info: &ResourceInfo,
    namespace: &str,
    name: &str,
    mut check: impl FnMut(Option<&Value>) -> Outcome<Option<T>>,
) -> Outcome<T> {
    let fields = by_name(name);
    let mut watch = Watch::new(cluster, info, Selection { namespace, labels: "", fields: &fields });
    let mut object: Option<Value> = None;
    loop {
        match watch.next().await? {
            Event::Init => {
                object = None;
                continue;
            }
            Event::InitApply(new) => {
                object = Some(new);
                continue;
            }
            Event::Bookmark(_) => continue,
            Event::InitDone(_) => {}
            Event::Apply(new) => object = Some(new),
            Event::Delete(_) => object = None,
        }
        if let Some(result) = check(object.as_ref())? {
            return Ok(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use reeve_api::StatusError;

    use super::*;

    fn object(name: &str, version: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "a", "resourceVersion": version}})
    }

    #[test]
    fn a_new_beginning_tells_only_what_is_new() {
        let mut known = Known::new(&[object("same", "1"), object("changed", "2"), object("gone", "3")]);
        assert_eq!(known.changes(Event::Apply(object("gone", "4"))), [Change::Modified(object("gone", "4"))]);
        assert_eq!(known.changes(Event::Init), []);
        assert_eq!(known.changes(Event::InitApply(object("same", "1"))), []);
        assert_eq!(known.changes(Event::InitApply(object("changed", "9"))), [Change::Modified(object("changed", "9"))]);
        assert_eq!(known.changes(Event::InitApply(object("new", "8"))), [Change::Added(object("new", "8"))]);
        let gone = json!({"metadata": {"namespace": "a", "name": "gone"}});
        assert_eq!(known.changes(Event::InitDone(9)), [Change::Deleted(gone)]);
        assert_eq!(known.changes(Event::Delete(object("new", "10"))), [Change::Deleted(object("new", "10"))]);
    }

    #[test]
    fn only_what_waiting_can_heal_is_waited_for() {
        let transport = || Error::Transport { server: "x".into(), message: "refused".into() };
        assert!(ends_watch(&transport(), false) && !ends_watch(&transport(), true));
        let status = |reason| Error::from(StatusError::new(reason, "x"));
        assert!(!ends_watch(&status(Reason::Expired), false));
        assert!(ends_watch(&status(Reason::Forbidden), true));
        assert!(ends_watch(&status(Reason::ServiceUnavailable), false));
        assert!(!ends_watch(&status(Reason::ServiceUnavailable), true));
    }
}
