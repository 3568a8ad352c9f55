//! Which form of the answer a client asks for, by `Accept`, `Accept-Encoding` and `pretty`.
//!
//! The rules are upstream's: first the media types of the route (`go-restful`), then their parameters
//! (`k8s.io/apiserver/pkg/endpoints/handlers/negotiation`).

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use reeve_api::status::StatusDetails;
use reeve_api::{GroupVersionKind, Reason, StatusError};

use super::path::Query;
use crate::encoding::protobuf;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The object itself.
    Object,
    /// `meta.k8s.io Table`.
    Table,
    /// `meta.k8s.io PartialObjectMetadata`.
    Metadata,
    /// `meta.k8s.io PartialObjectMetadataList`.
    MetadataList,
    /// `apidiscovery.k8s.io/v2 APIGroupDiscoveryList`.
    AggregatedDiscovery,
}

/// The bytes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    Json,
    /// YAML, for people.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Encoding {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => protobuf::MEDIA_TYPE,
        }
    }
}

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The form.
    pub form: Form,
    /// Its `apiVersion` where it is not the object's own.
    pub form_version: &'static str,
    /// The bytes.
    pub encoding: Encoding,
    /// Whether large answers may be compressed.
    pub gzip: bool,
    /// Whether JSON is indented.
    pub pretty: bool,
}

impl Asked {
    /// The object itself as plain JSON.
    pub const JSON: Asked = Asked {
        form: Form::Object,
        form_version: "meta.k8s.io/v1",
        encoding: Encoding::Json,
        gzip: false,
        pretty: false,
    };
}

/// What can be answered.
#[derive(Clone, Copy, Debug)]
pub enum Offer<'a> {
    /// Objects of a kind, or those of a built-in kind of this server's own.
    Objects(Option<&'a GroupVersionKind>),
    /// A collection of them, which can also be watched.
    Collection(Option<&'a GroupVersionKind>),
    /// Changes.
    Watch(Option<&'a GroupVersionKind>),
    /// Discovery documents; the two of all groups have an aggregated form too.
    Discovery {
        /// Whether this is one of the two.
        aggregated: bool,
    },
}

impl Offer<'_> {
    fn kind(&self) -> Option<&GroupVersionKind> {
        match self {
            Offer::Objects(kind) | Offer::Collection(kind) | Offer::Watch(kind) => *kind,
            Offer::Discovery { .. } => None,
        }
    }

    /// Custom kinds have no protobuf form.
    fn has_protobuf(&self) -> bool {
        self.kind().is_none_or(|kind| protobuf::has(&kind.api_version(), &kind.kind))
    }

    /// What upstream says that it takes; its custom kinds say so too, though they refuse protobuf.
    fn media_types() -> String {
        "application/json, application/yaml, application/vnd.kubernetes.protobuf".to_owned()
    }

    /// The text of the router, which also knows the stream types of collections.
    fn unknown_type(&self) -> StatusError {
        let mut types = Self::media_types();
        if matches!(self, Offer::Collection(_) | Offer::Watch(_)) {
            types.push_str(", application/json;stream=watch");
            if self.has_protobuf() {
                types.push_str(", application/vnd.kubernetes.protobuf;stream=watch");
            }
        }
        let mut error = StatusError::new(
            Reason::NotAcceptable,
            format!("406: Not Acceptable\n\nAvailable representations: {types}"),
        );
        error.details = Some(Box::new(StatusDetails::default()));
        error
    }

    fn unknown_parameters(&self) -> StatusError {
        let types = match self {
            Offer::Watch(_) if self.has_protobuf() => {
                "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch".to_owned()
            }
            Offer::Watch(_) => "application/json;stream=watch".to_owned(),
            _ => Self::media_types(),
        };
        StatusError::new(Reason::NotAcceptable, format!("only the following media types are accepted: {types}"))
    }

    fn allows(&self, form: Form, encoding: Encoding) -> bool {
        match (self, form) {
            (Offer::Discovery { aggregated }, Form::AggregatedDiscovery) => *aggregated && encoding == Encoding::Json,
            (Offer::Discovery { .. }, form) => form == Form::Object,
            (_, Form::AggregatedDiscovery) => false,
            (_, Form::Table) => encoding != Encoding::Protobuf,
            _ => true,
        }
    }
}

/// Picks the first form that the client accepts and the server has; clients list them in the order of their wish.
///
/// # Errors
///
/// `NotAcceptable` when there is none.
pub fn negotiate(headers: &HeaderMap, query: &Query, offer: Offer<'_>) -> Result<Asked, StatusError> {
    let mut asked = match headers.get(ACCEPT).and_then(|value| value.to_str().ok()) {
        // The usual cases.
        None | Some("" | "*/*" | "application/json") => Asked::JSON,
        Some(_) => accepted(headers, offer)?,
    };
    asked.gzip = wants_gzip(headers);
    asked.pretty = asked.encoding == Encoding::Json && wants_pretty(headers, query);
    Ok(asked)
}

/// The refusal of a form that objects of a kind do not have.
pub fn not_acceptable(kind: Option<&GroupVersionKind>) -> StatusError {
    Offer::Objects(kind).unknown_parameters()
}

/// The encoding of an error: that of the answer, or JSON.
pub fn error_encoding(headers: &HeaderMap) -> Encoding {
    match headers.get(ACCEPT).and_then(|value| value.to_str().ok()) {
        None | Some("" | "*/*" | "application/json") => Encoding::Json,
        Some(_) => accepted(headers, Offer::Objects(None)).map_or(Encoding::Json, |asked| asked.encoding),
    }
}

/// Whether a client takes compressed answers.
pub fn wants_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| value.split(',').any(|coding| is_gzip(coding.trim()))))
}

