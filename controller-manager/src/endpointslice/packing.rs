//! Which endpoint lies in which slice, with as few changed slices as can be.

use std::collections::HashMap;

use k8s_openapi::api::discovery::v1::Endpoint;

/// Upstream's default of `--max-endpoints-per-slice`.
pub const ENDPOINTS_PER_SLICE_MAX: usize = 100;

/// What becomes of a present slice.
#[derive(Debug, PartialEq)]
pub enum Content {
    /// It is right as it is.
    Keep,
    /// It gets these endpoints.
    Replace(Vec<Endpoint>),
    /// It has nothing left to say.
    Remove,
}

/// What becomes of the slices of a Service with the same ports.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// The present slices, in the order in which they were given.
    pub present: Vec<Content>,
    /// Further slices.
    pub new: Vec<Vec<Endpoint>>,
}

/// Endpoints are the same when they have the same address and pod.
fn identity(endpoint: &Endpoint) -> (String, String) {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()).unwrap_or_default();
    (endpoint.addresses.first().cloned().unwrap_or_default(), uid)
}

/// Packs the wanted endpoints.
pub fn pack(present: &[&[Endpoint]], wanted: Vec<Endpoint>) -> Plan {
    // In the order of the addresses, so that the outcome depends on nothing else.
    let mut wanted: Vec<((String, String), Endpoint)> = wanted.into_iter().map(|one| (identity(&one), one)).collect();
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    let empty = wanted.is_empty();
    let order: Vec<(String, String)> = wanted.iter().map(|(identity, _)| identity.clone()).collect();
    let mut open: HashMap<(String, String), Endpoint> = wanted.into_iter().collect();
    let mut slices: Vec<(Vec<Endpoint>, bool)> = Vec::with_capacity(present.len());
    for list in present {
        let mut kept = Vec::with_capacity(list.len());
        let mut changed = list.len() > ENDPOINTS_PER_SLICE_MAX;
        for endpoint in list.iter().take(ENDPOINTS_PER_SLICE_MAX) {
            match open.remove(&identity(endpoint)) {
                Some(now) => {
                    changed |= now != *endpoint;
                    kept.push(now);
                }
                None => changed = true,
            }
        }
        slices.push((kept, changed));
    }
    let mut rest: Vec<Endpoint> = order.iter().filter_map(|identity| open.remove(identity)).collect();
    rest.reverse();
    // Slices that are written anyway are filled first, the fullest of them first.
    let mut fill: Vec<usize> = (0..slices.len()).filter(|&index| slices[index].1).collect();
    fill.sort_by_key(|&index| std::cmp::Reverse(slices[index].0.len()));
    for index in fill {
        while slices[index].0.len() < ENDPOINTS_PER_SLICE_MAX {
            let Some(endpoint) = rest.pop() else { break };
            slices[index].0.push(endpoint);
        }
    }
    // What is left goes into whole new slices, and the last part into the fullest slice that has room for it.
    let mut new = Vec::new();
    while rest.len() >= ENDPOINTS_PER_SLICE_MAX {
        new.push(rest.split_off(rest.len() - ENDPOINTS_PER_SLICE_MAX));
    }
    if !rest.is_empty() {
        rest.reverse();
        let room = |list: &Vec<Endpoint>| list.len() + rest.len() <= ENDPOINTS_PER_SLICE_MAX;
        let home = slices.iter_mut().filter(|(list, _)| room(list)).max_by_key(|(list, _)| list.len());
        match home {
            Some((list, changed)) => {
                list.extend(rest);
                *changed = true;
            }
            None => new.push(rest),
        }
    }
    let mut placeholder = empty;
    let content = |(list, changed): (Vec<Endpoint>, bool)| match (list.is_empty(), changed) {
        (true, _) if !std::mem::take(&mut placeholder) => Content::Remove,
        (_, false) => Content::Keep,
        (_, true) => Content::Replace(list),
    };
    let present: Vec<Content> = slices.into_iter().map(content).collect();
    if empty && present.is_empty() {
        new.push(vec![]);
    }
    Plan { present, new }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoint(number: u16, ready: bool) -> Endpoint {
        let mut endpoint = Endpoint { addresses: vec![format!("10.0.0.{number}")], ..Endpoint::default() };
        endpoint.conditions.get_or_insert_default().ready = Some(ready);
        endpoint
    }

    fn apply(present: &[Vec<Endpoint>], plan: Plan) -> Vec<Vec<Endpoint>> {
        let kept = present.iter().zip(plan.present).filter_map(|(list, content)| match content {
            Content::Keep => Some(list.clone()),
            Content::Replace(list) => Some(list),
            Content::Remove => None,
        });
        kept.chain(plan.new).collect()
    }

    fn writes(plan: &Plan) -> usize {
        plan.present.iter().filter(|content| **content != Content::Keep).count() + plan.new.len()
    }

    #[test]
    fn one_changed_endpoint_is_one_write() {
        let wanted: Vec<Endpoint> = (0..250).map(|number| endpoint(number, true)).collect();
        let slices = apply(&[], pack(&[], wanted.clone()));
        assert_eq!(slices.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50]);
        let lists: Vec<&[Endpoint]> = slices.iter().map(Vec::as_slice).collect();
        assert_eq!(writes(&pack(&lists, wanted.clone())), 0);
        let mut flipped = wanted.clone();
        flipped[7] = endpoint(7, false);
        assert_eq!(writes(&pack(&lists, flipped)), 1);
        let mut replaced = wanted;
        replaced[7] = endpoint(999, true);
        assert_eq!(writes(&pack(&lists, replaced)), 1);
    }

    proptest! {
        #[test]
        fn every_endpoint_lies_in_exactly_one_slice(
            rounds in prop::collection::vec(prop::collection::btree_map(0_u16..400, any::<bool>(), 0..300), 1..5)
        ) {
            let mut slices: Vec<Vec<Endpoint>> = vec![];
            for round in rounds {
                let wanted: Vec<Endpoint> = round.iter().map(|(&number, &ready)| endpoint(number, ready)).collect();
                let lists: Vec<&[Endpoint]> = slices.iter().map(Vec::as_slice).collect();
                let plan = pack(&lists, wanted.clone());
                let after = apply(&slices, plan);
                prop_assert!(after.iter().all(|list| list.len() <= ENDPOINTS_PER_SLICE_MAX));
                prop_assert_eq!(after.iter().filter(|list| list.is_empty()).count(), usize::from(wanted.is_empty()));
                let mut all: Vec<Endpoint> = after.iter().flatten().cloned().collect();
                let mut expected = wanted;
                all.sort_by_key(identity);
                expected.sort_by_key(identity);
                prop_assert_eq!(all, expected);
                slices = after;
            }
        }
    }
}
