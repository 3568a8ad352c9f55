//! Tables: the columns of each resource and the cells of its objects, as `kubectl get` shows them
//! (`k8s.io/kubernetes/pkg/printers/internalversion`).

mod access;
mod admission;
mod autoscaler;
mod batch;
mod cluster;
mod columns;
mod devices;
mod network;
mod pod;
mod policy;
mod storage;
mod view;
mod workload;

use jiff::Timestamp;
use serde_json::Value;

use crate::resource::GroupVersionResource;
use view::{View, age, object_name};

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The header, for instance `Cluster-IP`.
    pub name: &'static str,
    /// `string` or `integer`.
    pub kind: &'static str,
    /// `name` for the column that names the object, otherwise empty.
    pub format: &'static str,
    /// What the column tells.
    pub description: &'static str,
    /// 0 for columns that are always shown, 1 for those of the wide output.
    pub priority: i32,
}

type Cells = fn(View<'_>, Timestamp) -> Vec<Value>;

fn printer(resource: &GroupVersionResource) -> (&'static [Column], Cells) {
    match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "namespaces") => (columns::NAMESPACES, cluster::namespace),
        ("", "nodes") => (columns::NODES, cluster::node),
        ("", "pods") => (columns::PODS, pod::cells),
        ("", "services") => (columns::SERVICES, network::service),
        ("", "configmaps") => (columns::CONFIGMAPS, cluster::config_map),
        ("", "secrets") => (columns::SECRETS, cluster::secret),
        ("", "serviceaccounts") => (columns::SERVICEACCOUNTS, plain),
        ("" | "events.k8s.io", "events") => (columns::EVENTS, cluster::event),
        ("apps", "deployments") => (columns::DEPLOYMENTS, workload::deployment),
        ("apps", "replicasets") => (columns::REPLICASETS, workload::replica_set),
        ("apps", "controllerrevisions") => (columns::workload::CONTROLLER_REVISIONS, workload::controller_revision),
        ("apps", "daemonsets") => (columns::workload::DAEMON_SETS, workload::daemon_set),
        ("apps", "statefulsets") => (columns::workload::STATEFUL_SETS, workload::stateful_set),
        ("", "podtemplates") => (columns::workload::POD_TEMPLATES, workload::pod_template),
        ("", "replicationcontrollers") => {
            (columns::workload::REPLICATION_CONTROLLERS, workload::replication_controller)
        }
        ("autoscaling", "horizontalpodautoscalers") => (columns::workload::AUTOSCALERS, autoscaler::cells),
        ("autoscaling", "scales") => (columns::SCALES, workload::scale),
        ("batch", "cronjobs") => (columns::workload::CRON_JOBS, batch::cron_job),
        ("batch", "jobs") => (columns::workload::JOBS, batch::job),
        ("policy", "poddisruptionbudgets") => (columns::workload::DISRUPTION_BUDGETS, workload::disruption_budget),
        ("coordination.k8s.io", "leases") => (columns::LEASES, cluster::lease),
        ("discovery.k8s.io", "endpointslices") => (columns::ENDPOINTSLICES, network::endpoint_slice),
        ("", "endpoints") => (columns::networking::ENDPOINTS, network::endpoints),
        ("", "persistentvolumes") => (columns::storage::PERSISTENTVOLUMES, storage::volume),
        ("", "persistentvolumeclaims") => (columns::storage::PERSISTENTVOLUMECLAIMS, storage::claim),
        ("", "resourcequotas") => (columns::policy::RESOURCEQUOTAS, policy::quota),
        ("", "componentstatuses") => (columns::policy::COMPONENTSTATUSES, policy::component),
        ("", "limitranges")
        | (RBAC, "roles" | "clusterroles")
        | ("storage.k8s.io", "csistoragecapacities")
        | ("apiextensions.k8s.io", "customresourcedefinitions") => (columns::CREATED_AT, created_at),
        (RBAC, "rolebindings") => (columns::access::ROLEBINDINGS, access::binding),
        (RBAC, "clusterrolebindings") => (columns::access::CLUSTERROLEBINDINGS, access::binding),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            (columns::access::CERTIFICATESIGNINGREQUESTS, access::certificate_request)
        }
        ("admissionregistration.k8s.io", resource) => admission(resource),
        ("networking.k8s.io", resource) => networking(resource),
        ("storage.k8s.io", resource) => storage(resource),
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => (columns::policy::FLOWSCHEMAS, policy::flow_schema),
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => {
            (columns::policy::PRIORITYLEVELCONFIGURATIONS, policy::priority_level)
        }
        ("apiregistration.k8s.io", "apiservices") => (columns::devices::APISERVICES, devices::api_service),
        ("resource.k8s.io", "resourceclaims") => (columns::devices::RESOURCECLAIMS, devices::claim),
        ("resource.k8s.io", "resourceslices") => (columns::devices::RESOURCESLICES, devices::slice),
        ("scheduling.k8s.io", "priorityclasses") => (columns::policy::PRIORITYCLASSES, policy::priority_class),
        ("node.k8s.io", "runtimeclasses") => (columns::policy::RUNTIMECLASSES, policy::runtime_class),
        _ => (columns::DEFAULT, plain),
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

