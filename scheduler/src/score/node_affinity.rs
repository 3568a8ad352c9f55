//! NodeAffinity: the weights of the preferred terms that the node matches add up.

use crate::model::{NodeFacts, PodTemplate};

/// The sum of the weights that the node earns; more is better ([`super::normalize`]).
pub fn raw(pod: &PodTemplate, node: &NodeFacts) -> i64 {
    let earned = pod.preferred_terms.iter().filter(|(_, term)| term.admits(&node.name, &node.labels));
    earned.map(|(weight, _)| weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Requirement, Term};

    #[test]
    fn weights_of_matching_terms_add_up() {
        let term = |value| Term { expressions: [Requirement::equals("zone", value)].into(), fields: [].into() };
        let preferred_terms = [(10, term("a")), (5, term("b")), (1, term("a"))].into();
        let pod = PodTemplate { preferred_terms, ..PodTemplate::default() };
        let node = |zone| NodeFacts { labels: Labels::from_iter([("zone", zone)]), ..NodeFacts::default() };
        assert_eq!((raw(&pod, &node("a")), raw(&pod, &node("b")), raw(&pod, &node("c"))), (11, 5, 0));
    }
}
