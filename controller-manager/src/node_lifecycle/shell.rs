//! Remembers when each node was last seen alive, reads the stores for one node, and performs what is decided.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use reeve_api::ObjectKey;
use reeve_client::Next;

use super::Observed;
use crate::leases::NODE_NAMESPACE;
use crate::manager::{Context, TurnError};
use crate::stores::BY_NODE;

/// Signs of life, by node: what the node said, and when this process saw it change. The node's clock is not used.
#[derive(Debug, Default)]
pub struct Pulse {
    seen: HashMap<String, (Sign, Timestamp)>,
}

type Sign = (Option<Timestamp>, Option<Timestamp>);

impl Pulse {
    /// When the present sign was first seen.
    fn alive_at(&mut self, node: &str, sign: Sign, now: Timestamp) -> Timestamp {
        match self.seen.get(node) {
            Some((known, at)) if *known == sign => *at,
            _ => {
                self.seen.insert(node.to_owned(), (sign, now));
                now
            }
        }
    }
}

/// One turn.
pub async fn turn(context: Arc<Context>, name: String) -> Result<Next, TurnError> {
    let stores = &context.stores;
    let Some(node) = stores.nodes.get(&ObjectKey::cluster(name.as_str())) else {
        context.pulse.lock().seen.remove(&name);
        return Ok(Next::Done);
    };
    let now = Timestamp::now();
    let lease = stores.leases.nodes.get(&ObjectKey::new(NODE_NAMESPACE, name.as_str()));
    let sign = (lease.and_then(|lease| lease.renewed()), node.heartbeat());
    let alive_at = context.pulse.lock().alive_at(&name, sign, now);
    let is_ready = |node: &crate::view::NodeView| node.condition("Ready").is_some_and(|ready| ready.status == "True");
    let any_ready = is_ready(&node) || stores.nodes.list().iter().any(|node| is_ready(node));
    let pods = stores.pods.indexed(BY_NODE, &name);
    let grace = context.settings.node_monitor_grace_period;
    let observed = Observed { node: &node, alive_at, grace, any_ready, pods: &pods };
    let actions = super::reconcile(&observed, now);
    context.perform(actions).await
}