fn admission(resource: &str) -> (&'static [Column], Cells) {
    use columns::admission::*;
    match resource {
        "mutatingadmissionpolicies" => (MUTATINGADMISSIONPOLICIES, admission::mutating_policy),
        "mutatingadmissionpolicybindings" => (MUTATINGADMISSIONPOLICYBINDINGS, admission::policy_binding),
        "mutatingwebhookconfigurations" => (MUTATINGWEBHOOKCONFIGURATIONS, admission::webhooks),
        "validatingadmissionpolicies" => (VALIDATINGADMISSIONPOLICIES, admission::validating_policy),
        "validatingadmissionpolicybindings" => (VALIDATINGADMISSIONPOLICYBINDINGS, admission::policy_binding),
        "validatingwebhookconfigurations" => (VALIDATINGWEBHOOKCONFIGURATIONS, admission::webhooks),
        _ => (columns::DEFAULT, plain),
    }
}

fn networking(resource: &str) -> (&'static [Column], Cells) {
    use columns::networking::*;
    match resource {
        "ingresses" => (INGRESSES, network::ingress),
        "ingressclasses" => (INGRESSCLASSES, network::ingress_class),
        "ipaddresses" => (IPADDRESSES, network::address),
        "networkpolicies" => (NETWORKPOLICIES, network::network_policy),
        "servicecidrs" => (SERVICECIDRS, network::service_range),
        _ => (columns::DEFAULT, plain),
    }
}

fn storage(resource: &str) -> (&'static [Column], Cells) {
    use columns::storage::*;
    match resource {
        "csidrivers" => (CSIDRIVERS, storage::driver),
        "csinodes" => (CSINODES, storage::node),
        "storageclasses" => (STORAGECLASSES, storage::class),
        "volumeattachments" => (VOLUMEATTACHMENTS, storage::attachment),
        "volumeattributesclasses" => (VOLUMEATTRIBUTESCLASSES, storage::attributes_class),
        _ => (columns::DEFAULT, plain),
    }
}

/// The columns of a resource's table, in order.
pub fn columns(resource: &GroupVersionResource) -> &'static [Column] {
    printer(resource).0
}

/// The cells of an object, one for each of [`columns`]. Fields that are absent or of another type than
/// they should be read as empty.
pub fn cells(resource: &GroupVersionResource, object: &Value, now: Timestamp) -> Vec<Value> {
    (printer(resource).1)(View(object), now)
}

/// The text of a cell, as it is shown to people.
pub fn text(cell: &Value) -> String {
    match cell {
        Value::String(text) => text.clone(),
        Value::Null => "<none>".to_owned(),
        other => other.to_string(),
    }
}

fn plain(object: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![object_name(object), age(object, now)]
}

fn created_at(object: View<'_>, _now: Timestamp) -> Vec<Value> {
    vec![object_name(object), object.text("metadata.creationTimestamp").into()]
}

#[cfg(test)]
mod tests;
