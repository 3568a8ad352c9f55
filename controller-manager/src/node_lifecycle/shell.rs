//! Remembers when each node was last seen alive, reads the stores for one node, and performs what is decided.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use reeve_api::ObjectKey;
use reeve_client::Next;

use super::{Noticed, Observed, name_of};
use crate::leases::NODE_NAMESPACE;
use crate::manager::{Context, TurnError};
use crate::stores::BY_NODE;

/// Signs of life, by node: what the node said, and when this process saw it change. The node's clock is not used.
#[derive(Debug, Default)]
pub struct Pulse {
    seen: HashMap<String, (Sign, Timestamp)>,
    taints: HashMap<String, Noticed>,
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

    /// Since when a node has the `NoExecute` taints that do not tell it; those that went are forgotten.
    fn noticed(&mut self, node: &str, taints: &[Taint], now: Timestamp) -> Noticed {
        let silent = taints.iter().filter(|taint| taint.effect == "NoExecute" && taint.time_added.is_none());
        let known = self.taints.remove(node).unwrap_or_default();
        let noticed: Noticed =
            silent.map(name_of).map(|name| (name.clone(), known.get(&name).copied().unwrap_or(now))).collect();
        if !noticed.is_empty() {
            self.taints.insert(node.to_owned(), noticed.clone());
        }
        noticed
    }
}

/// One turn.
pub async fn turn(context: Arc<Context>, name: String) -> Result<Next, TurnError> {
    let stores = &context.stores;
    let Some(node) = stores.nodes.get(&ObjectKey::cluster(name.as_str())) else {
        let mut pulse = context.pulse.lock();
        pulse.seen.remove(&name);
        pulse.taints.remove(&name);
        return Ok(Next::Done);
    };
    let now = Timestamp::now();
    let lease = stores.leases.nodes.get(&ObjectKey::new(NODE_NAMESPACE, name.as_str()));
    let sign = (lease.and_then(|lease| lease.renewed()), node.heartbeat());
    let (alive_at, noticed) = {
        let mut pulse = context.pulse.lock();
        (pulse.alive_at(&name, sign, now), pulse.noticed(&name, &node.spec.taints, now))
    };
    let is_ready = |node: &crate::view::NodeView| node.condition("Ready").is_some_and(|ready| ready.status == "True");
    let any_ready = is_ready(&node) || stores.nodes.list().iter().any(|node| is_ready(node));
    let pods = stores.pods.indexed(BY_NODE, &name);
    let grace = context.settings.node_monitor_grace_period;
    let observed = Observed { node: &node, alive_at, grace, any_ready, pods: &pods, noticed: &noticed };
    let actions = super::reconcile(&observed, now);
    context.perform(actions).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_noticed_once_and_forgotten_when_they_go() {
        let taint = |key: &str, effect: &str| Taint { key: key.into(), effect: effect.into(), ..Taint::default() };
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut pulse = Pulse::default();
        let both = [taint("a", "NoExecute"), taint("b", "NoSchedule")];
        let expected: Noticed = [(("a".to_owned(), String::new()), at(1))].into();
        assert_eq!(pulse.noticed("n", &both, at(1)), expected);
        assert_eq!(pulse.noticed("n", &both, at(5)), expected);
        assert!(pulse.noticed("n", &both[1..], at(6)).is_empty());
        assert_eq!(pulse.noticed("n", &both, at(7)).into_values().collect::<Vec<_>>(), [at(7)]);
    }
}
