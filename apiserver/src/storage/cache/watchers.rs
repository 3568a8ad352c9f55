//! The watchers of a resource, indexed by what they select: a change costs nothing for those that it
//! cannot concern. Each has a bounded queue; one that does not keep up is closed and never waited for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use reeve_api::StatusError;

use super::entry::{Entry, Term};
use super::event::{Event, EventKind};
use super::ring::Applied;
use super::select::Selector;

/// How much may wait for a watcher.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// At most so many events.
    pub events: usize,
    /// At most so many bytes of objects (shared with other watchers' queues).
    pub bytes: usize,
}

impl Default for QueueLimits {
    /// A second of changes at the rate that the store can write them.
    fn default() -> Self {
        Self { events: 4096, bytes: 16 << 20 }
    }
}

/// Why a watcher gets nothing more.
#[derive(Debug)]
enum Close {
    /// It was too slow; all up to this revision was taken from the queue.
    Slow { resume: i64 },
    /// The cache lost its history.
    Failed(StatusError),
}

#[derive(Debug, Default)]
struct Queue {
    events: Vec<Arc<Event>>,
    bytes: usize,
    closed: Option<Close>,
    ended: bool,
}

/// The cache's side of a watch.
#[derive(Debug)]
pub(crate) struct Watcher {
    id: u64,
    selector: Selector,
    /// Changes up to this revision are not for the queue: the watcher has them from elsewhere.
    after: i64,
    bookmarks: bool,
    limits: QueueLimits,
    queue: Mutex<Queue>,
    waker: AtomicWaker,
}

/// What a watcher finds in its queue.
pub(crate) enum Taken {
    Events(Vec<Arc<Event>>),
    /// Closed for slowness; resume after this revision.
    Slow(i64),
    Failed(StatusError),
    End,
}

impl Watcher {
    fn offer(&self, event: Arc<Event>) {
        {
            let mut queue = self.queue.lock();
            if queue.closed.is_some() || queue.ended {
                return;
            }
            queue.bytes += event.weight();
            queue.events.push(event);
            if queue.events.len() > self.limits.events || queue.bytes > self.limits.bytes {
                // What waits is given up, so that an idle consumer holds no memory; it resumes before it.
                let resume = queue.events[0].revision() - 1;
                queue.events = Vec::new();
                queue.bytes = 0;
                queue.closed = Some(Close::Slow { resume });
            }
        }
        self.waker.wake();
    }

    fn end(&self) {
        *self.queue.lock() = Queue { ended: true, ..Queue::default() };
        self.waker.wake();
    }

    fn fail(&self, error: StatusError) {
        self.queue.lock().closed.get_or_insert(Close::Failed(error));
        self.waker.wake();
    }

    pub fn poll(&self, context: &mut Context<'_>) -> Poll<Taken> {
        self.waker.register(context.waker());
        let mut queue = self.queue.lock();
        if queue.ended {
            return Poll::Ready(Taken::End);
        }
        if !queue.events.is_empty() {
            queue.bytes = 0;
            return Poll::Ready(Taken::Events(std::mem::take(&mut queue.events)));
        }
        match queue.closed.take() {
            None => Poll::Pending,
            Some(close) => {
                queue.ended = true;
                Poll::Ready(match close {
                    Close::Slow { resume } => Taken::Slow(resume),
                    Close::Failed(error) => Taken::Failed(error),
                })
            }
        }
    }

    /// Offers a bookmark, unless the watch begins later.
    pub fn announce(&self, bookmark: Arc<Event>) {
        if self.after <= bookmark.revision() {
            self.offer(bookmark);
        }
    }

    pub fn wants_bookmarks(&self) -> bool {
        self.bookmarks
    }
}

/// What a change is for a selector: what came in, changed within or went out, with the object to show.
pub(crate) fn classify<'a>(selector: &Selector, change: &'a Applied) -> Option<(EventKind, &'a Arc<Entry>)> {
    let selected = |entry: &&Arc<Entry>| selector.matches(entry);
    let previous = change.previous.as_ref().filter(selected);
    let current = change.current.as_ref().filter(selected);
    match (previous, current) {
        (None, Some(current)) => Some((EventKind::Added, current)),
        (Some(_), Some(current)) => Some((EventKind::Modified, current)),
        (Some(previous), None) => Some((EventKind::Deleted, previous)),
        (None, None) => None,
    }
}

/// The events that a change becomes, made when the first watcher needs them.
struct Shared<'a> {
    change: &'a Applied,
    made: [Option<Arc<Event>>; 3],
}

impl Shared<'_> {
    fn event(&mut self, kind: EventKind, entry: &Arc<Entry>) -> Arc<Event> {
        let place = match kind {
            EventKind::Added => &mut self.made[0],
            EventKind::Modified => &mut self.made[1],
            EventKind::Deleted | EventKind::Bookmark => &mut self.made[2],
        };
        place.get_or_insert_with(|| Arc::new(Event::of(kind, entry.clone(), self.change.revision))).clone()
    }

    fn deliver(&mut self, watchers: &[Arc<Watcher>]) {
        for watcher in watchers {
            if self.change.revision <= watcher.after {
                continue;
            }
            if let Some((kind, entry)) = classify(&watcher.selector, self.change) {
                watcher.offer(self.event(kind, entry));
            }
        }
    }
}

