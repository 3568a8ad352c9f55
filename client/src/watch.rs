//! The watch state machine: how a local copy of a selection follows the server.
//!
//! ```text
//!            connected                initial events end
//!   Empty ------------> Initial -------------------------> Live
//!     ^                    |                                 |
//!     |    lost            |                                 | lost: resume from the last version
//!     +--------------------+                                 v
//!     +---------------- version too old (410) ----------- Resuming
//! ```
//!
//! [`Machine::step`] is a pure function of state and input; [`Follower`] does the IO around it. Losing the
//! connection in `Live` loses nothing: the watch resumes after the last version seen. Only a version that the
//! server no longer knows leads back to `Empty`, which consumers see as [`Event::Init`].

use std::time::Duration;

use reeve_api::GroupVersionResource;
use reeve_proto::v1;
use reeve_proto::v1::watch_event::Type;
use serde::de::DeserializeOwned;

use crate::api::{Client, WatchOptions, decode, watch_error};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::view::{Scope, View};

/// What a consumer must do to keep its copy true.
#[derive(Debug, PartialEq)]
pub enum Event<V> {
    /// Begin a new copy; keep serving the old one.
    Init,
    /// Put this into the new copy.
    InitApply(V),
    /// The new copy is whole as of this version: replace the old one.
    InitDone(i64),
    /// Put this into the copy.
    Apply(V),
    /// Remove this from the copy.
    Delete(V),
    /// The copy is true up to this version.
    Bookmark(i64),
}

/// Where the copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is known.
    Empty,
    /// The present objects are arriving.
    Initial,
    /// Changes after this version are arriving.
    Live(i64),
    /// The connection was lost after this version.
    Resuming(i64),
}

/// What happened on the wire.
#[derive(Debug)]
pub enum Input {
    /// The server accepted the watch.
    Connected,
    /// It sent an event.
    Event(v1::WatchEvent),
    /// The stream ended or broke, or the server does not know the version any more.
    Lost {
        /// List again instead of resuming.
        expired: bool,
    },
}

/// The state machine of one watch.
#[derive(Debug)]
pub struct Machine {
    state: State,
}

