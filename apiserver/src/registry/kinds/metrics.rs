//! NodeMetrics and PodMetrics (`metrics.k8s.io/v1beta1`): what nodes and pods use now. Nothing of them is stored.

use std::collections::BTreeMap;

use k8s_openapi::{ClusterResourceScope, Metadata, NamespaceResourceScope, Resource};
use reeve_api::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::registry::strategy::Strategy;

/// The group.
pub const GROUP: &str = "metrics.k8s.io";

/// Quantities by resource: `cpu` in nanocores, `memory` in kibibytes.
pub type Usage = BTreeMap<String, String>;

/// What a node uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeMetrics {
    /// The node's name and labels.
    pub metadata: ObjectMeta,
    /// The end of the time that the rates are of.
    pub timestamp: String,
    /// Its length.
    pub window: String,
    /// What is used.
    pub usage: Usage,
}

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerMetrics {
    /// The container's name.
    pub name: String,
    /// What is used.
    pub usage: Usage,
}

/// What a pod uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetrics {
    /// The pod's name and labels.
    pub metadata: ObjectMeta,
    /// The end of the time that the rates are of.
    pub timestamp: String,
    /// Its length.
    pub window: String,
    /// Its containers.
    pub containers: Vec<ContainerMetrics>,
}

macro_rules! kind {
    ($type:ident, $path:literal, $scope:ty) => {
        impl Resource for $type {
            const API_VERSION: &'static str = "metrics.k8s.io/v1beta1";
            const GROUP: &'static str = GROUP;
            const KIND: &'static str = stringify!($type);
            const VERSION: &'static str = "v1beta1";
            const URL_PATH_SEGMENT: &'static str = $path;
            type Scope = $scope;
        }

        impl Metadata for $type {
            type Ty = ObjectMeta;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

kind!(NodeMetrics, "nodes", ClusterResourceScope);
kind!(PodMetrics, "pods", NamespaceResourceScope);

/// The strategy of nodes' figures.
pub struct AllNodeMetrics;

impl Strategy for AllNodeMetrics {
    type Object = NodeMetrics;
}

/// The strategy of pods' figures.
pub struct AllPodMetrics;

impl Strategy for AllPodMetrics {
    type Object = PodMetrics;
}
