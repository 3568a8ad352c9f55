//! The certificate authority of the cluster: makes certificates from templates.

use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber, SigningKey as _, SubjectPublicKeyInfo,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::sign::Template;

/// DER's tags of what is put together here.
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// Why certificates cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The files of the authority are wrong.
    #[error("the signer's files: {0}")]
    Files(String),
    /// A certificate cannot be made from a template.
    #[error("cannot make a certificate: {0}")]
    Make(String),
}

/// Makes certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// When its own certificate ends.
    pub ends: Timestamp,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl Authority {
    /// An authority with a certificate and its key, in PEM.
    ///
    /// # Errors
    /// They cannot be read, or do not belong together.
    pub fn new(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| AuthorityError::Files(format!("{what}: {error}"));
        // The key may come after other blocks, as the parameters of its curve.
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| wrong("key", &error))?;
        let key = KeyPair::try_from(&key).map_err(|error| wrong("key", &error))?;
        let der =
            CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|error| wrong("certificate", &error))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| wrong("certificate", &error))?;
        if parsed.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(AuthorityError::Files("the key is not that of the certificate".to_owned()));
        }
        let ends = Timestamp::from_second(parsed.validity().not_after.timestamp())
            .map_err(|error| wrong("the certificate's end", &error))?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| wrong("certificate", &error))?;
        Ok(Self { issuer, ends })
    }

    /// Makes a certificate, in PEM. `serial` must be unique.
    ///
    /// # Errors
    /// The template asks for what a certificate cannot say.
    pub fn make(&self, template: &Template, serial: [u8; 16]) -> Result<String, AuthorityError> {
        let wrong = |error: rcgen::Error| AuthorityError::Make(error.to_string());
        let mut params = CertificateParams::default();
        // Takes the place of the real subject, which is put in as it was asked for below.
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "subject");
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = std::time::SystemTime::from(template.not_before).into();
        params.not_after = std::time::SystemTime::from(template.not_after).into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = names(template).map_err(wrong)?;
        for usage in &template.usages {
            if let Some(usage) = key_usage(usage) {
                params.key_usages.push(usage);
            } else if let Some(usage) = extended_usage(usage) {
                params.extended_key_usages.push(usage);
            }
        }
        let key = SubjectPublicKeyInfo::from_der(&template.request.public_key).map_err(wrong)?;
        let made = params.signed_by(&key, &self.issuer).map_err(wrong)?;
        let der = self.with_subject(made.der(), &template.request.subject)?;
        Ok(pem(&der))
    }

    /// The certificate with its subject replaced, signed anew. A subject can say more than the library's can: a
    /// user of several groups has several organizations.
    fn with_subject(&self, der: &[u8], subject: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        let wrong = |error: &dyn std::fmt::Display| AuthorityError::Make(error.to_string());
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| wrong(&error))?;
        let body = &parsed.tbs_certificate;
        // The fields of the body before and behind the subject, as they are.
        let raw = body.as_ref();
        let content = raw.get(header_length(raw)..).unwrap_or_default();
        let old = body.subject.as_raw();
        let start = old.as_ptr().addr().wrapping_sub(content.as_ptr().addr());
        let (Some(before), Some(behind)) = (content.get(..start), content.get(start + old.len()..)) else {
            return Err(wrong(&"the subject lies outside of the certificate"));
        };
        let body = element(SEQUENCE, &[before, subject, behind]);
        let signature = self.issuer.key().sign(&body).map_err(|error| wrong(&error))?;
        let outer = der.get(header_length(der) + raw.len()..).unwrap_or_default();
        // The algorithm comes first of what follows the body.
        let algorithm = outer.get(..element_length(outer)).unwrap_or_default();
        let signature = element(BIT_STRING, &[&[0], &signature]);
        Ok(element(SEQUENCE, &[&body, algorithm, &signature]))
    }
}

/// The length of an element's tag and length. The elements here are from the library and whole.
fn header_length(element: &[u8]) -> usize {
    match element.get(1) {
        Some(&length) if length & 0x80 != 0 => 2 + usize::from(length & 0x7f),
        _ => 2,
    }
}

fn element_length(element: &[u8]) -> usize {
    let header = header_length(element);
    let length = match element.get(1) {
        Some(&length) if length & 0x80 == 0 => usize::from(length),
        _ => element.get(2..header).unwrap_or_default().iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
    };
    header + length
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if length < 0x80 {
        out.extend(u8::try_from(length));
    } else {
        let bytes = length.to_be_bytes();
        let bytes: Vec<u8> = bytes.into_iter().skip_while(|&byte| byte == 0).collect();
        out.extend(u8::try_from(bytes.len()).map(|count| 0x80 | count));
        out.extend(bytes);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

fn names(template: &Template) -> Result<Vec<SanType>, rcgen::Error> {
    let request = &template.request;
    let mut names = Vec::new();
    for name in &request.dns_names {
        names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    for email in &request.emails {
        names.push(SanType::Rfc822Name(email.as_str().try_into()?));
    }
    names.extend(request.addresses.iter().map(|address| SanType::IpAddress(*address)));
    for uri in &request.uris {
        names.push(SanType::URI(uri.as_str().try_into()?));
    }
    Ok(names)
}

fn key_usage(usage: &str) -> Option<KeyUsagePurpose> {
    Some(match usage {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        _ => return None,
    })
}

fn extended_usage(usage: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match usage {
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        _ => return None,
    })
}
