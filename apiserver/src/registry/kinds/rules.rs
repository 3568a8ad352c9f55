//! Rules that several kinds share.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::Quantity;
use reeve_api::validation::metadata::path_segment;
use reeve_api::validation::{BadValue, ErrorList, Path, format};
use serde::Serialize;

pub(super) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const IMMUTABLE: &str = "field is immutable";
const BAD_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// A field that keeps the value that it was created with.
pub(super) fn immutable<T: PartialEq + Serialize>(new: &T, old: &T, path: &Path<'_>, errors: &mut ErrorList) {
    if new != old {
        errors.invalid(path, BadValue::json(new), IMMUTABLE);
    }
}

/// A text that must be one of an enumeration.
pub(super) fn one_of(value: &str, supported: &[&str], path: &Path<'_>, errors: &mut ErrorList) {
    if !supported.contains(&value) {
        errors.not_supported(path, value, supported);
    }
}

/// A field that must be set, to a value of an enumeration where one is given.
pub(super) fn required_one_of(value: Option<&str>, supported: &[&str], path: &Path<'_>, errors: &mut ErrorList) {
    match value {
        None => errors.required(path, ""),
        Some(value) => one_of(value, supported, path, errors),
    }
}

/// The name of another object: present and one segment of a path. `missing` is told of an empty one.
pub(super) fn reference_name(name: &str, missing: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, missing);
    } else {
        errors.invalid_each(path, name, path_segment(name, false));
    }
}

/// A reference to an object of any kind.
pub(super) fn typed_reference(group: Option<&str>, kind: &str, name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(group) = group {
        errors.invalid_each(&path.child("apiGroup"), group, format::dns1123_subdomain(group));
    }
    reference_name(kind, "kind is required", &path.child("kind"), errors);
    reference_name(name, "name is required", &path.child("name"), errors);
}

/// A name like `acme.io/foo`: a domain and a path.
pub(super) fn domain_prefixed_path(text: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if text.is_empty() {
        errors.required(path, "");
        return;
    }
    let Some((domain, rest)) = text.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        errors.invalid(path, text, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    errors.invalid_each(path, domain, format::dns1123_subdomain(domain));
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    if !rest.bytes().all(is_path) {
        errors.invalid(
            path,
            rest,
            "a valid path must consist of alphanumeric characters and '/-._~%!$&'()*+,;=:' (regex used for validation \
             is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
        );
    }
}

/// An address range: `10.9.8.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressRange {
    address: IpAddr,
    length: u8,
}

impl AddressRange {
    /// Reads a range; nothing when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let plain = length.bytes().all(|byte| byte.is_ascii_digit());
        let length = length.parse().ok().filter(|length| plain && *length <= most)?;
        Some(Self { address, length })
    }

    /// Reads a range and tells when it is none.
    pub(super) fn check(text: &str, path: &Path<'_>, errors: &mut ErrorList) -> Option<Self> {
        let range = Self::parse(text);
        if range.is_none() {
            errors.invalid(path, text, BAD_RANGE);
        }
        range
    }

    /// Reads a range of a field that takes one way of writing it only; upstream's `IsValidCIDR`.
    pub(super) fn check_canonical(text: &str, path: &Path<'_>, errors: &mut ErrorList) -> Option<Self> {
        let range = Self::check(text, path, errors)?;
        let canonical = format!("{}/{}", range.first(), range.length);
        let length = text.split_once('/').map_or("", |(_, length)| length);
        let why = if length.len() > 1 && length.starts_with('0') {
            "must not have leading 0s in IP or prefix length".to_owned()
        } else if matches!(range.address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
            "must not have an IPv4-mapped IPv6 address".to_owned()
        } else if range.first() != range.address {
            "must not have bits set beyond the prefix length".to_owned()
        } else if text != canonical {
            format!("must be in canonical form ({canonical:?})")
        } else {
            return Some(range);
        };
        errors.invalid(path, text, why);
        None
    }

    /// Its first address.
    fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                Ipv4Addr::from(u32::from(address) & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                Ipv6Addr::from(u128::from(address) & mask).into()
            }
        }
    }

    /// Whether it is of the fourth version.
    pub(super) fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether an address is in it.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        let length = if address.is_ipv4() { 32 } else { 128 };
        let alone = AddressRange { address, length };
        self.strictly_contains(&alone) || (self.address == address && self.length == length)
    }

    /// Whether another range is a part of this one and smaller.
    pub(super) fn strictly_contains(&self, other: &AddressRange) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
            IpAddr::V6(address) => u128::from(address),
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
        self.is_ipv4() == other.is_ipv4()
            && self.length < other.length
            && bits(self.address) & mask == bits(other.address) & mask
    }
}

