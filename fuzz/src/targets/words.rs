//! Small languages in text: selectors, quantities, times, tokens.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use reeve_api::{
    quantity::Quantity,
    selector::{FieldSelector, LabelSelector},
};
use reeve_apiserver::edges::rest::parsers;
use serde::{Serialize, de::DeserializeOwned};

/// Label and field selectors: what was understood can be written, and means the same then.
pub fn selectors(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(selector) = LabelSelector::parse(text) {
        // As upstream, an empty text is written as nothing: `a in (,)` becomes `a in ()`, which is refused.
        if !selector.to_string().contains("()") {
            let again = LabelSelector::parse(&selector.to_string()).expect("a written selector can be read");
            assert_eq!(again, selector, "{text:?} became {:?}", selector.to_string());
        }
        selector.matches_by(|name| (name != "absent").then_some("value"));
    }
    if let Ok(selector) = FieldSelector::parse(text) {
        selector.matches_by(|name| (name != "absent").then_some("value"));
        assert!(selector.requirements().len() <= text.len());
    }
}

/// Quantities: their canonical form is canonical.
pub fn quantities(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let canonical = Quantity::canonical(text);
    assert_eq!(Quantity::canonical(&canonical), canonical, "of {text:?}");
    let Ok(quantity) = text.parse::<Quantity>() else { return };
    let again: Quantity = canonical.parse().expect("a canonical quantity is one");
    assert_eq!(again, quantity, "{text:?} became {canonical:?}");
    let _ = (quantity.units(), quantity.millis(), quantity.is_whole());
    let doubled = quantity.plus(quantity);
    // The greatest quantity stays what it is.
    if doubled != quantity {
        assert_eq!(doubled.minus(quantity).is_negative(), quantity.is_negative(), "{text:?}");
    }
}

/// Times of objects and of leases.
pub fn times(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let json = serde_json::to_vec(text).unwrap_or_default();
    same_again::<Time>(&json);
    same_again::<MicroTime>(&json);
}

fn same_again<T: Serialize + DeserializeOwned>(json: &[u8]) {
    let Ok(time) = serde_json::from_slice::<T>(json) else { return };
    let written = serde_json::to_vec(&time).expect("a time can be written");
    let again: T = serde_json::from_slice(&written).expect("a written time can be read");
    assert_eq!(serde_json::to_vec(&again).ok(), Some(written));
}

/// The tokens of paged lists.
pub fn continue_tokens(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(written) = parsers::continue_token(text) else { return };
    assert_eq!(parsers::continue_token(&written).ok(), Some(written));
}
