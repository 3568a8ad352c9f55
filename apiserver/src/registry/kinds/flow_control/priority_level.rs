//! PriorityLevelConfiguration: how many requests of a level run at once, and how many wait.

use k8s_openapi::api::flowcontrol::v1::{
    LimitedPriorityLevelConfiguration, PriorityLevelConfiguration, PriorityLevelConfigurationStatus,
    QueuingConfiguration,
};
use reeve_api::validation::{BadValue, ErrorList, Path};

use crate::registry::kinds::generation;
use crate::registry::strategy::{RequestContext, Strategy};

const SHARES: i32 = 30;
const QUEUES: i32 = 64;
const QUEUES_MAX: i32 = 10_000_000;
const HAND_SIZE: i32 = 8;
const QUEUE_LENGTH: i32 = 50;

/// The strategy.
pub struct PriorityLevels;

impl Strategy for PriorityLevels {
    type Object = PriorityLevelConfiguration;

    fn default(&self, level: &mut PriorityLevelConfiguration) {
        let spec = level.spec.get_or_insert_default();
        if let Some(exempt) = &mut spec.exempt {
            exempt.nominal_concurrency_shares.get_or_insert(0);
            exempt.lendable_percent.get_or_insert(0);
        }
        if let Some(limited) = &mut spec.limited {
            limited.nominal_concurrency_shares.get_or_insert(SHARES);
            limited.lendable_percent.get_or_insert(0);
            if let Some(queuing) = limited.limit_response.as_mut().and_then(|response| response.queuing.as_mut()) {
                queuing.queues.get_or_insert(QUEUES);
                queuing.hand_size.get_or_insert(HAND_SIZE);
                queuing.queue_length_limit.get_or_insert(QUEUE_LENGTH);
            }
        }
        level.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, level: &mut PriorityLevelConfiguration) {
        level.status = Some(PriorityLevelConfigurationStatus::default());
        generation::start(&mut level.metadata);
    }

    fn validate(&self, level: &PriorityLevelConfiguration) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let spec = level.spec.clone().unwrap_or_default();
        match spec.type_.as_str() {
            "Exempt" => {
                if spec.limited.is_some() {
                    let why = "must be nil if the type is not Limited";
                    errors.forbidden(&path.child("limited"), why);
                }
            }
            "Limited" => {
                if spec.exempt.is_some() {
                    errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
                }
                match &spec.limited {
                    None => errors.required(&path.child("limited"), "must not be empty when type is Limited"),
                    Some(limited) => validate_limited(limited, &path.child("limited"), &mut errors),
                }
            }
            other => errors.not_supported(&path.child("type"), other, &["Exempt", "Limited"]),
        }
        errors
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        level: &mut PriorityLevelConfiguration,
        old: &PriorityLevelConfiguration,
    ) {
        level.status.clone_from(&old.status);
        let changed = level.spec != old.spec;
        generation::follow(&mut level.metadata, &old.metadata, changed);
    }

    fn prepare_for_status_update(
        &self,
        _context: &RequestContext,
        level: &mut PriorityLevelConfiguration,
        old: &PriorityLevelConfiguration,
    ) {
        level.spec.clone_from(&old.spec);
    }
}

fn validate_limited(limited: &LimitedPriorityLevelConfiguration, path: &Path<'_>, errors: &mut ErrorList) {
    let shares = limited.nominal_concurrency_shares.unwrap_or_default();
    if shares < 0 {
        errors.invalid(&path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    let lendable = limited.lendable_percent.unwrap_or_default();
    if !(0..=100).contains(&lendable) {
        errors.invalid(&path.child("lendablePercent"), lendable, "must be between 0 and 100, inclusive");
    }
    if let Some(borrowed) = limited.borrowing_limit_percent.filter(|percent| *percent < 0) {
        errors.invalid(&path.child("borrowingLimitPercent"), borrowed, "if specified, must be a non-negative integer");
    }
    let path = path.child("limitResponse");
    let response = limited.limit_response.clone().unwrap_or_default();
    match (response.type_.as_str(), &response.queuing) {
        ("Queue", None) => {
            errors.required(&path.child("queuing"), "must not be empty if limitResponse.type is Limited")
        }
        ("Queue", Some(queuing)) => validate_queuing(queuing, &path.child("queuing"), errors),
        ("Reject", Some(_)) => {
            errors.forbidden(&path.child("queuing"), "must be nil if limited.limitResponse.type is not Limited");
        }
        ("Reject", None) => {}
        (other, _) => errors.not_supported(&path.child("type"), other, &["Queue", "Reject"]),
    }
}

fn validate_queuing(queuing: &QueuingConfiguration, path: &Path<'_>, errors: &mut ErrorList) {
    let [queues, hand, length] =
        [queuing.queues, queuing.hand_size, queuing.queue_length_limit].map(Option::unwrap_or_default);
    for (field, number) in [("queueLengthLimit", length), ("queues", queues), ("handSize", hand)] {
        if number <= 0 {
            errors.invalid(&path.child(field), number, "must be positive");
        }
    }
    if queues > QUEUES_MAX {
        errors.invalid(&path.child("queues"), queues, format!("must not be greater than {QUEUES_MAX}"));
    } else if hand > queues {
        let why = format!("should not be greater than queues ({queues})");
        errors.invalid(&path.child("handSize"), BadValue::from(hand), why);
    }
}
