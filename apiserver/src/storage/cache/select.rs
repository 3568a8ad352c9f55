//! What a list or watch selects, and whether an entry is selected.

use super::entry::{Entry, Term};

/// A selection of objects of one resource: the intersection of its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only this name (`metadata.name=`).
    pub name: Option<String>,
    /// All must hold.
    pub labels: Vec<LabelRequirement>,
    /// All must hold. `metadata.name` and `metadata.namespace` work for every resource.
    pub fields: Vec<FieldRequirement>,
}

/// A condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRequirement {
    /// The label's key.
    pub key: String,
    /// What must hold of it.
    pub operator: LabelOperator,
}

/// What must hold of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelOperator {
    /// It has one of these values.
    In(Vec<String>),
    /// It is absent or has none of these values.
    NotIn(Vec<String>),
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
    /// It is an integer greater than this.
    GreaterThan(i64),
    /// It is an integer less than this.
    LessThan(i64),
}

/// A condition on one selectable field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// For instance `spec.nodeName`.
    pub path: String,
    /// The value; a field that is not set counts as empty.
    pub value: String,
    /// Whether the field must be equal to the value, else different from it.
    pub equal: bool,
}

impl LabelRequirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            LabelOperator::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            LabelOperator::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
            LabelOperator::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            LabelOperator::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl Selector {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// The objects of a namespace; all namespaces when it is empty.
    pub fn namespace(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()).filter(|name| !name.is_empty()), ..Self::default() }
    }

    /// Adds `key=value` on a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        let operator = LabelOperator::In(vec![value.to_owned()]);
        self.labels.push(LabelRequirement { key: key.to_owned(), operator });
        self
    }

    /// Adds `path=value` on a field.
    pub fn field(mut self, path: &str, value: &str) -> Self {
        self.fields.push(FieldRequirement { path: path.to_owned(), value: value.to_owned(), equal: true });
        self
    }

    /// Moves conditions on `metadata.name` and `metadata.namespace` to where they are cheap. `None` when
    /// two conditions exclude each other, so that nothing is selected.
    pub(crate) fn normalized(mut self) -> Option<Self> {
        let mut possible = true;
        let (name, namespace) = (&mut self.name, &mut self.namespace);
        self.fields.retain(|field| {
            let place = match field.path.as_str() {
                "metadata.name" if field.equal => &mut *name,
                "metadata.namespace" if field.equal => &mut *namespace,
                _ => return true,
            };
            match place {
                Some(present) => possible &= *present == field.value,
                None => *place = Some(field.value.clone()),
            }
            false
        });
        possible.then_some(self)
    }

    /// Whether conditions beyond namespace and name are made.
    pub(crate) fn is_filtered(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }

    /// Whether an entry is selected.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == entry.namespace())
            && self.name.as_deref().is_none_or(|name| name == entry.name())
            && self.labels.iter().all(|label| label.matches(entry.label(&label.key)))
            && self.fields.iter().all(|field| (entry.field(&field.path) == field.value) == field.equal)
    }

    /// The term that an index knows and that every selected object has; the most selective one.
    pub(crate) fn term(&self) -> Option<Term> {
        let field = self
            .fields
            .iter()
            .find(|field| field.equal && !field.value.is_empty() && !field.path.starts_with("metadata."))
            .map(|field| Term::field(&field.path, &field.value));
        field.or_else(|| {
            self.labels.iter().find_map(|label| match &label.operator {
                LabelOperator::In(values) if values.len() == 1 => Some(Term::label(&label.key, &values[0])),
                _ => None,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(operator: LabelOperator) -> LabelRequirement {
        LabelRequirement { key: "k".into(), operator }
    }

    #[test]
    fn label_operators_follow_upstream() {
        let cases = [
            (LabelOperator::In(vec!["1".into(), "2".into()]), [true, false, false]),
            (LabelOperator::NotIn(vec!["1".into()]), [false, true, true]),
            (LabelOperator::Exists, [true, true, false]),
            (LabelOperator::DoesNotExist, [false, false, true]),
            (LabelOperator::GreaterThan(0), [true, false, false]),
            (LabelOperator::LessThan(2), [true, false, false]),
        ];
        for (operator, expected) in cases {
            let found = [Some("1"), Some("x"), None].map(|value| requirement(operator.clone()).matches(value));
            assert_eq!(found, expected, "{operator:?}");
        }
    }

    #[test]
    fn fields_of_the_key_move_and_contradictions_select_nothing() {
        let selector = Selector::namespace("a").field("metadata.name", "x").normalized().unwrap();
        assert_eq!((selector.name.as_deref(), selector.fields.len()), (Some("x"), 0));
        assert_eq!(Selector::namespace("a").field("metadata.namespace", "b").normalized(), None);
    }
}
