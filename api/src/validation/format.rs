//! Formats of names, labels and numbers (`k8s.io/apimachinery/pkg/util/validation`). Each function
//! returns the texts of what is wrong, none when the value is well-formed.

/// Most bytes of a DNS-1123 label, a label value and the name part of a qualified name.
pub const LABEL_MAX: usize = 63;
/// Most bytes of a DNS-1123 subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

const QUALIFIED_NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const DNS1123_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS1123_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS1035_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const WILDCARD_SUBDOMAIN: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const C_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
const CONFIG_MAP_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_VAR_NAME_RELAXED: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const HTTP_HEADER_NAME: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
const EMPTY: &str = "must be non-empty";

/// The text for a value of more than `limit` bytes.
pub fn max_length(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

/// The text for a number out of its range.
pub fn between(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str, first: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match bytes {
        [] => false,
        [start, .., end] => {
            first(*start) && lower_or_digit(*end) && bytes.iter().all(|byte| lower_or_digit(*byte) || *byte == b'-')
        }
        [only] => first(*only),
    }
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|part| is_label(part, lower_or_digit))
}

fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn collect(text: &str, limit: usize, well_formed: bool, message: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > limit {
        problems.push(max_length(limit));
    }
    if !well_formed {
        problems.push(message.to_owned());
    }
    problems
}

/// A DNS-1123 label: at most 63 of `[a-z0-9-]`, alphanumeric at both ends.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let well_formed = is_label(text, lower_or_digit);
    let mut problems = collect(text, LABEL_MAX, true, "");
    if !well_formed {
        if is_subdomain(text) {
            // It was a good subdomain: the dots are what is wrong.
            problems.push("must not contain dots".to_owned());
        } else {
            problems.push(DNS1123_LABEL.to_owned());
        }
    }
    problems
}

/// A DNS-1123 subdomain: labels joined by dots, at most 253 bytes.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    collect(text, SUBDOMAIN_MAX, is_subdomain(text), DNS1123_SUBDOMAIN)
}

/// A DNS-1035 label: as a DNS-1123 label, but beginning with a letter.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let well_formed = is_label(text, |byte| byte.is_ascii_lowercase());
    collect(text, LABEL_MAX, well_formed, DNS1035_LABEL)
}

/// `*.` and a DNS-1123 subdomain.
pub fn wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let well_formed = text.strip_prefix("*.").is_some_and(is_subdomain);
    collect(text, SUBDOMAIN_MAX, well_formed, WILDCARD_SUBDOMAIN)
}

/// The key of a label, annotation or extended resource: `name` or `prefix.example/name`.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut parts = text.split('/');
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let name = match (second, third) {
        (None, _) => first,
        (Some(name), None) => {
            if first.is_empty() {
                problems.push(format!("prefix part {EMPTY}"));
            } else {
                problems.extend(dns1123_subdomain(first).into_iter().map(|text| format!("prefix part {text}")));
            }
            name
        }
        (Some(_), Some(_)) => {
            problems.push(format!(
                "a valid label key {QUALIFIED_NAME} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return problems;
        }
    };
    if name.is_empty() {
        problems.push(format!("name part {EMPTY}"));
    } else if name.len() > LABEL_MAX {
        problems.push(format!("name part {}", max_length(LABEL_MAX)));
    }
    if !is_qualified_part(name) {
        problems.push(format!("name part {QUALIFIED_NAME}"));
    }
    problems
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    collect(text, LABEL_MAX, text.is_empty() || is_qualified_part(text), LABEL_VALUE)
}

/// A C identifier.
pub fn c_identifier(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    let well_formed = bytes.first().is_some_and(|byte| !byte.is_ascii_digit())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    collect(text, usize::MAX, well_formed, C_IDENTIFIER)
}

/// A key of a config map's or secret's data: a file name.
pub fn config_map_key(text: &str) -> Vec<String> {
    let well_formed =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let mut problems = collect(text, SUBDOMAIN_MAX, well_formed, CONFIG_MAP_KEY);
    if text == "." {
        problems.push("must not be '.'".to_owned());
    } else if text == ".." {
        problems.push("must not be '..'".to_owned());
    } else if text.starts_with("..") {
        problems.push("must not start with '..'".to_owned());
    }
    problems
}

/// The name of an environment variable: printable ASCII without `=`.
pub fn environment_variable(text: &str) -> Vec<String> {
    let well_formed = !text.is_empty() && text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=');
    collect(text, usize::MAX, well_formed, ENV_VAR_NAME_RELAXED)
}

/// The name of an HTTP header.
pub fn http_header_name(text: &str) -> Vec<String> {
    let well_formed = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    collect(text, usize::MAX, well_formed, HTTP_HEADER_NAME)
}

/// A port number.
pub fn port(number: i64) -> Vec<String> {
    if (1..=65535).contains(&number) { Vec::new() } else { vec![between(1, 65535)] }
}

/// A port's name: a service name of IANA (RFC 6335), at most 15 bytes, with a letter.
pub fn port_name(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 15 {
        problems.push("must be no more than 15 characters".to_owned());
    }
    if !text.bytes().all(|byte| lower_or_digit(byte) || byte == b'-') {
        problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

/// An IPv4 or IPv6 address without zone.
pub fn ip(text: &str) -> Vec<String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Vec::new(),
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert!(dns1123_label("a-1").is_empty());
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns1123_label("A"), [DNS1123_LABEL]);
        assert!(dns1123_subdomain("1.a-b").is_empty());
        assert_eq!(dns1123_subdomain("a..b"), [DNS1123_SUBDOMAIN]);
        assert_eq!(dns1035_label("1a"), [DNS1035_LABEL]);
        assert!(dns1035_label("a1").is_empty());
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 bytes"]);
    }

    #[test]
    fn qualified_names_have_at_most_one_prefix() {
        assert!(qualified_name("a.b/C_d").is_empty());
        assert!(qualified_name("simple").is_empty());
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("a/b/c").len(), 1);
        assert_eq!(qualified_name("a/").len(), 2);
        assert!(label_value("").is_empty());
        assert_eq!(label_value("-").len(), 1);
    }

    #[test]
    fn ports() {
        assert!(port_name("http").is_empty());
        assert_eq!(port_name("80"), ["must contain at least one letter (a-z)"]);
        assert_eq!(port(0), ["must be between 1 and 65535, inclusive"]);
    }
}
