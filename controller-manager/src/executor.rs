//! The one place that writes: performs actions through the API and waits until the stores show them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use reeve_api::{GroupVersionResource, ObjectKey};
use reeve_client::{Client, DeleteOptions, Error, EventRecorder, EventType, ListOptions, Patch};
use serde_json::{Value, json};

use crate::action::{Action, Propagation, Told};
use crate::stores::Stores;

/// How many writes of one turn are in flight at a time. Enough to keep the server busy over one connection; few
/// enough that a large ReplicaSet does not starve the other keys.
const WRITES_IN_FLIGHT_MAX: usize = 64;

/// How many events about successes one action tells, as upstream's recorder lets through for one object.
const EVENTS_PER_ACTION_MAX: usize = 25;

/// Why a turn could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The API server refused a write, or could not be asked.
    #[error("{action}: {source}")]
    Refused {
        /// The beginning of what was tried.
        action: String,
        /// How many copies were created or deleted before.
        done: usize,
        /// The answer.
        #[source]
        source: Error,
    },
}

impl ExecuteError {
    /// The server's answer.
    pub fn answer(&self) -> Option<&Error> {
        let ExecuteError::Refused { source, .. } = self;
        Some(source)
    }

    /// Whether the state that the turn was decided on was not the newest: the object has changed or is gone. The newer state comes by watch and
    /// brings the key back, so that nothing else need be done.
    pub fn is_stale(&self) -> bool {
        self.answer().is_some_and(|answer| answer.is_conflict() || answer.is_not_found())
    }
}

/// What of a turn's writes the stores must show before the next turn.
#[derive(Debug, Default)]
pub struct Written {
    /// The resource and version of each write that stored something.
    pub revisions: Vec<(GroupVersionResource, i64)>,
    /// Objects that are gone or marked for deletion.
    pub deletions: Vec<(GroupVersionResource, ObjectKey, String)>,
}

/// Performs actions. Shared by all controllers.
pub struct Executor {
    client: Client,
    recorder: EventRecorder,
    stores: Arc<Stores>,
    leading: AtomicBool,
}

impl Executor {
    /// An executor that may write until [`Executor::stop`].
    pub fn new(client: Client, recorder: EventRecorder, stores: Arc<Stores>) -> Self {
        Self { client, recorder, stores, leading: AtomicBool::new(true) }
    }

    /// The client, for reads that must not come from a store.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends all writes: another process may lead.
    pub fn stop(&self) {
        self.leading.store(false, Ordering::Release);
    }

    /// Performs a turn's actions in their order, and returns when the stores show all that was written. Stops at the
    /// first failure; what was written before is waited for as well.
    pub async fn perform(&self, actions: Vec<Action>) -> Result<(), ExecuteError> {
        let mut written = Written::default();
        let mut outcome = Ok(());
        let mut actions = actions.into_iter().peekable();
        while let Some(action) = actions.next() {
            let mut batch = vec![action];
            // Deletions of a row go out together.
            while is_delete(&batch[0]) && actions.peek().is_some_and(is_delete) {
                batch.extend(actions.next());
            }
            outcome = self.perform_batch(batch, &mut written).await;
            if outcome.is_err() {
                break;
            }
        }
        self.stores.wait(&written).await;
        outcome
    }

    async fn perform_batch(&self, mut batch: Vec<Action>, written: &mut Written) -> Result<(), ExecuteError> {
        if batch.len() == 1
            && let Some(Action::Create { copies, .. }) = batch.first()
            && *copies > 1
        {
            return self.create_copies(&batch[0], *copies, written).await;
        }
        if batch.len() == 1
            && let Some(action) = batch.pop()
        {
            return self.write(&action, written).await;
        }
        let results = futures::stream::iter(batch.into_iter().map(|action| async move {
            let mut written = Written::default();
            let result = self.write(&action, &mut written).await;
            (result, written)
        }));
        let mut results = results.buffer_unordered(WRITES_IN_FLIGHT_MAX);
        let mut outcome = Ok(());
        while let Some((result, part)) = results.next().await {
            written.absorb(part);
            outcome = outcome.and(result);
        }
        outcome
    }

