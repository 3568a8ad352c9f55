//! Labels and the requirements on them: node selectors, node affinity and label selectors are the same rule.

/// Labels as sorted pairs; a tenth of the memory of a map for the few that objects have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }
}

impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<(Box<str>, Box<str>)> = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        pairs.sort();
        pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        Self(pairs.into())
    }
}

/// How a requirement compares a label with its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label has none of the values, or is absent.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label is an integer greater than the value.
    Gt,
    /// The label is an integer less than the value.
    Lt,
    /// An operator that this version does not know: it matches nothing.
    Unknown,
}

impl From<&str> for Operator {
    fn from(word: &str) -> Self {
        match word {
            "In" => Self::In,
            "NotIn" => Self::NotIn,
            "Exists" => Self::Exists,
            "DoesNotExist" => Self::DoesNotExist,
            "Gt" => Self::Gt,
            "Lt" => Self::Lt,
            _ => Self::Unknown,
        }
    }
}

/// One requirement on a label (or, in `matchFields`, on `metadata.name`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's name.
    pub key: Box<str>,
    /// How it compares.
    pub operator: Operator,
    /// What it compares with.
    pub values: Box<[Box<str>]>,
}

impl Requirement {
    /// `key in (value)`.
    pub fn equals(key: &str, value: &str) -> Self {
        Self { key: key.into(), operator: Operator::In, values: [value.into()].into() }
    }

    /// Whether a label's value (or its absence) meets the requirement.
    pub fn admits(&self, value: Option<&str>) -> bool {
        let among = |value: &str| self.values.iter().any(|wanted| &**wanted == value);
        match self.operator {
            Operator::In => value.is_some_and(among),
            Operator::NotIn => !value.is_some_and(among),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => self.numbers(value).is_some_and(|(label, bound)| label > bound),
            Operator::Lt => self.numbers(value).is_some_and(|(label, bound)| label < bound),
            Operator::Unknown => false,
        }
    }

    fn numbers(&self, value: Option<&str>) -> Option<(i64, i64)> {
        let [bound] = &*self.values else { return None };
        Some((value?.parse().ok()?, bound.parse().ok()?))
    }

    /// Whether labels meet all requirements.
    pub fn all_admit(requirements: &[Requirement], labels: &Labels) -> bool {
        requirements.iter().all(|requirement| requirement.admits(labels.get(&requirement.key)))
    }
}

/// A term of node affinity: all of its expressions and all of its fields must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Term {
    /// On labels.
    pub expressions: Box<[Requirement]>,
    /// On `metadata.name`, the only field that nodes are selected by.
    pub fields: Box<[Requirement]>,
}

impl Term {
    /// Whether a node meets the term. An empty term meets nothing, as upstream has it.
    pub fn admits(&self, name: &str, labels: &Labels) -> bool {
        if self.expressions.is_empty() && self.fields.is_empty() {
            return false;
        }
        Requirement::all_admit(&self.expressions, labels)
            && self.fields.iter().all(|field| &*field.key == "metadata.name" && field.admits(Some(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(operator: &str, values: &[&str]) -> Requirement {
        let values = values.iter().map(|&value| value.into()).collect();
        Requirement { key: "k".into(), operator: operator.into(), values }
    }

    #[test]
    fn each_operator_on_a_value_and_on_its_absence() {
        for (operator, values, on_two, on_none) in [
            ("In", &["1", "2"][..], true, false),
            ("In", &["1"], false, false),
            ("NotIn", &["1"], true, true),
            ("NotIn", &["2"], false, true),
            ("Exists", &[], true, false),
            ("DoesNotExist", &[], false, true),
            ("Gt", &["1"], true, false),
            ("Gt", &["2"], false, false),
            ("Lt", &["3"], true, false),
            ("Lt", &["x"], false, false),
            ("Near", &["2"], false, false),
        ] {
            let requirement = requirement(operator, values);
            assert_eq!(requirement.admits(Some("2")), on_two, "{operator} {values:?} on 2");
            assert_eq!(requirement.admits(None), on_none, "{operator} {values:?} on nothing");
        }
    }

    #[test]
    fn an_empty_term_meets_no_node_and_a_field_is_the_name() {
        let labels = Labels::from_iter([("zone", "a")]);
        assert!(!Term::default().admits("n1", &labels));
        let named = Term { fields: [Requirement::equals("metadata.name", "n1")].into(), ..Term::default() };
        assert!(named.admits("n1", &labels));
        assert!(!named.admits("n2", &labels));
    }

    #[test]
    fn labels_are_found_by_name() {
        let labels = Labels::from_iter([("b", "2"), ("a", "1"), ("c", "3")]);
        assert_eq!(labels.get("a"), Some("1"));
        assert_eq!(labels.get("c"), Some("3"));
        assert_eq!(labels.get("d"), None);
    }
}
