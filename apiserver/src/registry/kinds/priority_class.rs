//! PriorityClass: how important pods are (`pkg/apis/scheduling`).

use k8s_openapi::api::scheduling::v1::PriorityClass;
use reeve_api::validation::{ErrorList, Path};

use super::{generation, rules};
use crate::registry::strategy::{RequestContext, Strategy};

/// The highest priority that users may define.
const USER_MAX: i32 = 1_000_000_000;

/// A class that every cluster has.
#[derive(Clone, Copy, Debug)]
pub struct SystemClass {
    /// Its name.
    pub name: &'static str,
    /// Its priority.
    pub value: i32,
    /// What it is for.
    pub description: &'static str,
}

/// The classes that every cluster has.
pub const SYSTEM_CLASSES: [SystemClass; 2] = [
    SystemClass {
        name: "system-node-critical",
        value: 2 * USER_MAX + 1000,
        description: "Used for system critical pods that must not be moved from their current node.",
    },
    SystemClass {
        name: "system-cluster-critical",
        value: 2 * USER_MAX,
        description: "Used for system critical pods that must run in the cluster, but can be moved to another node if \
                      necessary.",
    },
];

/// The strategy.
pub struct PriorityClasses;

impl Strategy for PriorityClasses {
    type Object = PriorityClass;

    fn default(&self, class: &mut PriorityClass) {
        class.value.get_or_insert(0);
        class.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".to_owned());
        class.global_default = class.global_default.filter(|is_default| *is_default);
        class.description = class.description.take().filter(|text| !text.is_empty());
    }

    fn prepare_for_create(&self, _context: &RequestContext, class: &mut PriorityClass) {
        generation::start(&mut class.metadata);
    }

    fn validate(&self, class: &PriorityClass) -> ErrorList {
        let mut errors = ErrorList::new();
        let name = class.metadata.name.as_deref().unwrap_or_default();
        let value = class.value.unwrap_or_default();
        if name.starts_with("system-") {
            if let Err(why) = system_class(name, value, class.global_default == Some(true)) {
                let metadata = Path::new("metadata");
                errors.forbidden(
                    &metadata.child("name"),
                    format!(
                        "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                    ),
                );
            }
        } else if value > USER_MAX {
            errors.forbidden(
                &Path::new("value"),
                format!("maximum allowed value of a user defined priority is {USER_MAX}"),
            );
        }
        let path = Path::new("preemptionPolicy");
        match class.preemption_policy.as_deref() {
            None | Some("PreemptLowerPriority" | "Never") => {}
            Some("") => errors.required(&path, ""),
            Some(other) => errors.not_supported(&path, other, &["PreemptLowerPriority", "Never"]),
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, class: &mut PriorityClass, old: &PriorityClass) {
        generation::keep(&mut class.metadata, &old.metadata);
    }

    fn validate_update(&self, class: &PriorityClass, old: &PriorityClass) -> ErrorList {
        let mut errors = ErrorList::new();
        if class.value != old.value {
            errors.forbidden(&Path::new("value"), "may not be changed in an update.");
        }
        let path = Path::new("preemptionPolicy");
        rules::immutable(&class.preemption_policy, &old.preemption_policy, &path, &mut errors);
        errors
    }
}

fn system_class(name: &str, value: i32, is_default: bool) -> Result<(), String> {
    let Some(known) = SYSTEM_CLASSES.iter().find(|known| known.name == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if known.value != value {
        return Err(format!("value of {name} PriorityClass must be {}", known.value));
    }
    if is_default {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, value: i32) -> PriorityClass {
        let mut class = PriorityClass { value: Some(value), ..PriorityClass::default() };
        class.metadata.name = Some(name.to_owned());
        PriorityClasses.default(&mut class);
        class
    }

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_systems_names_are_its_own() {
        for known in SYSTEM_CLASSES {
            assert!(PriorityClasses.validate(&class(known.name, known.value)).is_empty());
        }
        assert_eq!(
            texts(&PriorityClasses.validate(&class("system-x", 1))),
            ["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. \
              error: system-x is not a known system priority class"]
        );
        assert_eq!(
            texts(&PriorityClasses.validate(&class("x", USER_MAX + 1))),
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
        );
    }

    #[test]
    fn a_priority_stays() {
        assert_eq!(
            texts(&PriorityClasses.validate_update(&class("x", 2), &class("x", 1))),
            ["value: Forbidden: may not be changed in an update."]
        );
    }
}