    /// Creates copies in batches that double as long as all goes well, as upstream's slow start, so that a template
    /// that is refused costs one request and not a thousand.
    async fn create_copies(&self, action: &Action, copies: usize, written: &mut Written) -> Result<(), ExecuteError> {
        let (mut done, mut size) = (0, 1);
        while done < copies {
            // From the full width on, the rest is one batch that is kept at that width.
            let batch = if size >= WRITES_IN_FLIGHT_MAX { copies - done } else { size.min(copies - done) };
            let requests = (0..batch).map(|_| self.write_quietly(action));
            let mut results = futures::stream::iter(requests).buffer_unordered(WRITES_IN_FLIGHT_MAX);
            let mut failure = None;
            while let Some(result) = results.next().await {
                match result {
                    Ok((name, part)) => {
                        if done < EVENTS_PER_ACTION_MAX {
                            self.tell_success(action, &name);
                        }
                        done += 1;
                        written.absorb(part);
                    }
                    Err(error) => {
                        // Requests that were not sent yet are given up with the stream.
                        failure = Some(error);
                        break;
                    }
                }
            }
            if let Some(source) = failure {
                self.tell_failure(action, &source);
                return Err(refused(action, done, source));
            }
            size *= 2;
        }
        Ok(())
    }

    async fn write(&self, action: &Action, written: &mut Written) -> Result<(), ExecuteError> {
        match self.write_quietly(action).await {
            Ok((name, part)) => {
                written.absorb(part);
                self.tell_success(action, &name);
                Ok(())
            }
            Err(source) => {
                self.tell_failure(action, &source);
                Err(refused(action, 0, source))
            }
        }
    }

