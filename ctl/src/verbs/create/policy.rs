//! `rctl create quota`, `create poddisruptionbudget`, `create priorityclass`.

use clap::{Args, ValueEnum};
use reeve_api::quantity::Quantity;
use reeve_api::selector::{LabelSelector, Operator};
use serde_json::{Map, Value, json};

use super::{Made, Named};
use crate::errors::{Failure, Outcome, fail};

/// `rctl create quota`.
#[derive(Args, Debug)]
pub struct QuotaArgs {
    #[command(flatten)]
    named: Named,
    /// A comma-delimited set of resource=quantity pairs that define a hard limit
    #[arg(long, value_name = "RESOURCE=QUANTITY", value_delimiter = ',')]
    hard: Vec<String>,
    /// A comma-delimited set of quota scopes that must all match each object tracked by the quota
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,
}

impl QuotaArgs {
    /// The quota.
    pub fn object(self) -> Outcome<Made> {
        let name = self.named.name("rctl create quota")?;
        let mut spec = Map::new();
        if !self.hard.is_empty() {
            spec.insert("hard".to_owned(), Value::Object(amounts(&self.hard)?));
        }
        if !self.scopes.is_empty() {
            spec.insert("scopes".to_owned(), json!(self.scopes));
        }
        let object = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec, "status": {}});
        Ok(self.named.made(object))
    }
}

/// `cpu=1`, `memory=2Gi` as a map of quantities.
pub fn amounts(pairs: &[String]) -> Outcome<Map<String, Value>> {
    let mut map = Map::new();
    for pair in pairs {
        let Some((resource, amount)) = pair.split_once('=').filter(|(resource, _)| !resource.is_empty()) else {
            return fail(format!("Invalid argument syntax {pair}, expected <resource>=<value>"));
        };
        if amount.parse::<Quantity>().is_err() {
            return fail("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
        }
        map.insert(resource.to_owned(), json!(Quantity::canonical(amount)));
    }
    Ok(map)
}

/// `rctl create poddisruptionbudget`.
#[derive(Args, Debug)]
pub struct BudgetArgs {
    #[command(flatten)]
    named: Named,
    /// A label selector to use for this budget
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// The minimum number or percentage of available pods this budget requires
    #[arg(long, value_name = "N", default_value = "", hide_default_value = true)]
    min_available: String,
    /// The maximum number or percentage of unavailable pods this budget requires
    #[arg(long, value_name = "N", default_value = "", hide_default_value = true)]
    max_unavailable: String,
}

impl BudgetArgs {
    /// The budget.
    pub fn object(self) -> Outcome<Made> {
        let name = self.named.name("rctl create poddisruptionbudget")?;
        if self.selector.is_empty() {
            return fail("a selector must be specified");
        }
        let (field, amount) = match (self.min_available.as_str(), self.max_unavailable.as_str()) {
            ("", "") => return fail("one of min-available or max-unavailable must be specified"),
            (amount, "") => ("minAvailable", amount),
            ("", amount) => ("maxUnavailable", amount),
            _ => return fail("min-available and max-unavailable cannot be both specified"),
        };
        let mut spec = json!({"selector": selector(&self.selector)?});
        spec[field] = amount.parse::<i32>().map_or_else(|_| json!(amount), |number| json!(number));
        let object = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec,
            "status": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0},
        });
        Ok(self.named.made(object))
    }
}

/// A selector's text as the object that the API has for it.
pub fn selector(text: &str) -> Outcome<Value> {
    let parsed = LabelSelector::parse(text).map_err(|error| Failure::Message(error.to_string()))?;
    let mut object = Map::new();
    for requirement in parsed.requirements() {
        let values: Vec<&str> = requirement.values().collect();
        let (operator, values) = match (requirement.operator(), values.as_slice()) {
            (Operator::Equals, [value]) => {
                object.entry("matchLabels").or_insert_with(|| json!({}))[requirement.key()] = json!(value);
                continue;
            }
            (Operator::In, values) => ("In", values),
            (Operator::NotIn, values) => ("NotIn", values),
            (Operator::Exists, values) => ("Exists", values),
            (Operator::DoesNotExist, values) => ("DoesNotExist", values),
            (other, _) => {
                let sign = match other {
                    Operator::NotEquals => "!=",
                    Operator::GreaterThan => "gt",
                    Operator::LessThan => "lt",
                    _ => "=",
                };
                return fail(format!("{sign:?} is not a valid label selector operator"));
            }
        };
        let mut expression = json!({"key": requirement.key(), "operator": operator});
        if !values.is_empty() {
            expression["values"] = json!(values);
        }
        if let Some(list) = object.entry("matchExpressions").or_insert_with(|| json!([])).as_array_mut() {
            list.push(expression);
        }
    }
    Ok(Value::Object(object))
}

/// `rctl create priorityclass`.
#[derive(Args, Debug)]
pub struct PriorityClassArgs {
    #[command(flatten)]
    named: Named,
    /// The value of this priority class
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    value: i32,
    /// Specifies whether this PriorityClass should be considered as the default priority
    #[arg(long)]
    global_default: bool,
    /// An arbitrary string that usually provides guidelines on when this priority class should be used
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// The policy for preempting pods with lower priority
    #[arg(long, value_enum, value_name = "POLICY", default_value = "PreemptLowerPriority")]
    preemption_policy: Preemption,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Preemption {
    PreemptLowerPriority,
    Never,
}

impl PriorityClassArgs {
    /// The class.
    pub fn object(self) -> Outcome<Made> {
        let name = self.named.name("rctl create priorityclass")?;
        let policy = if self.preemption_policy == Preemption::Never { "Never" } else { "PreemptLowerPriority" };
        let mut object = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": self.value, "preemptionPolicy": policy,
        });
        if self.global_default {
            object["globalDefault"] = json!(true);
        }
        if !self.description.is_empty() {
            object["description"] = json!(self.description);
        }
        Ok(self.named.made(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_become_objects() {
        assert_eq!(
            selector("a=b,c in (d,e),!f").expect("a selector"),
            json!({"matchLabels": {"a": "b"}, "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["d", "e"]}, {"key": "f", "operator": "DoesNotExist"}]})
        );
        assert_eq!(
            selector("a!=b").expect_err("refused").text(),
            "error: \"!=\" is not a valid label selector operator"
        );
    }

    #[test]
    fn amounts_are_quantities() {
        assert_eq!(amounts(&["cpu=1000m".into()]).expect("fine")["cpu"], "1");
        assert!(amounts(&["cpu".into()]).is_err());
        assert!(amounts(&["cpu=x".into()]).is_err());
    }
}