fn is_gzip(coding: &str) -> bool {
    coding.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("gzip"))
}

/// As upstream: when asked for, and for people who look with a browser or with curl.
fn wants_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if query.has("pretty") {
        return query.flag("pretty");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    agent.starts_with("curl") || agent.starts_with("Wget") || agent.starts_with("Mozilla/5.0")
}

fn accepted(headers: &HeaderMap, offer: Offer<'_>) -> Result<Asked, StatusError> {
    let mut clauses: Vec<Clause<'_>> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(Clause::parse)
        .collect();
    // A stable sort keeps the client's order among equals.
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality).then_with(|| a.wildness().cmp(&b.wildness())));
    let mut type_is_known = false;
    for clause in &clauses {
        let Some(encoding) = clause.encoding(&offer) else { continue };
        type_is_known = true;
        if let Some((form, form_version)) = clause.form()
            && offer.allows(form, encoding)
            && !(encoding == Encoding::Yaml && matches!(offer, Offer::Watch(_)))
        {
            return Ok(Asked { form, form_version, encoding, ..Asked::JSON });
        }
    }
    // Upstream's custom kinds are not behind its router.
    Err(if type_is_known || !offer.has_protobuf() { offer.unknown_parameters() } else { offer.unknown_type() })
}

/// One media range of `Accept`.
struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parts.map(|part| part.split_once('=').unwrap_or((part, ""))).collect();
        let quality = parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, value)| value.parse().ok());
        Self { media, parameters, quality: quality.unwrap_or(1.0) }
    }

    fn wildness(&self) -> u8 {
        match self.media {
            "*/*" => 2,
            media if media.ends_with("/*") => 1,
            _ => 0,
        }
    }

    fn encoding(&self, offer: &Offer<'_>) -> Option<Encoding> {
        match self.media {
            "application/json" | "*/*" | "application/*" | "" => Some(Encoding::Json),
            "application/yaml" => Some(Encoding::Yaml),
            protobuf::MEDIA_TYPE => offer.has_protobuf().then_some(Encoding::Protobuf),
            _ => None,
        }
    }

    fn parameter(&self, name: &str) -> &'a str {
        self.parameters.iter().find(|(own, _)| *own == name).map(|(_, value)| *value).unwrap_or_default()
    }

    /// The form and its version; `None` for one that the server does not have.
    fn form(&self) -> Option<(Form, &'static str)> {
        let form_version = match (self.parameter("g"), self.parameter("v")) {
            ("meta.k8s.io", "v1beta1") => "meta.k8s.io/v1beta1",
            ("apidiscovery.k8s.io", "v2") => "apidiscovery.k8s.io/v2",
            ("meta.k8s.io", "v1") => "meta.k8s.io/v1",
            _ if self.parameter("as").is_empty() => return Some((Form::Object, "meta.k8s.io/v1")),
            _ => return None,
        };
        let discovery = form_version.starts_with("apidiscovery");
        let form = match self.parameter("as") {
            "" => Form::Object,
            "APIGroupDiscoveryList" if discovery => Form::AggregatedDiscovery,
            "Table" if !discovery => Form::Table,
            "PartialObjectMetadata" if !discovery => Form::Metadata,
            "PartialObjectMetadataList" if !discovery => Form::MetadataList,
            _ => return None,
        };
        Some((form, form_version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &str, offer: Offer<'_>) -> Result<(Form, Encoding), String> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        negotiate(&headers, &Query::default(), offer)
            .map(|asked| (asked.form, asked.encoding))
            .map_err(|error| error.message)
    }

    #[test]
    fn the_first_form_that_the_server_has_wins() {
        let pod = GroupVersionKind::from_object("v1", "Pod");
        let objects = Offer::Objects(Some(&pod));
        let cases = [
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Form::Table, Encoding::Json),
            ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Form::Object, Encoding::Json),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
                Form::Object,
                Encoding::Json,
            ),
            ("application/vnd.kubernetes.protobuf, application/json", Form::Object, Encoding::Protobuf),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
                Form::Metadata,
                Encoding::Protobuf,
            ),
            ("application/yaml", Form::Object, Encoding::Yaml),
            ("*/*;q=0.8, application/yaml", Form::Object, Encoding::Yaml),
            ("*/*;q=0.8", Form::Object, Encoding::Json),
            ("text/html, application/json; charset=utf-8", Form::Object, Encoding::Json),
        ];
        for (accept, form, encoding) in cases {
            assert_eq!(asked(accept, objects), Ok((form, encoding)), "{accept}");
        }
    }

    #[test]
    fn refusals_name_what_there_is() {
        let widget = GroupVersionKind::from_object("example.com/v1", "Widget");
        assert_eq!(
            asked("application/cbor", Offer::Objects(None)).unwrap_err(),
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf"
        );
        assert!(asked(protobuf::MEDIA_TYPE, Offer::Objects(Some(&widget))).is_err());
        assert_eq!(
            asked(
                "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList",
                Offer::Discovery { aggregated: true }
            )
            .unwrap_err(),
            "only the following media types are accepted: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf"
        );
        assert!(asked("application/yaml", Offer::Watch(None)).is_err());
    }

    #[test]
    fn discovery_is_aggregated_only_where_it_can_be() {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,\
                      application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let aggregated = asked(accept, Offer::Discovery { aggregated: true });
        assert_eq!(aggregated, Ok((Form::AggregatedDiscovery, Encoding::Json)));
        assert_eq!(asked(accept, Offer::Discovery { aggregated: false }), Ok((Form::Object, Encoding::Json)));
    }
}