impl Machine {
    /// A machine that knows nothing yet.
    pub fn new() -> Self {
        Self { state: State::Empty }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The watch to open in this state.
    pub fn request(&self) -> WatchOptions {
        match self.state {
            State::Empty | State::Initial => WatchOptions { send_initial_events: true, ..WatchOptions::default() },
            State::Live(revision) | State::Resuming(revision) => {
                WatchOptions { resource_version: revision.to_string(), ..WatchOptions::default() }
            }
        }
    }

    /// Takes one input and tells what the consumer must do. An error means that the connection is of no
    /// further use: report [`Input::Lost`] next.
    pub fn step<V: DeserializeOwned>(&mut self, input: Input) -> Result<Option<Event<V>>, Error> {
        match (self.state, input) {
            (State::Empty | State::Initial, Input::Connected) => {
                self.state = State::Initial;
                Ok(Some(Event::Init))
            }
            (State::Live(revision) | State::Resuming(revision), Input::Connected) => {
                self.state = State::Live(revision);
                Ok(None)
            }
            (State::Empty | State::Initial, Input::Lost { .. }) => {
                self.state = State::Empty;
                Ok(None)
            }
            (State::Live(revision) | State::Resuming(revision), Input::Lost { expired }) => {
                self.state = if expired { State::Empty } else { State::Resuming(revision) };
                Ok(None)
            }
            (state, Input::Event(event)) => self.event(state, &event),
        }
    }

    fn event<V: DeserializeOwned>(&mut self, state: State, event: &v1::WatchEvent) -> Result<Option<Event<V>>, Error> {
        let out_of_place = |what: &str| Error::Decode { message: format!("the server sent {what} in state {state:?}") };
        match (state, event.r#type()) {
            (_, Type::Error) => Err(watch_error(&event.object)),
            (State::Initial, Type::Added) => Ok(Some(Event::InitApply(decode(&event.object)?))),
            (State::Initial, Type::Bookmark) if event.initial_events_end => {
                self.state = State::Live(event.resource_version);
                Ok(Some(Event::InitDone(event.resource_version)))
            }
            (State::Initial, Type::Bookmark) => Ok(None),
            (State::Live(last), kind) => {
                let event_out = match kind {
                    Type::Added | Type::Modified => Event::Apply(decode(&event.object)?),
                    Type::Deleted => Event::Delete(decode(&event.object)?),
                    Type::Bookmark => Event::Bookmark(event.resource_version),
                    Type::Error | Type::Unspecified => return Err(out_of_place("an event without a type")),
                };
                self.state = State::Live(last.max(event.resource_version));
                Ok(Some(event_out))
            }
            (_, kind) => Err(out_of_place(kind.as_str_name())),
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

/// How often the loss of one watch is logged as a warning before it has come back once.
const QUIET_FAILURES: u32 = 1;

/// Follows a resource for ever, handing each event to `consume`. Reconnects with back-off. Ends only when
/// `consume` says so by returning `false`.
pub(crate) async fn follow<V: View>(
    client: Client,
    resource: GroupVersionResource,
    scope: Scope,
    mut consume: impl FnMut(Event<V>) -> bool,
) {
    let mut follower = Follower::new(client, resource.clone(), scope, V::FIELDS);
    loop {
        match follower.next().await {
            Ok(event) => {
                if !consume(event) {
                    return;
                }
            }
            Err(error) if follower.failures > QUIET_FAILURES => {
                tracing::warn!(%resource, %error, failures = follower.failures, "watch is interrupted, reconnecting");
            }
            Err(error) => tracing::debug!(%resource, %error, "watch is interrupted"),
        }
    }
}

/// A watch that goes on where it was interrupted. [`Follower::next`] may be dropped and called again at any time.
pub struct Follower {
    client: Client,
    resource: GroupVersionResource,
    scope: Scope,
    fields: &'static [&'static str],
    machine: Machine,
    stream: Option<tonic::Streaming<v1::WatchResponse>>,
    /// Told when the client goes on with other credentials.
    replaced: tokio::sync::watch::Receiver<()>,
    /// Whether the present connection has brought anything.
    heard: bool,
    pending: std::vec::IntoIter<v1::WatchEvent>,
    failures: u32,
}

impl Follower {
    /// Follows a resource from its present objects on. `fields` are the paths that travel; empty for all.
    pub fn new(
        client: Client,
        resource: GroupVersionResource,
        scope: Scope,
        fields: &'static [&'static str],
    ) -> Follower {
        Follower {
            replaced: client.replaced(),
            client,
            resource,
            scope,
            fields,
            machine: Machine::new(),
            stream: None,
            heard: false,
            pending: Vec::new().into_iter(),
            failures: 0,
        }
    }

    /// Starts with the changes after a version whose objects are known already.
    pub fn after(mut self, revision: i64) -> Follower {
        self.machine = Machine { state: State::Resuming(revision) };
        self
    }

    /// The next event. An error is an interruption: call again to go on, which waits longer after each failure; or
    /// give up, if the error is one that waiting cannot heal.
    pub async fn next<V: DeserializeOwned>(&mut self) -> Result<Event<V>, Error> {
        loop {
            if let Some(event) = self.pending.next() {
                match self.machine.step(Input::Event(event)) {
                    Ok(event) => {
                        self.works();
                        match event {
                            Some(event) => return Ok(event),
                            None => continue,
                        }
                    }
                    Err(error) => return Err(self.lost(error)),
                }
            }
            let Some(stream) = &mut self.stream else {
                if let Some(event) = self.connect().await? {
                    return Ok(event);
                }
                continue;
            };
            let message = tokio::select! {
                message = stream.message() => message,
                // The connection of the old credentials is to end: resume on the new one. A first copy is finished.
                Ok(()) = self.replaced.changed(), if matches!(self.machine.state(), State::Live(_)) => {
                    self.heard = true;
                    Ok(None)
                }
            };
            match message {
                Ok(Some(batch)) => {
                    self.heard = true;
                    self.pending = batch.events.into_iter();
                }
                Ok(None) if matches!(self.machine.state(), State::Initial) => {
                    let error = Error::Decode { message: "the watch ended before its initial events".into() };
                    return Err(self.lost(error));
                }
                Ok(None) => {
                    // The server ended the watch in good order: resume at once. One that accepts and at once ends
                    // every watch must not be called in a tight loop.
                    self.stream = None;
                    self.failures = if self.heard { 0 } else { self.failures.saturating_add(1) };
                    self.machine.step::<V>(Input::Lost { expired: false })?;
                }
                Err(status) => {
                    let error = self.client.failed(status);
                    return Err(self.lost(error));
                }
            }
        }
    }

    /// An event was understood. Not before: a watch that breaks at the same event again and again must be told of,
    /// and must not be tried in a tight loop.
    fn works(&mut self) {
        if self.failures > QUIET_FAILURES {
            tracing::info!(resource = %self.resource, "watch is back");
        }
        self.failures = 0;
    }

    async fn connect<V: DeserializeOwned>(&mut self) -> Result<Option<Event<V>>, Error> {
        if self.failures > 0 {
            tokio::time::sleep(delay(self.failures)).await;
        }
        let opened = self.client.open_watch(&self.resource, &self.scope, self.fields, &self.machine.request()).await;
        match opened {
            Ok(stream) => {
                self.stream = Some(stream);
                self.heard = false;
                self.machine.step(Input::Connected)
            }
            Err(error) => Err(self.lost(error)),
        }
    }

    fn lost(&mut self, error: Error) -> Error {
        self.stream = None;
        self.pending = Vec::new().into_iter();
        self.failures = self.failures.saturating_add(1);
        // A loss is legal in every state and carries nothing to decode.
        match self.machine.step::<serde::de::IgnoredAny>(Input::Lost { expired: error.is_expired() }) {
            Ok(_) => error,
            Err(refused) => refused,
        }
    }
}

fn delay(failures: u32) -> Duration {
    Backoff::RECONNECT.delay(failures, rand::random())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn event(kind: Type, name: &str, revision: i64) -> Input {
        let object = format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":"{revision}"}}}}"#);
        Input::Event(v1::WatchEvent {
            r#type: kind.into(),
            object: object.into(),
            resource_version: revision,
            initial_events_end: false,
        })
    }

    fn bookmark(revision: i64, end: bool) -> Input {
        Input::Event(v1::WatchEvent {
            r#type: Type::Bookmark.into(),
            object: Default::default(),
            resource_version: revision,
            initial_events_end: end,
        })
    }

    fn live(revision: i64) -> Machine {
        let mut machine = Machine::new();
        machine.step::<ConfigMap>(Input::Connected).unwrap();
        machine.step::<ConfigMap>(bookmark(revision, true)).unwrap();
        machine
    }

    #[test]
    fn the_first_copy_is_whole_before_changes_arrive() {
        let mut machine = Machine::new();
        assert!(machine.request().send_initial_events);
        assert_eq!(machine.step::<ConfigMap>(Input::Connected).unwrap(), Some(Event::Init));
        let added = machine.step::<ConfigMap>(event(Type::Added, "a", 3)).unwrap();
        assert!(matches!(added, Some(Event::InitApply(object)) if object.metadata.name.as_deref() == Some("a")));
        assert_eq!(machine.step::<ConfigMap>(bookmark(5, true)).unwrap(), Some(Event::InitDone(5)));
        assert!(matches!(machine.step::<ConfigMap>(event(Type::Deleted, "a", 6)).unwrap(), Some(Event::Delete(_))));
        assert_eq!(machine.state(), State::Live(6));
    }

    #[test]
    fn a_lost_connection_resumes_after_the_last_version() {
        let mut machine = live(5);
        machine.step::<ConfigMap>(event(Type::Modified, "a", 9)).unwrap();
        machine.step::<ConfigMap>(Input::Lost { expired: false }).unwrap();
        assert_eq!(machine.state(), State::Resuming(9));
        assert_eq!(machine.request().resource_version, "9");
        assert_eq!(machine.step::<ConfigMap>(Input::Connected).unwrap(), None);
        assert_eq!(machine.state(), State::Live(9));
    }

    #[test]
    fn an_expired_version_and_a_broken_start_begin_anew() {
        let mut machine = live(5);
        machine.step::<ConfigMap>(Input::Lost { expired: true }).unwrap();
        assert_eq!(machine.state(), State::Empty);
        machine.step::<ConfigMap>(Input::Connected).unwrap();
        machine.step::<ConfigMap>(event(Type::Added, "a", 3)).unwrap();
        machine.step::<ConfigMap>(Input::Lost { expired: false }).unwrap();
        assert_eq!(machine.state(), State::Empty);
    }

    #[test]
    fn an_event_out_of_place_is_an_error_and_no_panic() {
        let mut machine = Machine::new();
        assert!(machine.step::<ConfigMap>(event(Type::Modified, "a", 3)).is_err());
        let mut machine = live(1);
        assert!(machine.step::<ConfigMap>(Input::Event(v1::WatchEvent::default())).is_err());
    }
}
