//! The keys of service account tokens: one signs, several may verify, all are published.

use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rcgen::PublicKeyData as _;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// A public key.
pub struct VerifyingKey {
    /// What tokens call it: the hash of the key.
    pub id: String,
    /// The only algorithm that it is used with.
    pub algorithm: Algorithm,
    /// The key.
    pub key: DecodingKey,
    /// As a JSON web key.
    pub published: serde_json::Value,
}

/// A private key.
struct SigningKey {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

/// The key that signs and the keys that verify.
pub struct Keys {
    signing: SigningKey,
    verifying: Vec<VerifyingKey>,
}

impl Keys {
    /// Keys from PEM files: a private one to sign, public (or private) ones to verify. Without files a key is made
    /// that lives as long as the process.
    ///
    /// # Errors
    /// When a file cannot be read or holds no key of a kind that tokens are signed with.
    pub fn load(signing: Option<&Path>, verifying: &[impl AsRef<Path>]) -> anyhow::Result<Self> {
        let read =
            |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let private = match signing {
            Some(path) => read(path)?,
            None => {
                tracing::warn!(
                    "no --service-account-signing-key-file: service account tokens are signed with a key that ends \
                     with this process"
                );
                rcgen::KeyPair::generate().context("cannot make a key")?.serialize_pem()
            }
        };
        let place = signing.map_or_else(|| "the generated key".to_owned(), |path| path.display().to_string());
        let own = public_of_private(&private).with_context(|| format!("{place} is not a private key"))?;
        let own = verifying_key(&own).with_context(|| format!("{place} cannot sign tokens"))?;
        let key = match own.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(private.as_bytes()),
            _ => EncodingKey::from_ec_pem(private.as_bytes()),
        };
        let key = key.with_context(|| format!("{place} is not in PKCS #8 form"))?;
        let signing = SigningKey { id: own.id.clone(), algorithm: own.algorithm, key };
        let mut all = vec![own];
        for path in verifying {
            let path = path.as_ref();
            let text = read(path)?;
            let public = match SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()) {
                Ok(public) => public.to_vec(),
                Err(_) => public_of_private(&text).with_context(|| format!("{} holds no key", path.display()))?,
            };
            let key = verifying_key(&public).with_context(|| format!("{} cannot verify tokens", path.display()))?;
            if all.iter().all(|known| known.id != key.id) {
                all.push(key);
            }
        }
        Ok(Self { signing, verifying: all })
    }

    /// Signs claims.
    ///
    /// # Errors
    /// When the claims have no JSON form.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(self.signing.algorithm);
        header.kid = Some(self.signing.id.clone());
        header.typ = None;
        jsonwebtoken::encode(&header, claims, &self.signing.key)
    }

    /// The key that a token names; any key may have signed one that names none.
    pub fn candidates<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a VerifyingKey> {
        self.verifying.iter().filter(move |key| id.is_none_or(|id| key.id == id))
    }

    /// All public keys.
    pub fn all(&self) -> &[VerifyingKey] {
        &self.verifying
    }
}

fn public_of_private(pem: &str) -> anyhow::Result<Vec<u8>> {
    Ok(rcgen::KeyPair::from_pem(pem)?.subject_public_key_info())
}

fn verifying_key(der: &[u8]) -> anyhow::Result<VerifyingKey> {
    let (_, info) = SubjectPublicKeyInfo::from_der(der)?;
    let id = URL_SAFE_NO_PAD.encode(Sha256::digest(der));
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    match info.parsed()? {
        PublicKey::EC(point) => {
            let data = point.data();
            let coordinates = data.strip_prefix(&[4]).context("the point of the key is compressed")?;
            let (algorithm, curve, name) = match coordinates.len() {
                64 => (Algorithm::ES256, "P-256", "ES256"),
                96 => (Algorithm::ES384, "P-384", "ES384"),
                _ => anyhow::bail!("only the curves P-256 and P-384 are supported"),
            };
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            let (x, y) = (encoded(x), encoded(y));
            let published = serde_json::json!({
                "use": "sig", "kty": "EC", "kid": id, "crv": curve, "alg": name, "x": x, "y": y,
            });
            Ok(VerifyingKey { id, algorithm, key: DecodingKey::from_ec_components(&x, &y)?, published })
        }
        PublicKey::RSA(key) => {
            let trimmed = |bytes: &[u8]| {
                let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
                encoded(&bytes[start..])
            };
            let (n, e) = (trimmed(key.modulus), trimmed(key.exponent));
            let published = serde_json::json!({
                "use": "sig", "kty": "RSA", "kid": id, "alg": "RS256", "n": n, "e": e,
            });
            let key = DecodingKey::from_rsa_components(&n, &e)?;
            Ok(VerifyingKey { id, algorithm: Algorithm::RS256, key, published })
        }
        _ => anyhow::bail!("tokens are signed with RSA or ECDSA keys"),
    }
}