    /// One request. Returns the name of the object and what the stores will show of it.
    async fn write_quietly(&self, action: &Action) -> Result<(String, Written), Error> {
        let mut written = Written::default();
        if action.is_write() && !self.leading.load(Ordering::Acquire) {
            return Err(reeve_api::StatusError::new(
                reeve_api::Reason::Forbidden,
                "this process does not lead any more",
            )
            .into());
        }
        match action {
            Action::Create { resource, namespace, object, .. } => {
                let created = self.client.dynamic(resource, Some(namespace.as_str())).create(&**object).await?;
                let name = created["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                written.note(resource, &created);
                Ok((name, written))
            }
            Action::Patch { resource, key, subresource, patch } => {
                let api = self.client.dynamic(resource, Some(key.namespace.as_str()));
                let patch = Patch::Merge(patch.clone());
                let changed = match *subresource {
                    "" => api.patch(&key.name, &patch).await?,
                    "status" => api.patch_status(&key.name, &patch).await?,
                    other => api.patch_subresource(&key.name, other, &patch).await?,
                };
                written.note(resource, &changed);
                Ok((key.name.clone(), written))
            }
            Action::Replace { resource, key, subresource, object } => {
                let api = self.client.dynamic(resource, Some(key.namespace.as_str()));
                let changed = api.update_subresource(subresource, object).await?;
                // What was finalized may be gone now; the stores will not show it as written.
                if *subresource != "finalize" {
                    written.note(resource, &changed);
                }
                Ok((key.name.clone(), written))
            }
            Action::SetCondition { resource, key, uid, type_, fields } => {
                let api = self.client.dynamic(resource, Some(key.namespace.as_str()));
                let Some(object) = api.get_opt(&key.name).await? else { return Ok((key.name.clone(), written)) };
                let meta = &object["metadata"];
                if meta["uid"].as_str() != Some(uid) {
                    return Ok((key.name.clone(), written));
                }
                let conditions = with_condition(&object["status"]["conditions"], type_, fields);
                let patch = json!({
                    "metadata": {"uid": uid, "resourceVersion": meta["resourceVersion"]},
                    "status": {"conditions": conditions},
                });
                let changed = api.patch_status(&key.name, &Patch::Merge(patch)).await?;
                written.note(resource, &changed);
                Ok((key.name.clone(), written))
            }
            Action::Delete { resource, key, uid, revision, grace_seconds, propagation, .. } => {
                let options = DeleteOptions {
                    grace_period_seconds: *grace_seconds,
                    propagation_policy: propagation.map(|word| word.as_str().to_owned()).unwrap_or_default(),
                    uid: uid.clone(),
                    resource_version: revision.map(|revision| revision.to_string()).unwrap_or_default(),
                    ..DeleteOptions::default()
                };
                let api = self.client.dynamic(resource, Some(key.namespace.as_str()));
                match api.delete(&key.name, &options).await {
                    Ok(_) => {}
                    // Someone else was first.
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                }
                written.deletions.push((resource.clone(), key.clone(), uid.clone()));
                Ok((key.name.clone(), written))
            }
            Action::DeleteAll { resource, namespace } => {
                let api = self.client.dynamic(resource, Some(namespace.as_str()));
                // Some kinds leave their dependents by default; nothing of a namespace stays.
                let propagation_policy = Propagation::Background.as_str().to_owned();
                let options = DeleteOptions { propagation_policy, ..DeleteOptions::default() };
                api.delete_collection(&ListOptions::default(), &options).await?;
                Ok((namespace.clone(), written))
            }
            Action::Event { regarding, event_type, reason, message } => {
                self.recorder.event(regarding, *event_type, *reason, message.as_str());
                Ok((String::new(), written))
            }
            Action::Again(_) => Ok((String::new(), written)),
        }
    }

    fn tell_success(&self, action: &Action, name: &str) {
        if let Some(Told { regarding, success: (reason, text), .. }) = told(action) {
            self.recorder.event(regarding, EventType::Normal, *reason, format!("{text}{name}"));
        }
    }

    fn tell_failure(&self, action: &Action, error: &Error) {
        if let Some(Told { regarding, failure: (reason, text), .. }) = told(action) {
            self.recorder.event(regarding, EventType::Warning, *reason, format!("{text}{error}"));
        }
    }
}

/// The conditions with the fields of one of them set.
fn with_condition(conditions: &Value, type_: &str, fields: &Value) -> Value {
    let mut all = conditions.as_array().cloned().unwrap_or_default();
    let index = all.iter().position(|condition| condition["type"] == type_).unwrap_or_else(|| {
        all.push(json!({"type": type_}));
        all.len() - 1
    });
    for (name, value) in fields.as_object().into_iter().flatten() {
        all[index][name] = value.clone();
    }
    Value::Array(all)
}

fn told(action: &Action) -> Option<&Told> {
    match action {
        Action::Create { told, .. } | Action::Delete { told, .. } => told.as_deref(),
        _ => None,
    }
}

fn is_delete(action: &Action) -> bool {
    matches!(action, Action::Delete { .. })
}

fn refused(action: &Action, done: usize, source: Error) -> ExecuteError {
    let mut action = action.to_string();
    if let Some((end, _)) = action.char_indices().nth(120) {
        action.truncate(end);
    }
    ExecuteError::Refused { action, done, source }
}

impl Written {
    fn note(&mut self, resource: &GroupVersionResource, object: &Value) {
        let revision = object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
        if let Some(revision) = revision {
            self.revisions.push((resource.clone(), revision));
        }
    }

    fn absorb(&mut self, part: Written) {
        for (resource, revision) in part.revisions {
            match self.revisions.iter_mut().find(|(known, _)| *known == resource) {
                Some((_, known)) => *known = revision.max(*known),
                None => self.revisions.push((resource, revision)),
            }
        }
        self.deletions.extend(part.deletions);
    }
}
