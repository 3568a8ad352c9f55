//! Names that the system makes up.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use sha2::{Digest, Sha256};

/// Letters and digits without vowels and look-alikes, so that no words come out.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Characters that a generated suffix has.
const SUFFIX_LENGTH: usize = 5;
/// Most bytes of a generated name.
const NAME_MAX: usize = 63;

/// Numbers to letters that are safe in names; one letter for each byte.
pub fn safe_letters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

/// `metadata.generateName` and five random characters; the base is cut so that the name has at most
/// 63 bytes.
pub fn generate(base: &str, random: u64) -> String {
    let mut end = base.len().min(NAME_MAX - SUFFIX_LENGTH);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    let mut rest = random;
    let base = ALPHABET.len() as u64;
    for _ in 0..SUFFIX_LENGTH {
        let index = usize::try_from(rest % base).unwrap_or_default();
        name.push(char::from(ALPHABET[index]));
        rest /= base;
    }
    name
}

/// The `pod-template-hash` of a template: the same for equal templates, for ever. `collisions` is the
/// Deployment's count of name collisions.
pub fn pod_template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut hash = Sha256::new();
    // Struct fields are written in a fixed order and maps are sorted, so equal templates give equal bytes.
    hash.update(serde_json::to_vec(template).unwrap_or_default());
    if let Some(count) = collisions {
        hash.update(count.to_le_bytes());
    }
    safe_letters(&hash.finalize()[..10])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit_and_differ() {
        let long = "a".repeat(70);
        assert_eq!(generate(&long, 7).len(), 63);
        assert_eq!(generate("web-", 0), "web-bbbbb");
        assert_ne!(generate("web-", 1), generate("web-", 2));
    }

    #[test]
    fn a_hash_depends_on_template_and_collisions_only() {
        let template = PodTemplateSpec::default();
        let hash = pod_template_hash(&template, None);
        assert_eq!(hash, pod_template_hash(&template.clone(), None));
        assert_ne!(hash, pod_template_hash(&template, Some(1)));
        assert_eq!(hash.len(), 10);
    }
}
