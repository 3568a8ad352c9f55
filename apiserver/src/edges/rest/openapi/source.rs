//! Where the documents come from: those of Kubernetes 1.36 (Apache-2.0), packed, one a group version.
//!
//! `schemas.json.gz` holds every schema by name; each of the others has `paths`, and the `schemas` that its group
//! version has in another form than the rest.

use std::collections::BTreeMap;
use std::io::{self, Read as _};

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The schemas of all group versions.
pub const SCHEMAS: &[u8] = include_bytes!("upstream/schemas.json.gz");

macro_rules! sources {
    ($($path:literal $file:literal)*) => {
        &[$(($path, include_bytes!(concat!("upstream/", $file, ".json.gz")).as_slice())),*]
    };
}

/// The path of each document and its packed bytes, in the order of the paths.
pub const GROUP_VERSIONS: &[(&str, &[u8])] = sources! {
    "api/v1" "core_v1"
    "apis/admissionregistration.k8s.io/v1" "admissionregistration.k8s.io_v1"
    "apis/apiextensions.k8s.io/v1" "apiextensions.k8s.io_v1"
    "apis/apiregistration.k8s.io/v1" "apiregistration.k8s.io_v1"
    "apis/apps/v1" "apps_v1"
    "apis/authentication.k8s.io/v1" "authentication.k8s.io_v1"
    "apis/authorization.k8s.io/v1" "authorization.k8s.io_v1"
    "apis/autoscaling/v1" "autoscaling_v1"
    "apis/autoscaling/v2" "autoscaling_v2"
    "apis/batch/v1" "batch_v1"
    "apis/certificates.k8s.io/v1" "certificates.k8s.io_v1"
    "apis/coordination.k8s.io/v1" "coordination.k8s.io_v1"
    "apis/discovery.k8s.io/v1" "discovery.k8s.io_v1"
    "apis/events.k8s.io/v1" "events.k8s.io_v1"
    "apis/flowcontrol.apiserver.k8s.io/v1" "flowcontrol.apiserver.k8s.io_v1"
    "apis/networking.k8s.io/v1" "networking.k8s.io_v1"
    "apis/node.k8s.io/v1" "node.k8s.io_v1"
    "apis/policy/v1" "policy_v1"
    "apis/rbac.authorization.k8s.io/v1" "rbac.authorization.k8s.io_v1"
    "apis/resource.k8s.io/v1" "resource.k8s.io_v1"
    "apis/scheduling.k8s.io/v1" "scheduling.k8s.io_v1"
    "apis/storage.k8s.io/v1" "storage.k8s.io_v1"
    "version" "version"
};

/// The text of a packed document.
///
/// # Errors
///
/// None for the documents here, which a test unpacks.
pub fn unpack(packed: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text)?;
    Ok(text)
}

/// Schemas or paths by name, each as its text.
pub type Texts<'a> = BTreeMap<&'a str, &'a RawValue>;

/// What a packed document of a group version holds.
#[derive(Deserialize)]
pub struct Source<'a> {
    /// What can be asked, by path.
    #[serde(borrow)]
    pub paths: Texts<'a>,
    /// Schemas that differ here.
    #[serde(borrow)]
    pub schemas: Texts<'a>,
}
