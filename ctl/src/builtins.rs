//! The resources that every cluster serves, so that no round trip is needed to name them.
//!
//! Names, short names and categories are those of Kubernetes 1.36's discovery.

/// What rctl knows of a built-in resource without asking a server.
pub struct Builtin {
    /// Empty for the core group.
    pub group: &'static str,
    /// The preferred version.
    pub version: &'static str,
    /// Plural name.
    pub resource: &'static str,
    /// Singular name.
    pub singular: &'static str,
    /// Kind of the objects.
    pub kind: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Short names.
    pub short_names: &'static [&'static str],
    /// Categories, such as `all`.
    pub categories: &'static [&'static str],
}

#[rustfmt::skip]
/// In the order in which a bare word is looked up: the core group first.
pub const BUILTINS: &[Builtin] = &[
    Builtin { group: "", version: "v1", resource: "bindings", singular: "binding", kind: "Binding", namespaced: true, short_names: &[], categories: &[] },
    Builtin { group: "", version: "v1", resource: "componentstatuses", singular: "componentstatus", kind: "ComponentStatus", namespaced: false, short_names: &["cs"], categories: &[] },
    Builtin { group: "", version: "v1", resource: "configmaps", singular: "configmap", kind: "ConfigMap", namespaced: true, short_names: &["cm"], categories: &[] },
    Builtin { group: "", version: "v1", resource: "endpoints", singular: "endpoints", kind: "Endpoints", namespaced: true, short_names: &["ep"], categories: &[] },
    Builtin { group: "", version: "v1", resource: "events", singular: "event", kind: "Event", namespaced: true, short_names: &["ev"], categories: &[] },
    Builtin { group: "", version: "v1", resource: "limitranges", singular: "limitrange", kind: "LimitRange", namespaced: true, short_names: &["limits"], categories: &[] },
    Builtin { group: "", version: "v1", resource: "namespaces", singular: "namespace", kind: "Namespace", namespaced: false, short_names: &["ns"], categories: &[] },
    Builtin { group: "", version: "v1", resource: "nodes", singular: "node", kind: "Node", namespaced: false, short_names: &["no"], categories: &[] },
    Builtin { group: "", version: "v1", resource: "persistentvolumeclaims", singular: "persistentvolumeclaim", kind: "PersistentVolumeClaim", namespaced: true, short_names: &["pvc"], categories: &[] },
    Builtin { group: "", version: "v1", resource: "persistentvolumes", singular: "persistentvolume", kind: "PersistentVolume", namespaced: false, short_names: &["pv"], categories: &[] },
    Builtin { group: "", version: "v1", resource: "pods", singular: "pod", kind: "Pod", namespaced: true, short_names: &["po"], categories: &["all"] },
    Builtin { group: "", version: "v1", resource: "podtemplates", singular: "podtemplate", kind: "PodTemplate", namespaced: true, short_names: &[], categories: &[] },
    Builtin { group: "", version: "v1", resource: "replicationcontrollers", singular: "replicationcontroller", kind: "ReplicationController", namespaced: true, short_names: &["rc"], categories: &["all"] },
    Builtin { group: "", version: "v1", resource: "resourcequotas", singular: "resourcequota", kind: "ResourceQuota", namespaced: true, short_names: &["quota"], categories: &[] },
    Builtin { group: "", version: "v1", resource: "secrets", singular: "secret", kind: "Secret", namespaced: true, short_names: &[], categories: &[] },
    Builtin { group: "", version: "v1", resource: "serviceaccounts", singular: "serviceaccount", kind: "ServiceAccount", namespaced: true, short_names: &["sa"], categories: &[] },
    Builtin { group: "", version: "v1", resource: "services", singular: "service", kind: "Service", namespaced: true, short_names: &["svc"], categories: &["all"] },
    Builtin { group: "apps", version: "v1", resource: "controllerrevisions", singular: "controllerrevision", kind: "ControllerRevision", namespaced: true, short_names: &[], categories: &[] },
    Builtin { group: "apps", version: "v1", resource: "daemonsets", singular: "daemonset", kind: "DaemonSet", namespaced: true, short_names: &["ds"], categories: &["all"] },
    Builtin { group: "apps", version: "v1", resource: "deployments", singular: "deployment", kind: "Deployment", namespaced: true, short_names: &["deploy"], categories: &["all"] },
    Builtin { group: "apps", version: "v1", resource: "replicasets", singular: "replicaset", kind: "ReplicaSet", namespaced: true, short_names: &["rs"], categories: &["all"] },
    Builtin { group: "apps", version: "v1", resource: "statefulsets", singular: "statefulset", kind: "StatefulSet", namespaced: true, short_names: &["sts"], categories: &["all"] },
    Builtin { group: "batch", version: "v1", resource: "cronjobs", singular: "cronjob", kind: "CronJob", namespaced: true, short_names: &["cj"], categories: &["all"] },
    Builtin { group: "batch", version: "v1", resource: "jobs", singular: "job", kind: "Job", namespaced: true, short_names: &[], categories: &["all"] },
    Builtin { group: "autoscaling", version: "v2", resource: "horizontalpodautoscalers", singular: "horizontalpodautoscaler", kind: "HorizontalPodAutoscaler", namespaced: true, short_names: &["hpa"], categories: &["all"] },
    Builtin { group: "apiregistration.k8s.io", version: "v1", resource: "apiservices", singular: "apiservice", kind: "APIService", namespaced: false, short_names: &[], categories: &["api-extensions"] },
    Builtin { group: "events.k8s.io", version: "v1", resource: "events", singular: "event", kind: "Event", namespaced: true, short_names: &["ev"], categories: &[] },
    Builtin { group: "authentication.k8s.io", version: "v1", resource: "selfsubjectreviews", singular: "selfsubjectreview", kind: "SelfSubjectReview", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "authentication.k8s.io", version: "v1", resource: "tokenreviews", singular: "tokenreview", kind: "TokenReview", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "authorization.k8s.io", version: "v1", resource: "localsubjectaccessreviews", singular: "localsubjectaccessreview", kind: "LocalSubjectAccessReview", namespaced: true, short_names: &[], categories: &[] },
    Builtin { group: "authorization.k8s.io", version: "v1", resource: "selfsubjectaccessreviews", singular: "selfsubjectaccessreview", kind: "SelfSubjectAccessReview", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "authorization.k8s.io", version: "v1", resource: "selfsubjectrulesreviews", singular: "selfsubjectrulesreview", kind: "SelfSubjectRulesReview", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "authorization.k8s.io", version: "v1", resource: "subjectaccessreviews", singular: "subjectaccessreview", kind: "SubjectAccessReview", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "certificates.k8s.io", version: "v1", resource: "certificatesigningrequests", singular: "certificatesigningrequest", kind: "CertificateSigningRequest", namespaced: false, short_names: &["csr"], categories: &[] },
    Builtin { group: "networking.k8s.io", version: "v1", resource: "ingressclasses", singular: "ingressclass", kind: "IngressClass", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "networking.k8s.io", version: "v1", resource: "ingresses", singular: "ingress", kind: "Ingress", namespaced: true, short_names: &["ing"], categories: &[] },
    Builtin { group: "networking.k8s.io", version: "v1", resource: "ipaddresses", singular: "ipaddress", kind: "IPAddress", namespaced: false, short_names: &["ip"], categories: &[] },
    Builtin { group: "networking.k8s.io", version: "v1", resource: "networkpolicies", singular: "networkpolicy", kind: "NetworkPolicy", namespaced: true, short_names: &["netpol"], categories: &[] },
    Builtin { group: "networking.k8s.io", version: "v1", resource: "servicecidrs", singular: "servicecidr", kind: "ServiceCIDR", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "policy", version: "v1", resource: "poddisruptionbudgets", singular: "poddisruptionbudget", kind: "PodDisruptionBudget", namespaced: true, short_names: &["pdb"], categories: &[] },
    Builtin { group: "rbac.authorization.k8s.io", version: "v1", resource: "clusterrolebindings", singular: "clusterrolebinding", kind: "ClusterRoleBinding", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "rbac.authorization.k8s.io", version: "v1", resource: "clusterroles", singular: "clusterrole", kind: "ClusterRole", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "rbac.authorization.k8s.io", version: "v1", resource: "rolebindings", singular: "rolebinding", kind: "RoleBinding", namespaced: true, short_names: &[], categories: &[] },
    Builtin { group: "rbac.authorization.k8s.io", version: "v1", resource: "roles", singular: "role", kind: "Role", namespaced: true, short_names: &[], categories: &[] },
    Builtin { group: "storage.k8s.io", version: "v1", resource: "csidrivers", singular: "csidriver", kind: "CSIDriver", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "storage.k8s.io", version: "v1", resource: "csinodes", singular: "csinode", kind: "CSINode", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "storage.k8s.io", version: "v1", resource: "csistoragecapacities", singular: "csistoragecapacity", kind: "CSIStorageCapacity", namespaced: true, short_names: &[], categories: &[] },
    Builtin { group: "storage.k8s.io", version: "v1", resource: "storageclasses", singular: "storageclass", kind: "StorageClass", namespaced: false, short_names: &["sc"], categories: &[] },
    Builtin { group: "storage.k8s.io", version: "v1", resource: "volumeattachments", singular: "volumeattachment", kind: "VolumeAttachment", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "storage.k8s.io", version: "v1", resource: "volumeattributesclasses", singular: "volumeattributesclass", kind: "VolumeAttributesClass", namespaced: false, short_names: &["vac"], categories: &[] },
    Builtin { group: "admissionregistration.k8s.io", version: "v1", resource: "mutatingadmissionpolicies", singular: "mutatingadmissionpolicy", kind: "MutatingAdmissionPolicy", namespaced: false, short_names: &[], categories: &["api-extensions"] },
    Builtin { group: "admissionregistration.k8s.io", version: "v1", resource: "mutatingadmissionpolicybindings", singular: "mutatingadmissionpolicybinding", kind: "MutatingAdmissionPolicyBinding", namespaced: false, short_names: &[], categories: &["api-extensions"] },
    Builtin { group: "admissionregistration.k8s.io", version: "v1", resource: "mutatingwebhookconfigurations", singular: "mutatingwebhookconfiguration", kind: "MutatingWebhookConfiguration", namespaced: false, short_names: &[], categories: &["api-extensions"] },
    Builtin { group: "admissionregistration.k8s.io", version: "v1", resource: "validatingadmissionpolicies", singular: "validatingadmissionpolicy", kind: "ValidatingAdmissionPolicy", namespaced: false, short_names: &[], categories: &["api-extensions"] },
    Builtin { group: "admissionregistration.k8s.io", version: "v1", resource: "validatingadmissionpolicybindings", singular: "validatingadmissionpolicybinding", kind: "ValidatingAdmissionPolicyBinding", namespaced: false, short_names: &[], categories: &["api-extensions"] },
    Builtin { group: "admissionregistration.k8s.io", version: "v1", resource: "validatingwebhookconfigurations", singular: "validatingwebhookconfiguration", kind: "ValidatingWebhookConfiguration", namespaced: false, short_names: &[], categories: &["api-extensions"] },
    Builtin { group: "apiextensions.k8s.io", version: "v1", resource: "customresourcedefinitions", singular: "customresourcedefinition", kind: "CustomResourceDefinition", namespaced: false, short_names: &["crd", "crds"], categories: &["api-extensions"] },
    Builtin { group: "scheduling.k8s.io", version: "v1", resource: "priorityclasses", singular: "priorityclass", kind: "PriorityClass", namespaced: false, short_names: &["pc"], categories: &[] },
    Builtin { group: "coordination.k8s.io", version: "v1", resource: "leases", singular: "lease", kind: "Lease", namespaced: true, short_names: &[], categories: &[] },
    Builtin { group: "node.k8s.io", version: "v1", resource: "runtimeclasses", singular: "runtimeclass", kind: "RuntimeClass", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "discovery.k8s.io", version: "v1", resource: "endpointslices", singular: "endpointslice", kind: "EndpointSlice", namespaced: true, short_names: &[], categories: &[] },
    Builtin { group: "resource.k8s.io", version: "v1", resource: "deviceclasses", singular: "deviceclass", kind: "DeviceClass", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "resource.k8s.io", version: "v1", resource: "resourceclaims", singular: "resourceclaim", kind: "ResourceClaim", namespaced: true, short_names: &[], categories: &[] },
    Builtin { group: "resource.k8s.io", version: "v1", resource: "resourceclaimtemplates", singular: "resourceclaimtemplate", kind: "ResourceClaimTemplate", namespaced: true, short_names: &[], categories: &[] },
    Builtin { group: "resource.k8s.io", version: "v1", resource: "resourceslices", singular: "resourceslice", kind: "ResourceSlice", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "flowcontrol.apiserver.k8s.io", version: "v1", resource: "flowschemas", singular: "flowschema", kind: "FlowSchema", namespaced: false, short_names: &[], categories: &[] },
    Builtin { group: "flowcontrol.apiserver.k8s.io", version: "v1", resource: "prioritylevelconfigurations", singular: "prioritylevelconfiguration", kind: "PriorityLevelConfiguration", namespaced: false, short_names: &[], categories: &[] },
];
