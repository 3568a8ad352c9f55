//! The custom resource: a site with a page, listed in its namespace's directory.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a user asks for.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "operator.example.com",
    version = "v1",
    kind = "Site",
    shortname = "st",
    namespaced,
    status = "SiteStatus",
    printcolumn = r#"{"name": "Title", "type": "string", "jsonPath": ".spec.title"}"#,
    printcolumn = r#"{"name": "Pages", "type": "integer", "jsonPath": ".status.pages"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct SiteSpec {
    /// The words on each page.
    pub title: String,
    /// How many pages; one if nothing is said.
    #[serde(default = "one_page")]
    #[schemars(range(min = 1, max = 5))]
    pub pages: u32,
}

fn one_page() -> u32 {
    1
}

/// What the operator made of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteStatus {
    /// The pages that were written.
    pub pages: u32,
    /// The generation of the site that they are of.
    pub observed_generation: i64,
}
