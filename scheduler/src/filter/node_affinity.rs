//! NodeAffinity: the node's labels must match `nodeSelector` and one term of the required node affinity.

use crate::model::{NodeFacts, PodTemplate, Requirement};

/// Whether the node matches what the pod requires of nodes.
pub fn admits(pod: &PodTemplate, node: &NodeFacts) -> bool {
    Requirement::all_admit(&pod.node_selector, &node.labels)
        && pod
            .required_terms
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|term| term.admits(&node.name, &node.labels)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Term};

    #[test]
    fn the_selector_and_one_term_must_match() {
        let node = NodeFacts {
            name: "n".into(),
            labels: Labels::from_iter([("disk", "ssd"), ("zone", "a")]),
            ..NodeFacts::default()
        };
        let term = |key, value| Term { expressions: [Requirement::equals(key, value)].into(), fields: [].into() };
        let pod = |selector: &[(&str, &str)], terms: Option<Box<[Term]>>| PodTemplate {
            node_selector: selector.iter().map(|(key, value)| Requirement::equals(key, value)).collect(),
            required_terms: terms,
            ..PodTemplate::default()
        };
        assert!(admits(&pod(&[], None), &node));
        assert!(admits(&pod(&[("disk", "ssd")], None), &node));
        assert!(!admits(&pod(&[("disk", "hdd")], None), &node));
        assert!(admits(&pod(&[], Some([term("zone", "b"), term("zone", "a")].into())), &node));
        assert!(!admits(&pod(&[], Some([term("zone", "b")].into())), &node));
        assert!(!admits(&pod(&[("disk", "hdd")], Some([term("zone", "a")].into())), &node));
        assert!(!admits(&pod(&[], Some([].into())), &node), "no term, no node");
    }
}
