//! The version of the Kubernetes API that this server speaks.

/// The major version.
pub const MAJOR: &str = "1";
/// The minor version.
pub const MINOR: &str = "36";

/// `v1.36.2`: the release whose API this is.
pub fn git_version() -> String {
    format!("v{MAJOR}.{MINOR}.2")
}

/// `reeve-0.1.0`: what this program is.
pub fn build() -> String {
    format!("reeve-{}", env!("CARGO_PKG_VERSION"))
}

/// `linux/amd64`, with Go's names of architectures, as clients expect them.
pub fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{architecture}", std::env::consts::OS)
}
