//! The core group (`v1`).

use crate::registry::kinds;
use crate::registry::{Row, SubresourceAction};

use super::events::kept_for_a_while;
use super::{CREATE, PART, PROXY, STREAM, row, words};

const PODS: &str = "/registry/pods/";

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(&kinds::config_map::ConfigMaps, "/registry/configmaps/", words("configmap", &["cm"], &[])),
        component_statuses(),
        row(&kinds::endpoints::AllEndpoints, "/registry/services/endpoints/", words("endpoints", &["ep"], &[]))
            .deprecated("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        kept_for_a_while(row(&kinds::event::CoreEvents, "/registry/events/", words("event", &["ev"], &[]))),
        row(&kinds::limit_range::LimitRanges, "/registry/limitranges/", words("limitrange", &["limits"], &[])),
        namespaces(),
        row(&kinds::node::Nodes, "/registry/minions/", words("node", &["no"], &[]))
            .with("proxy", SubresourceAction::Proxy, Some(("v1", "NodeProxyOptions")), PROXY)
            .with_status(),
        row(
            &kinds::persistent_volume_claim::PersistentVolumeClaims,
            "/registry/persistentvolumeclaims/",
            words("persistentvolumeclaim", &["pvc"], &[]),
        )
        .with_status(),
        row(
            &kinds::persistent_volume::PersistentVolumes,
            "/registry/persistentvolumes/",
            words("persistentvolume", &["pv"], &[]),
        )
        .with_status(),
        pods(),
        // A binding is a write to its pod, beside which it lives.
        row(&kinds::binding::Bindings, PODS, words("binding", &[], &[])).with_verbs(CREATE),
        row(&kinds::pod_template::PodTemplates, "/registry/podtemplates/", words("podtemplate", &[], &[])),
        row(
            &kinds::replication_controller::ReplicationControllers,
            "/registry/controllers/",
            words("replicationcontroller", &["rc"], &["all"]),
        )
        .with_scale()
        .with_status(),
        row(
            &kinds::resource_quota::ResourceQuotas,
            "/registry/resourcequotas/",
            words("resourcequota", &["quota"], &[]),
        )
        .with_status(),
        row(&kinds::secret::Secrets, "/registry/secrets/", words("secret", &[], &[])),
        row(
            &kinds::service_account::ServiceAccounts,
            "/registry/serviceaccounts/",
            words("serviceaccount", &["sa"], &[]),
        )
        .with("token", SubresourceAction::Token, Some(("authentication.k8s.io/v1", "TokenRequest")), CREATE),
        row(&kinds::service::Services, "/registry/services/specs/", words("service", &["svc"], &["all"]))
            .with("proxy", SubresourceAction::Proxy, Some(("v1", "ServiceProxyOptions")), PROXY)
            .with_status(),
    ]
}

/// Nothing is stored there: the state of components is told by their own addresses.
fn component_statuses() -> Row {
    row(
        &kinds::component_status::ComponentStatuses,
        "/registry/componentstatuses/",
        words("componentstatus", &["cs"], &[]),
    )
    .deprecated("v1 ComponentStatus is deprecated in v1.19+")
    .with_verbs(&["get", "list"])
}

fn pods() -> Row {
    row(&kinds::pod::Pods, PODS, words("pod", &["po"], &["all"]))
        .with("attach", SubresourceAction::Attach, Some(("v1", "PodAttachOptions")), STREAM)
        .with("binding", SubresourceAction::Binding, Some(("v1", "Binding")), CREATE)
        .with("ephemeralcontainers", SubresourceAction::Part("ephemeralcontainers"), None, PART)
        .with("eviction", SubresourceAction::Eviction, Some(("policy/v1", "Eviction")), CREATE)
        .with("exec", SubresourceAction::Exec, Some(("v1", "PodExecOptions")), STREAM)
        .with("log", SubresourceAction::Log, None, &["get"])
        .with("portforward", SubresourceAction::PortForward, Some(("v1", "PodPortForwardOptions")), STREAM)
        .with("proxy", SubresourceAction::Proxy, Some(("v1", "PodProxyOptions")), PROXY)
        .with("resize", SubresourceAction::Part("resize"), None, PART)
        .with_status()
}

fn namespaces() -> Row {
    // Namespaces end one by one.
    row(&kinds::namespace::Namespaces, "/registry/namespaces/", words("namespace", &["ns"], &[]))
        .without_verb("deletecollection")
        .with("finalize", SubresourceAction::Finalize, None, &["update"])
        .with_status()
}
