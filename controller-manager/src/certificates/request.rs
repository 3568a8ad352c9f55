//! What a request asks for, and whether that is what a signer signs (`pkg/apis/certificates`, helpers).

use std::collections::BTreeSet;
use std::net::IpAddr;

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The subject, in DER.
    pub subject: Vec<u8>,
    /// The public key with its algorithm, in DER.
    pub public_key: Vec<u8>,
    /// The subject's common name; empty for none.
    pub common_name: String,
    /// The subject's organizations.
    pub organizations: Vec<String>,
    /// The names that it should be valid for.
    pub dns_names: Vec<String>,
    /// The addresses that it should be valid for.
    pub addresses: Vec<IpAddr>,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
}

impl Request {
    /// Reads a request in PEM and verifies that the asker has the key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(pem: &[u8]) -> Result<Request, String> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
        let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
        parsed.verify_signature().map_err(|error| format!("the request's signature: {error}"))?;
        let info = &parsed.certification_request_info;
        let texts = |found: Option<&str>| found.map(str::to_owned);
        let mut request = Request {
            subject: info.subject.as_raw().to_vec(),
            public_key: info.subject_pki.raw.to_vec(),
            common_name: info
                .subject
                .iter_common_name()
                .last()
                .and_then(|name| texts(name.as_str().ok()))
                .unwrap_or_default(),
            organizations: info
                .subject
                .iter_organization()
                .map(|name| name.as_str().map(str::to_owned).map_err(|error| error.to_string()))
                .collect::<Result<_, _>>()?,
            ..Request::default()
        };
        for extension in parsed.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                for name in &names.general_names {
                    request.take_name(name)?;
                }
            }
        }
        Ok(request)
    }

    fn take_name(&mut self, name: &GeneralName<'_>) -> Result<(), String> {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let address = <[u8; 4]>::try_from(*bytes)
                    .map(IpAddr::from)
                    .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
                    .map_err(|_| format!("an address of {} bytes", bytes.len()))?;
                self.addresses.push(address);
            }
            // Other sorts are not copied into certificates.
            _ => {}
        }
        Ok(())
    }
}

const ORGANIZATION: &str = "subject organization is not system:nodes";
const COMMON_NAME: &str = "subject common name does not begin with system:node:";
const NAMES_NEEDED: &str = "DNS or IP subjectAltName is required";

fn usages_match(usages: &[String], required: [&str; 2]) -> Result<(), String> {
    let given: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
    let least = BTreeSet::from(required);
    let mut with_encipherment = least.clone();
    with_encipherment.insert("key encipherment");
    if given == least || given == with_encipherment {
        return Ok(());
    }
    let list: Vec<&str> = with_encipherment.into_iter().collect();
    Err(format!("usages did not match [{}]", list.join(" ")))
}

fn is_of_node(request: &Request) -> Result<(), String> {
    if request.organizations == ["system:nodes"] { Ok(()) } else { Err(ORGANIZATION.to_owned()) }
}

fn names_node(request: &Request) -> Result<(), String> {
    if request.common_name.starts_with("system:node:") { Ok(()) } else { Err(COMMON_NAME.to_owned()) }
}

fn without(names: &[impl Sized], sort: &str) -> Result<(), String> {
    if names.is_empty() { Ok(()) } else { Err(format!("{sort} subjectAltNames are not allowed")) }
}

/// Whether this is a kubelet that wants to be a client.
///
/// # Errors
/// Why not.
pub fn kubelet_client(request: &Request, usages: &[String]) -> Result<(), String> {
    is_of_node(request)?;
    without(&request.dns_names, "DNS")?;
    without(&request.emails, "Email")?;
    without(&request.addresses, "IP")?;
    without(&request.uris, "URI")?;
    names_node(request)?;
    usages_match(usages, ["digital signature", "client auth"])
}

/// Whether this is a kubelet that wants to serve.
///
/// # Errors
/// Why not.
pub fn kubelet_serving(request: &Request, usages: &[String]) -> Result<(), String> {
    is_of_node(request)?;
    if request.dns_names.is_empty() && request.addresses.is_empty() {
        return Err(NAMES_NEEDED.to_owned());
    }
    without(&request.emails, "Email")?;
    without(&request.uris, "URI")?;
    usages_match(usages, ["digital signature", "server auth"])?;
    names_node(request)
}

/// Whether the usages are those of a client.
///
/// # Errors
/// Why not.
pub fn client(usages: &[String]) -> Result<(), String> {
    let known = ["digital signature", "key encipherment", "client auth"];
    if let Some(other) = usages.iter().find(|usage| !known.contains(&usage.as_str())) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if usages.iter().any(|usage| usage == "client auth") {
        return Ok(());
    }
    Err("missing required usage for client certificate: client auth".to_owned())
}
