//! Names of ReplicaSets: a hash of the pod template and of the number of collisions so far.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use reeve_api::meta::MetaExt as _;
use serde_json::json;

use super::revision::same_template;
use crate::action::Action;
use crate::object::to_json;

/// Letters and digits that make no words, as upstream's `rand.SafeEncodeString`.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template: FNV-1a over its JSON and the collision count, in safe letters.
pub fn hash_of(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let text = to_json(template).to_string();
    let collisions = collisions.map(|count| count.to_le_bytes()).unwrap_or_default();
    let bytes = text.bytes().chain(collisions);
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(SAFE[usize::from(digit) % SAFE.len()])).collect()
}

/// What to do when the name of a new ReplicaSet is taken by `existing`: nothing when it is the Deployment's own with
/// the same template, else count a collision, which changes the name of the next attempt.
pub fn collision(deployment: &Deployment, existing: &ReplicaSet) -> Option<Action> {
    let own = existing.metadata.controller().is_some_and(|owner| owner.uid == deployment.metadata.uid());
    let spec = deployment.spec.as_ref()?;
    if own && same_template(spec, existing) {
        return None;
    }
    let count = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    Some(super::patch_status(deployment, json!({"collisionCount": count.saturating_add(1)})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collision_changes_the_hash() {
        let template = PodTemplateSpec::default();
        let hashes = [hash_of(&template, None), hash_of(&template, Some(1)), hash_of(&template, Some(2))];
        assert_ne!(hashes[0], hashes[1]);
        assert_ne!(hashes[1], hashes[2]);
        assert!(hashes.iter().flat_map(|hash| hash.bytes()).all(|byte| SAFE.contains(&byte)));
    }
}
