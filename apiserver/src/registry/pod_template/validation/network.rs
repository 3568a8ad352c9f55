//! Name resolution of a pod.

use k8s_openapi::api::core::v1::PodSpec;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCHES_BYTES_MAX: usize = 2048;

pub(super) fn dns(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let is_none = spec.dns_policy.as_deref() == Some("None");
    let Some(config) = &spec.dns_config else {
        if is_none {
            errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let servers = config.nameservers.as_deref().unwrap_or_default();
    let path_servers = path.child("nameservers");
    if is_none && servers.is_empty() {
        errors.required(&path_servers, "must provide at least one DNS nameserver when `dnsPolicy` is None");
        return;
    }
    if servers.len() > NAMESERVERS_MAX {
        let why = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.invalid(&path_servers, BadValue::json(&servers), why);
    }
    for (index, server) in servers.iter().enumerate() {
        errors.invalid_each(&path_servers.index(index), server, format::ip(server));
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    let path_searches = path.child("searches");
    if searches.len() > SEARCHES_MAX {
        let why = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.invalid(&path_searches, BadValue::json(&searches), why);
    }
    if searches.join(" ").len() > SEARCHES_BYTES_MAX {
        let why =
            format!("must not have more than {SEARCHES_BYTES_MAX} characters (including spaces) in the search list");
        errors.invalid(&path_searches, BadValue::json(&searches), why);
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| *search != ".") {
        // A dot at the end makes a name absolute; underscores occur in the names of services.
        let search = search.strip_suffix('.').unwrap_or(search);
        let name = search.replace('_', "a");
        errors.invalid_each(&path_searches.index(index), search, format::dns1123_subdomain(&name));
    }
    let path_options = path.child("options");
    for (index, option) in config.options.iter().flatten().enumerate() {
        if option.name.as_deref().unwrap_or_default().is_empty() {
            errors.required(&path_options.index(index), "must not be empty");
        }
    }
}

pub(super) fn host_aliases(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let path = path.index(index);
        errors.invalid_each(&path.child("ip"), &alias.ip, format::ip(&alias.ip));
        let path_names = path.child("hostnames");
        for (index, name) in alias.hostnames.iter().flatten().enumerate() {
            errors.invalid_each(&path_names.index(index), name, format::dns1123_subdomain(name));
        }
    }
}