/// Brings amounts into their canonical form.
pub(super) fn canonical(amounts: Option<&mut BTreeMap<String, Text>>) {
    for amount in amounts.into_iter().flat_map(BTreeMap::values_mut) {
        amount.0 = Quantity::canonical(&amount.0);
    }
}

/// Checks that an amount is well-formed and not negative.
pub(super) fn not_negative_amount(amount: &Text, path: &Path<'_>, errors: &mut ErrorList) -> Option<Quantity> {
    match Quantity::parse(amount) {
        Err(error) => {
            errors.invalid(path, amount.0.as_str(), error.to_string());
            None
        }
        Ok(quantity) => {
            if quantity.is_negative() {
                errors.invalid(path, amount.0.as_str(), NOT_NEGATIVE);
            }
            Some(quantity)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        AddressRange::parse(text).unwrap()
    }

    #[test]
    fn ranges_contain_their_parts() {
        assert!(range("10.0.0.0/8").strictly_contains(&range("10.1.0.0/16")));
        assert!(!range("10.0.0.0/8").strictly_contains(&range("11.0.0.0/8")));
        assert!(!range("10.0.0.0/8").strictly_contains(&range("10.0.0.0/8")));
        assert!(range("0.0.0.0/0").strictly_contains(&range("10.0.0.0/8")));
        assert!(range("fd00::/8").strictly_contains(&range("fd01::/16")));
        assert!(!range("::/0").strictly_contains(&range("10.0.0.0/8")));
        assert!(AddressRange::parse("10.0.0.0/33").is_none());
        assert!(AddressRange::parse("10.0.0.0/+8").is_none());
    }

    #[test]
    fn a_canonical_range_is_written_in_one_way() {
        let told = |text: &str| {
            let mut errors = ErrorList::new();
            AddressRange::check_canonical(text, &Path::new("r"), &mut errors);
            errors.into_causes().into_iter().filter_map(|cause| cause.message).collect::<Vec<_>>().join("; ")
        };
        for good in ["10.0.0.0/24", "0.0.0.0/0", "10.0.0.1/32", "fd00::/112", "::/0"] {
            assert_eq!(told(good), "");
        }
        for (bad, why) in [
            ("10.0.0.1/24", "must not have bits set beyond the prefix length"),
            ("fd00::1/112", "must not have bits set beyond the prefix length"),
            ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
            ("::ffff:10.0.0.0/120", "must not have an IPv4-mapped IPv6 address"),
            ("FD00::/112", "must be in canonical form (\"fd00::/112\")"),
            ("10.0.0.0", BAD_RANGE),
        ] {
            let told = told(bad);
            assert!(told.ends_with(why), "{bad}: {told}");
        }
    }

    #[test]
    fn a_domain_goes_before_a_path() {
        let check = |text: &str| {
            let mut errors = ErrorList::new();
            domain_prefixed_path(text, &Path::new("spec"), &mut errors);
            errors.len()
        };
        assert_eq!([check("acme.io/foo"), check("acme.io"), check("/x"), check(""), check("a_b/x")], [0, 1, 1, 1, 1]);
    }
}
