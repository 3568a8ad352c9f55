//! Which images that are there need credentials at all: upstream's `imagePullCredentialsVerificationPolicy`. Pure.

use crate::pod::image;

/// Whose images need credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VerificationPolicy {
    /// Nobody's: every pod may use every image that is there.
    NeverVerify,
    /// Those that this kubelet has pulled; what was there before is for everybody.
    #[default]
    NeverVerifyPreloadedImages,
    /// All but these: names without tag, or beginnings that end in `/*`.
    NeverVerifyAllowlistedImages(Vec<String>),
    /// All.
    AlwaysVerify,
}

/// Why a policy is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// No such policy.
    #[error(
        "unknown image pull credential verification policy: {0}; use NeverVerify, NeverVerifyPreloadedImages, NeverVerifyAllowlistedImages or AlwaysVerify"
    )]
    Unknown(String),
    /// The list goes with another policy.
    #[error("an allowlist is for the policy NeverVerifyAllowlistedImages only")]
    Superfluous,
    /// An entry of the list is no image's name.
    #[error("{pattern}: {why}")]
    Pattern {
        /// The entry.
        pattern: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl VerificationPolicy {
    /// The policy of this name, with its list.
    ///
    /// # Errors
    /// There is no such policy, or the list is not in order.
    pub fn parse(name: &str, allowed: &[String]) -> Result<Self, PolicyError> {
        let policy = match name {
            "NeverVerify" => Self::NeverVerify,
            "NeverVerifyPreloadedImages" => Self::NeverVerifyPreloadedImages,
            "AlwaysVerify" => Self::AlwaysVerify,
            "NeverVerifyAllowlistedImages" => {
                allowed.iter().try_for_each(|it| check(it))?;
                return Ok(Self::NeverVerifyAllowlistedImages(allowed.to_vec()));
            }
            other => return Err(PolicyError::Unknown(other.to_owned())),
        };
        if allowed.is_empty() { Ok(policy) } else { Err(PolicyError::Superfluous) }
    }

    /// The policy's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NeverVerify => "NeverVerify",
            Self::NeverVerifyPreloadedImages => "NeverVerifyPreloadedImages",
            Self::NeverVerifyAllowlistedImages(_) => "NeverVerifyAllowlistedImages",
            Self::AlwaysVerify => "AlwaysVerify",
        }
    }

    /// Whether an image that is there needs credentials, by its name without tag and digest.
    pub fn verifies(&self, name: &str, pulled_by_kubelet: bool) -> bool {
        match self {
            Self::NeverVerify => false,
            Self::NeverVerifyPreloadedImages => pulled_by_kubelet,
            Self::NeverVerifyAllowlistedImages(allowed) => !allowed.iter().any(|pattern| {
                pattern.strip_suffix('*').map_or(pattern == name, |beginning| name.starts_with(beginning))
            }),
            Self::AlwaysVerify => true,
        }
    }
}

fn check(pattern: &str) -> Result<(), PolicyError> {
    let refused = |why| Err(PolicyError::Pattern { pattern: pattern.to_owned(), why });
    if pattern != pattern.trim() {
        return refused("leading/trailing spaces are not allowed");
    }
    let beginning = pattern.strip_suffix("/*");
    if beginning == Some("") {
        return refused("at least registry hostname is required");
    }
    if beginning.unwrap_or(pattern).contains('*') {
        return refused("not a valid wildcard pattern, only patterns ending with '/*' are allowed");
    }
    if beginning.is_none() && (image::invalid(pattern).is_some() || image::repository(pattern) != pattern) {
        return refused("a full image name is needed, with its registry and without tag and digest");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_says_what_needs_credentials() {
        let verifies = |name: &str, allowed: &[&str], image: &str, pulled: bool| {
            let allowed: Vec<String> = allowed.iter().map(|it| (*it).to_owned()).collect();
            VerificationPolicy::parse(name, &allowed).unwrap().verifies(image, pulled)
        };
        assert!(!verifies("NeverVerify", &[], "a.example/x", true));
        assert!(verifies("AlwaysVerify", &[], "a.example/x", false));
        assert!(verifies("NeverVerifyPreloadedImages", &[], "a.example/x", true));
        assert!(!verifies("NeverVerifyPreloadedImages", &[], "a.example/x", false));
        let allowed = &["a.example/x", "b.example/team/*"];
        for (image, wanted) in
            [("a.example/x", false), ("a.example/x/y", true), ("b.example/team/z", false), ("b.example/teams", true)]
        {
            assert_eq!(verifies("NeverVerifyAllowlistedImages", allowed, image, true), wanted, "{image}");
        }
    }

    #[test]
    fn lists_that_are_not_in_order_are_refused() {
        let parse = |name: &str, allowed: &str| VerificationPolicy::parse(name, &[allowed.to_owned()]).is_err();
        for pattern in ["/*", "a*b", "a.example/*/b", " a.example/x", "a.example/x:1", "x", ""] {
            assert!(parse("NeverVerifyAllowlistedImages", pattern), "{pattern}");
        }
        assert!(parse("AlwaysVerify", "a.example/x"));
        assert!(VerificationPolicy::parse("Sometimes", &[]).is_err());
        assert_eq!(VerificationPolicy::default().name(), "NeverVerifyPreloadedImages");
    }
}
