//! Owner references that an object has twice: the second one goes, and the user is told.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use reeve_api::ObjectMeta;

/// When they were found: in what the client sent.
pub(super) const SENT: &str = "";
/// When they were found: in what a patch made.
pub(super) const PATCHED: &str = " after mutating admission happens";

/// Keeps the first of equal references; the warning if there were any. Texts from upstream's
/// `endpoints/handlers/rest.go`.
pub(super) fn keep_first(metadata: &mut ObjectMeta, when: &str) -> Option<String> {
    let references = metadata.owner_references.as_mut().filter(|references| references.len() > 1)?;
    let mut kept: Vec<OwnerReference> = Vec::with_capacity(references.len());
    let mut doubled = Vec::new();
    for reference in std::mem::take(references) {
        if kept.contains(&reference) {
            doubled.push(reference.uid);
        } else {
            kept.push(reference);
        }
    }
    *references = kept;
    (!doubled.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, \
             and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            doubled.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_references_are_one() {
        let owner = |name: &str, uid: &str| OwnerReference { name: name.into(), uid: uid.into(), ..Default::default() };
        let of = |all: &[OwnerReference]| ObjectMeta { owner_references: Some(all.to_vec()), ..Default::default() };
        let mut metadata = of(&[owner("a", "1"), owner("b", "2"), owner("a", "1"), owner("c", "1"), owner("b", "2")]);
        let told = keep_first(&mut metadata, SENT).unwrap();
        assert!(told.starts_with(".metadata.ownerReferences contains duplicate entries; API server"), "{told}");
        assert!(told.ends_with("duplicate UID(s) observed: 1, 2"), "{told}");
        assert_eq!(metadata, of(&[owner("a", "1"), owner("b", "2"), owner("c", "1")]));
        assert_eq!(keep_first(&mut metadata, PATCHED), None);
    }
}