/// Where a watcher is filed; each in one place.
#[derive(Clone, Debug)]
enum Slot {
    All,
    Name(String),
    Namespace(String),
    Term(Term),
}

impl Slot {
    fn of(selector: &Selector) -> Slot {
        if let Some(name) = &selector.name {
            Slot::Name(name.clone())
        } else if let Some(term) = selector.term() {
            Slot::Term(term)
        } else if let Some(namespace) = &selector.namespace {
            Slot::Namespace(namespace.clone())
        } else {
            Slot::All
        }
    }
}

/// All watchers of a resource.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    all: Vec<Arc<Watcher>>,
    by_name: HashMap<String, Vec<Arc<Watcher>>>,
    by_namespace: HashMap<String, Vec<Arc<Watcher>>>,
    by_term: HashMap<Term, Vec<Arc<Watcher>>>,
    next_id: u64,
    /// Whether watches end as soon as they begin.
    over: bool,
}

impl Watchers {
    /// Files a watcher. `selector` must be normalized.
    pub fn add(&mut self, selector: Selector, after: i64, bookmarks: bool, limits: QueueLimits) -> Arc<Watcher> {
        self.next_id += 1;
        let slot = Slot::of(&selector);
        let watcher = Arc::new(Watcher {
            id: self.next_id,
            selector,
            after,
            bookmarks,
            limits,
            queue: Mutex::new(Queue { ended: self.over, ..Queue::default() }),
            waker: AtomicWaker::new(),
        });
        let place = match slot {
            Slot::All => &mut self.all,
            Slot::Name(name) => self.by_name.entry(name).or_default(),
            Slot::Namespace(namespace) => self.by_namespace.entry(namespace).or_default(),
            Slot::Term(term) => self.by_term.entry(term).or_default(),
        };
        place.push(watcher.clone());
        watcher
    }

    pub fn remove(&mut self, watcher: &Watcher) {
        fn drop_from<K: Eq + Hash>(map: &mut HashMap<K, Vec<Arc<Watcher>>>, key: &K, id: u64) {
            if let Some(watchers) = map.get_mut(key) {
                watchers.retain(|one| one.id != id);
                if watchers.is_empty() {
                    map.remove(key);
                }
            }
        }
        match Slot::of(&watcher.selector) {
            Slot::All => self.all.retain(|one| one.id != watcher.id),
            Slot::Name(name) => drop_from(&mut self.by_name, &name, watcher.id),
            Slot::Namespace(namespace) => drop_from(&mut self.by_namespace, &namespace, watcher.id),
            Slot::Term(term) => drop_from(&mut self.by_term, &term, watcher.id),
        }
    }

    /// Gives a change to the watchers that it concerns.
    pub fn dispatch(&self, change: &Applied) {
        let Some(entry) = change.current.as_ref().or(change.previous.as_ref()) else { return };
        let mut shared = Shared { change, made: [None, None, None] };
        shared.deliver(&self.all);
        if !self.by_name.is_empty()
            && let Some(watchers) = self.by_name.get(entry.name())
        {
            shared.deliver(watchers);
        }
        if !self.by_namespace.is_empty()
            && let Some(watchers) = self.by_namespace.get(entry.namespace())
        {
            shared.deliver(watchers);
        }
        if !self.by_term.is_empty() {
            let current = change.current.as_ref().map_or(&[][..], |entry| entry.terms());
            let previous = change.previous.as_ref().map_or(&[][..], |entry| entry.terms());
            for term in current.iter().chain(previous.iter().filter(|term| !current.contains(term))) {
                if let Some(watchers) = self.by_term.get(&**term) {
                    shared.deliver(watchers);
                }
            }
        }
    }

    fn each(&self) -> impl Iterator<Item = &Arc<Watcher>> {
        let filed = self.by_name.values().chain(self.by_namespace.values()).chain(self.by_term.values());
        self.all.iter().chain(filed.flatten())
    }

    /// Tells those that asked that nothing is missing up to `revision`.
    pub fn bookmark(&self, event: &Arc<Event>) {
        for watcher in self.each() {
            if watcher.bookmarks && watcher.after <= event.revision() {
                watcher.offer(event.clone());
            }
        }
    }

    /// Ends all watches, and those that are filed from now on.
    pub fn end(&mut self) {
        self.over = true;
        for watcher in self.each() {
            watcher.end();
        }
    }

    /// Ends all watches with an error.
    pub fn fail(&self, error: &StatusError) {
        for watcher in self.each() {
            watcher.fail(error.clone());
        }
    }

    pub fn len(&self) -> usize {
        self.each().count()
    }
}
