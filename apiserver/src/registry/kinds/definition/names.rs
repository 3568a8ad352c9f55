//! Which names a definition gets: the first one in a group that asks for a name has it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition, CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Sets a condition; its time changes with its status only.
pub fn set_condition(status: &mut CustomResourceDefinitionStatus, mut condition: CustomResourceDefinitionCondition) {
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|own| own.type_ == condition.type_) {
        Some(own) => {
            if own.status == condition.status {
                condition.last_transition_time = own.last_transition_time.take();
            }
            *own = condition;
        }
        None => conditions.push(condition),
    }
}

fn condition(
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> CustomResourceDefinitionCondition {
    CustomResourceDefinitionCondition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(now)),
        ..CustomResourceDefinitionCondition::default()
    }
}

fn accepted(definition: &CustomResourceDefinition) -> CustomResourceDefinitionNames {
    definition.status.as_ref().and_then(|status| status.accepted_names.clone()).unwrap_or_default()
}

/// The status that a definition should have beside `others`. The rules and texts are those of upstream's naming
/// controller.
pub fn decide(
    definition: &CustomResourceDefinition,
    others: &[&CustomResourceDefinition],
    now: Timestamp,
) -> CustomResourceDefinitionStatus {
    let mut resources = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    let own = &definition.metadata.name;
    let same_group = |other: &&&CustomResourceDefinition| other.spec.group == definition.spec.group;
    for other in others.iter().filter(same_group).filter(|other| other.metadata.name != *own) {
        let names = accepted(other);
        resources.insert(names.plural);
        resources.extend(names.singular);
        resources.extend(names.short_names.unwrap_or_default());
        kinds.insert(names.kind);
        kinds.extend(names.list_kind);
    }
    let requested = &definition.spec.names;
    let mut names = accepted(definition);
    let mut refusal: Option<(&str, String)> = None;
    let taken = |name: &str| format!("{name:?} is already in use");
    let free = |name: &str, present: &str, used: &BTreeSet<String>| name == present || !used.contains(name);
    if free(&requested.plural, &names.plural, &resources) {
        names.plural.clone_from(&requested.plural);
    } else {
        refusal = Some(("PluralConflict", taken(&requested.plural)));
    }
    let singular = requested.singular.clone().unwrap_or_default();
    if free(&singular, names.singular.as_deref().unwrap_or_default(), &resources) {
        names.singular = Some(singular);
    } else {
        refusal = Some(("SingularConflict", taken(&singular)));
    }
    let had = names.short_names.clone().unwrap_or_default();
    let wanted = requested.short_names.clone().unwrap_or_default();
    let clashes: Vec<String> =
        wanted.iter().filter(|name| !had.contains(name) && resources.contains(*name)).map(|name| taken(name)).collect();
    match clashes.as_slice() {
        [] => names.short_names = Some(wanted).filter(|names| !names.is_empty()),
        [one] => refusal = Some(("ShortNamesConflict", one.clone())),
        many => refusal = Some(("ShortNamesConflict", format!("[{}]", many.join(", ")))),
    }
    if free(&requested.kind, &names.kind, &kinds) {
        names.kind.clone_from(&requested.kind);
    } else {
        refusal = Some(("KindConflict", taken(&requested.kind)));
    }
    let list_kind = requested.list_kind.clone().unwrap_or_default();
    if free(&list_kind, names.list_kind.as_deref().unwrap_or_default(), &kinds) {
        names.list_kind = Some(list_kind);
    } else {
        refusal = Some(("ListKindConflict", taken(&list_kind)));
    }
    names.categories = requested.categories.clone().filter(|categories| !categories.is_empty());

    let mut status = definition.status.clone().unwrap_or_default();
    status.accepted_names = Some(names);
    let is_accepted = refusal.is_none();
    let (reason, message) = refusal.unwrap_or(("NoConflicts", "no conflicts found".to_owned()));
    set_condition(&mut status, condition("NamesAccepted", is_accepted, reason, &message, now));
    let present = status.conditions.iter().flatten().find(|own| own.type_ == "Established");
    let is_established = present.is_some_and(|own| own.status == "True");
    if !is_established && is_accepted {
        let message = "the initial names have been accepted";
        set_condition(&mut status, condition("Established", true, "InitialNamesAccepted", message, now));
    } else if present.is_none() {
        let message = "not all names are accepted";
        set_condition(&mut status, condition("Established", false, "NotAccepted", message, now));
    }
    status
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> CustomResourceDefinition {
        serde_json::from_value(json!({
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "scope": "Cluster", "versions": [], "names": {
                "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
                "shortNames": short}},
        }))
        .expect("a definition")
    }

    fn told(status: &CustomResourceDefinitionStatus) -> Vec<(String, String, String)> {
        let conditions = status.conditions.iter().flatten();
        conditions.map(|own| (own.type_.clone(), own.status.clone(), own.reason.clone().unwrap_or_default())).collect()
    }

    fn row(one: &str, other: &str, third: &str) -> (String, String, String) {
        (one.to_owned(), other.to_owned(), third.to_owned())
    }

    #[test]
    fn the_first_one_has_its_names_and_keeps_them() {
        let now = Timestamp::UNIX_EPOCH;
        let mut one = definition("ones", "One", &["o"]);
        let status = decide(&one, &[], now);
        assert_eq!(
            told(&status),
            [row("NamesAccepted", "True", "NoConflicts"), row("Established", "True", "InitialNamesAccepted")]
        );
        one.status = Some(status.clone());
        assert_eq!(decide(&one, &[&one], Timestamp::MAX), status, "nothing changes when it is decided again");

        let two = definition("twos", "One", &["o", "p"]);
        let status = decide(&two, &[&one], now);
        assert_eq!(
            told(&status),
            [row("NamesAccepted", "False", "ListKindConflict"), row("Established", "False", "NotAccepted")]
        );
        let names = status.accepted_names.expect("names");
        assert_eq!((names.plural.as_str(), names.kind.as_str(), names.singular), ("twos", "", None));
    }
}
