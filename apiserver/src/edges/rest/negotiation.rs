//! Which form of the answer a client asks for.

use http::HeaderMap;
use http::header::ACCEPT;
use reeve_api::{Reason, StatusError};

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The object itself.
    Object,
    /// `meta.k8s.io/v1 Table`.
    Table,
    /// `meta.k8s.io/v1 PartialObjectMetadata`.
    Metadata,
}

/// The bytes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    Json,
    /// YAML, for people.
    Yaml,
}

/// Picks the first form that the client accepts and the server has; clients list them in the order of their wish.
pub fn negotiate(headers: &HeaderMap) -> Result<(Form, Encoding), StatusError> {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if accepted.peek().is_none() {
        return Ok((Form::Object, Encoding::Json));
    }
    accepted.flat_map(|value| value.split(',')).find_map(one).ok_or_else(|| {
        StatusError::new(
            Reason::NotAcceptable,
            "only the following media types are accepted: application/json, application/yaml",
        )
    })
}

fn one(range: &str) -> Option<(Form, Encoding)> {
    let mut parts = range.split(';').map(str::trim);
    let encoding = match parts.next()? {
        "application/json" | "*/*" | "application/*" | "" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        _ => return None,
    };
    let mut form = Form::Object;
    let (mut group, mut version) = ("meta.k8s.io", "v1");
    for parameter in parts {
        match parameter.split_once('=')? {
            ("as", "Table") => form = Form::Table,
            ("as", "PartialObjectMetadata" | "PartialObjectMetadataList") => form = Form::Metadata,
            ("as", _) => return None,
            ("g", value) => group = value,
            ("v", value) => version = value,
            // Quality and the like do not change the form.
            _ => {}
        }
    }
    (form == Form::Object || (group == "meta.k8s.io" && version == "v1")).then_some((form, encoding))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(accept: &str) -> Option<(Form, Encoding)> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        negotiate(&headers).ok()
    }

    #[test]
    fn the_first_form_that_the_server_has_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(negotiated(table), Some((Form::Table, Encoding::Json)));
        assert_eq!(
            negotiated("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"),
            Some((Form::Object, Encoding::Json))
        );
        assert_eq!(
            negotiated("application/vnd.kubernetes.protobuf, application/json"),
            Some((Form::Object, Encoding::Json))
        );
        assert_eq!(negotiated("application/vnd.kubernetes.protobuf"), None);
        assert_eq!(negotiated("application/yaml"), Some((Form::Object, Encoding::Yaml)));
        assert_eq!(negotiated("*/*;q=0.8"), Some((Form::Object, Encoding::Json)));
    }
}
