//! The ranges that Services take their addresses from.

use k8s_openapi::api::networking::v1::ServiceCIDR;
use reeve_api::ObjectKey;
use reeve_client::View;
use serde::Deserialize;

use super::view::Metadata;
use crate::nft::model::Network;

/// A ServiceCIDR.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceRangeView {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    cidrs: Vec<String>,
}

impl View for ServiceRangeView {
    type Kind = ServiceCIDR;
    const FIELDS: &'static [&'static str] = &["metadata.name", "metadata.resourceVersion", "spec.cidrs"];

    fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    fn revision(&self) -> i64 {
        self.metadata.revision()
    }
}

/// The IPv4 networks of all ranges, without those that another contains: the kernel takes no overlapping ones. A range
/// counts whether or not it is ready, until it is gone.
pub fn networks<'a>(ranges: impl IntoIterator<Item = &'a ServiceRangeView>) -> Vec<Network> {
    let texts = ranges.into_iter().flat_map(|range| &range.spec.cidrs);
    let mut networks: Vec<Network> = texts.filter_map(|text| text.parse().ok()).collect();
    // The larger of two that begin with the same address comes first.
    networks.sort_unstable();
    networks.dedup_by(|next, kept| kept.overlaps(*next));
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_ranges_are_one() {
        let range = |cidrs: &[&str]| ServiceRangeView {
            spec: Spec { cidrs: cidrs.iter().map(ToString::to_string).collect() },
            ..ServiceRangeView::default()
        };
        let all = [
            range(&["10.96.4.0/24"]),
            range(&["10.98.0.0/24", "fd98::/112"]),
            range(&["10.96.0.0/16"]),
            range(&["10.96.0.0/20"]),
        ];
        let texts: Vec<String> = networks(&all).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.96.0.0/16", "10.98.0.0/24"]);
        assert!(networks([]).is_empty());
    }
}
