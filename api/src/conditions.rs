//! Conditions of an object's status: lists of types with a status, a reason and a time of change.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentCondition, ReplicaSetCondition};
use k8s_openapi::api::core::v1::{NamespaceCondition, NodeCondition, PodCondition};

use crate::meta::{Condition, Time};

/// What all kinds of conditions share.
pub trait AnyCondition {
    /// For instance `Ready`.
    fn kind(&self) -> &str;
    /// `True`, `False` or `Unknown`.
    fn status(&self) -> &str;
    /// Sets when the status last changed.
    fn set_transition_time(&mut self, time: Option<Time>);
    /// When the status last changed.
    fn transition_time(&self) -> Option<&Time>;
}

macro_rules! condition {
    ($($type:ty)*) => {$(
        impl AnyCondition for $type {
            fn kind(&self) -> &str {
                &self.type_
            }
            fn status(&self) -> &str {
                &self.status
            }
            fn set_transition_time(&mut self, time: Option<Time>) {
                self.last_transition_time = time;
            }
            fn transition_time(&self) -> Option<&Time> {
                self.last_transition_time.as_ref()
            }
        }
    )*};
}

condition!(PodCondition NodeCondition NamespaceCondition DeploymentCondition ReplicaSetCondition);

impl AnyCondition for Condition {
    fn kind(&self) -> &str {
        &self.type_
    }
    fn status(&self) -> &str {
        &self.status
    }
    fn set_transition_time(&mut self, time: Option<Time>) {
        if let Some(time) = time {
            self.last_transition_time = time;
        }
    }
    fn transition_time(&self) -> Option<&Time> {
        Some(&self.last_transition_time)
    }
}

/// The condition of a type.
pub fn get<'a, C: AnyCondition>(conditions: &'a [C], kind: &str) -> Option<&'a C> {
    conditions.iter().find(|condition| condition.kind() == kind)
}

/// Whether the condition of a type is there with status `True`.
pub fn is_true<C: AnyCondition>(conditions: &[C], kind: &str) -> bool {
    get(conditions, kind).is_some_and(|condition| condition.status() == "True")
}

/// Puts a condition into the list in place of the one of its type. Its transition time becomes that of
/// the replaced one when the status is the same, `now` otherwise. Says whether anything but times
/// changed.
pub fn set<C: AnyCondition + PartialEq>(conditions: &mut Vec<C>, mut condition: C, now: Timestamp) -> bool {
    match conditions.iter_mut().find(|old| old.kind() == condition.kind()) {
        Some(old) => {
            let time =
                if old.status() == condition.status() { old.transition_time().cloned() } else { Some(Time(now)) };
            condition.set_transition_time(time);
            let changed = *old != condition;
            *old = condition;
            changed
        }
        None => {
            condition.set_transition_time(Some(Time(now)));
            conditions.push(condition);
            true
        }
    }
}

/// Removes the condition of a type; says whether it was there.
pub fn remove<C: AnyCondition>(conditions: &mut Vec<C>, kind: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.kind() != kind);
    conditions.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_follows_the_status() {
        let ready =
            |status: &str| PodCondition { type_: "Ready".into(), status: status.into(), ..PodCondition::default() };
        let (first, later) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(9).unwrap());
        let mut conditions = Vec::new();
        assert!(set(&mut conditions, ready("False"), first));
        assert!(!set(&mut conditions, ready("False"), later));
        assert_eq!(conditions[0].last_transition_time, Some(Time(first)));
        assert!(set(&mut conditions, ready("True"), later));
        assert_eq!(conditions[0].last_transition_time, Some(Time(later)));
        assert!(is_true(&conditions, "Ready"));
        assert!(remove(&mut conditions, "Ready"));
    }
}
