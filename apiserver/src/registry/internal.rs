//! Values as upstream's messages show them where they quote a whole structure: with the names of its fields in Go, in
//! their order, and with everything that is absent.
//!
//! A line of the table is a type: its name and its fields. A field is `Name:shape` or, where its name in JSON is not
//! the same with a small letter, `Name=json:shape`. A shape is `s` (text), `n` (number), `b` (boolean), `q` (amount),
//! `p` (anything that may be `null`), a type, `*` and a type (may be `null`), `[]` and a type; `+Type` stands for the
//! fields of a type in this place.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Serialize;
use serde_json::{Map, Value};

const TABLE: &str = "
PodTemplateSpec labels:o annotations:o finalizers:o Spec:PodSpec
PodSpec Volumes:[]Volume InitContainers:[]Container Containers:[]Container EphemeralContainers:[]EphemeralContainer RestartPolicy:s TerminationGracePeriodSeconds:p ActiveDeadlineSeconds:p DNSPolicy=dnsPolicy:s NodeSelector:p ServiceAccountName:s AutomountServiceAccountToken:p NodeName:s SecurityContext:*PodSecurityContext ImagePullSecrets:[]LocalObjectReference Hostname:s Subdomain:s SetHostnameAsFQDN:p Affinity:*Affinity SchedulerName:s Tolerations:[]Toleration HostAliases:[]HostAlias PriorityClassName:s Priority:p PreemptionPolicy:p DNSConfig=dnsConfig:*PodDNSConfig ReadinessGates:[]PodReadinessGate RuntimeClassName:p Overhead:p EnableServiceLinks:p TopologySpreadConstraints:[]TopologySpreadConstraint OS=os:*Named SchedulingGates:[]Named ResourceClaims:[]PodResourceClaim Resources:*ResourceRequirements HostnameOverride:p
PodSecurityContext HostNetwork:b HostPID:b HostIPC:b ShareProcessNamespace:p HostUsers:p SELinuxOptions=seLinuxOptions:*SELinuxOptions WindowsOptions:*WindowsOptions RunAsUser:p RunAsGroup:p RunAsNonRoot:p SupplementalGroups:p SupplementalGroupsPolicy:p FSGroup=fsGroup:p Sysctls:[]Sysctl FSGroupChangePolicy=fsGroupChangePolicy:p SeccompProfile:*Profile AppArmorProfile:*Profile SELinuxChangePolicy=seLinuxChangePolicy:p
SELinuxOptions User:s Role:s Type:s Level:s
WindowsOptions GMSACredentialSpecName=gmsaCredentialSpecName:p GMSACredentialSpec=gmsaCredentialSpec:p RunAsUserName:p HostProcess:p
Profile Type:s LocalhostProfile:p
Sysctl Name:s Value:s
Named Name:s
LocalObjectReference Name:s
Volume Name:s HostPath:*HostPath EmptyDir:*EmptyDir GCEPersistentDisk=gcePersistentDisk:p AWSElasticBlockStore=awsElasticBlockStore:p GitRepo:p Secret:*SecretVolume NFS=nfs:*NFS ISCSI=iscsi:p Glusterfs:p PersistentVolumeClaim:*ClaimVolume RBD=rbd:p Quobyte:p FlexVolume:p Cinder:p CephFS=cephfs:p Flocker:p DownwardAPI:*DownwardVolume FC=fc:p AzureFile:p ConfigMap:*MapVolume VsphereVolume:p AzureDisk:p PhotonPersistentDisk:p Projected:*Projected PortworxVolume:p ScaleIO:p StorageOS=storageos:p CSI=csi:*CSI Ephemeral:p Image:*Image
HostPath Path:s Type:p
EmptyDir Medium:s SizeLimit:p
SecretVolume SecretName:s Items:[]KeyToPath DefaultMode:p Optional:p
MapVolume Name:s Items:[]KeyToPath DefaultMode:p Optional:p
NFS Server:s Path:s ReadOnly:b
ClaimVolume ClaimName:s ReadOnly:b
DownwardVolume Items:[]DownwardFile DefaultMode:p
CSI Driver:s ReadOnly:p FSType=fsType:p VolumeAttributes:p NodePublishSecretRef:*LocalObjectReference
Image Reference:s PullPolicy:s
KeyToPath Key:s Path:s Mode:p
DownwardFile Path:s FieldRef:*FieldRef ResourceFieldRef:*ResourceFieldRef Mode:p
FieldRef APIVersion=apiVersion:s FieldPath:s
ResourceFieldRef ContainerName:s Resource:s Divisor:q
Projected Sources:[]Projection DefaultMode:p
Projection Secret:*ObjectProjection DownwardAPI:*DownwardProjection ConfigMap:*ObjectProjection ServiceAccountToken:*Token ClusterTrustBundle:*Bundle PodCertificate:p
ObjectProjection Name:s Items:[]KeyToPath Optional:p
DownwardProjection Items:[]DownwardFile
Token Audience:s ExpirationSeconds:n Path:s
Bundle Name:p SignerName:p LabelSelector:p Optional:p Path:s
Container Name:s Image:s Command:p Args:p WorkingDir:s Ports:[]ContainerPort EnvFrom:[]EnvFrom Env:[]EnvVar Resources:ResourceRequirements ResizePolicy:[]ResizePolicy RestartPolicy:p RestartPolicyRules:[]RestartRule VolumeMounts:[]VolumeMount VolumeDevices:[]VolumeDevice LivenessProbe:*Probe ReadinessProbe:*Probe StartupProbe:*Probe Lifecycle:*Lifecycle TerminationMessagePath:s TerminationMessagePolicy:s ImagePullPolicy:s SecurityContext:*SecurityContext Stdin:b StdinOnce:b TTY=tty:b
EphemeralContainer +Container TargetContainerName:s
ContainerPort Name:s HostPort:n ContainerPort:n Protocol:s HostIP:s
EnvFrom Prefix:s ConfigMapRef:*OptionalRef SecretRef:*OptionalRef
OptionalRef Name:s Optional:p
EnvVar Name:s Value:s ValueFrom:*EnvSource
EnvSource FieldRef:*FieldRef ResourceFieldRef:*ResourceFieldRef ConfigMapKeyRef:*KeyRef SecretKeyRef:*KeyRef FileKeyRef:p
KeyRef Name:s Key:s Optional:p
ResourceRequirements Limits:p Requests:p Claims:[]ResourceClaim
ResourceClaim Name:s Request:s
ResizePolicy ResourceName:s RestartPolicy:s
RestartRule Action:s ExitCodes:*ExitCodes
ExitCodes Operator:s Values:p
VolumeMount Name:s ReadOnly:b RecursiveReadOnly:p MountPath:s SubPath:s MountPropagation:p SubPathExpr:s
VolumeDevice Name:s DevicePath:s
Probe Exec:*Exec HTTPGet=httpGet:*HTTPGet TCPSocket=tcpSocket:*TCPSocket GRPC=grpc:*GRPC InitialDelaySeconds:n TimeoutSeconds:n PeriodSeconds:n SuccessThreshold:n FailureThreshold:n TerminationGracePeriodSeconds:p
Lifecycle PostStart:*Handler PreStop:*Handler StopSignal:p
Handler Exec:*Exec HTTPGet=httpGet:*HTTPGet TCPSocket=tcpSocket:*TCPSocket Sleep:*Sleep
Exec Command:p
HTTPGet Path:s Port:p Host:s Scheme:s HTTPHeaders=httpHeaders:[]Header
Header Name:s Value:s
TCPSocket Port:p Host:s
GRPC Port:n Service:p
Sleep Seconds:n
SecurityContext Capabilities:*Capabilities Privileged:p SELinuxOptions=seLinuxOptions:*SELinuxOptions WindowsOptions:*WindowsOptions RunAsUser:p RunAsGroup:p RunAsNonRoot:p ReadOnlyRootFilesystem:p AllowPrivilegeEscalation:p ProcMount:p SeccompProfile:*Profile AppArmorProfile:*Profile
Capabilities Add:p Drop:p
Affinity NodeAffinity:*NodeAffinity PodAffinity:*PodAffinity PodAntiAffinity:*PodAffinity
NodeAffinity RequiredDuringSchedulingIgnoredDuringExecution:*NodeSelector PreferredDuringSchedulingIgnoredDuringExecution:[]PreferredTerm
NodeSelector NodeSelectorTerms:[]NodeTerm
NodeTerm MatchExpressions:[]NodeRequirement MatchFields:[]NodeRequirement
NodeRequirement Key:s Operator:s Values:p
PreferredTerm Weight:n Preference:NodeTerm
PodAffinity RequiredDuringSchedulingIgnoredDuringExecution:[]AffinityTerm PreferredDuringSchedulingIgnoredDuringExecution:[]WeightedTerm
AffinityTerm LabelSelector:p Namespaces:p TopologyKey:s NamespaceSelector:p MatchLabelKeys:p MismatchLabelKeys:p
WeightedTerm Weight:n PodAffinityTerm:AffinityTerm
Toleration Key:s Operator:s Value:s Effect:s TolerationSeconds:p
HostAlias IP:s Hostnames:p
PodDNSConfig Nameservers:p Searches:p Options:[]DNSOption
DNSOption Name:s Value:p
PodReadinessGate ConditionType:s
TopologySpreadConstraint MaxSkew:n TopologyKey:s WhenUnsatisfiable:s LabelSelector:p MinDomains:p NodeAffinityPolicy:p NodeTaintsPolicy:p MatchLabelKeys:p
PodResourceClaim Name:s ResourceClaimName:p ResourceClaimTemplateName:p
PodFailurePolicy Rules:[]FailureRule
FailureRule Action:s OnExitCodes:*OnExitCodes OnPodConditions:[]OnCondition
OnExitCodes ContainerName:p Operator:s Values:p
OnCondition Type:s Status:s
SuccessPolicy Rules:[]SuccessRule
SuccessRule SucceededIndexes:p SucceededCount:p
DaemonSetStrategy Type:s RollingUpdate:*RollingDaemonSet
RollingDaemonSet MaxUnavailable:p MaxSurge:p
PartitionedUpdate Partition:n MaxUnavailable:p
ServiceCIDRSpec CIDRs=cidrs:p
RoleRef APIGroup=apiGroup:s Kind:s Name:s
ServicePort Name:s Protocol:s AppProtocol:p Port:n TargetPort:i NodePort:n
";

static TYPES: LazyLock<HashMap<&'static str, &'static str>> =
    LazyLock::new(|| TABLE.lines().filter_map(|line| line.split_once(' ')).collect());

/// A value of a type of the table.
pub(super) fn form<T: Serialize>(value: &T, name: &str) -> Value {
    let mut value = serde_json::to_value(value).unwrap_or_default();
    if name == "PodSpec" || name == "PodTemplateSpec" {
        share_context(if name == "PodSpec" { Some(&mut value) } else { value.get_mut("spec") });
    }
    if name == "PodTemplateSpec" {
        let metadata = value.get("metadata").cloned().unwrap_or_default();
        for field in ["labels", "annotations", "finalizers"] {
            if let (Some(own), Value::Object(value)) = (metadata.get(field), &mut value) {
                value.insert(field.to_owned(), own.clone());
            }
        }
    }
    structure(&value, name)
}

/// Upstream keeps the namespaces of the host in the pod's security context.
fn share_context(spec: Option<&mut Value>) {
    let Some(Value::Object(spec)) = spec else { return };
    let mut moved = Map::new();
    for field in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"] {
        if let Some(value) = spec.get(field) {
            moved.insert(field.to_owned(), value.clone());
        }
    }
    if let Some(Value::Object(context)) = spec.get_mut("securityContext") {
        context.extend(moved);
    }
}

fn structure(value: &Value, name: &str) -> Value {
    let mut object = Map::new();
    fill(value, name, &mut object);
    Value::Object(object)
}

fn fill(value: &Value, name: &str, object: &mut Map<String, Value>) {
    for field in TYPES.get(name).copied().unwrap_or_default().split(' ') {
        if let Some(name) = field.strip_prefix('+') {
            fill(value, name, object);
            continue;
        }
        let (names, shape) = field.split_once(':').unwrap_or((field, "p"));
        let (shown, json) = match names.split_once('=') {
            Some((shown, json)) => (shown, json.to_owned()),
            None => {
                let mut letters = names.chars();
                let first = letters.next().map(|letter| letter.to_ascii_lowercase());
                // Names of small letters alone: `IP`.
                let json = if names.chars().all(|letter| letter.is_ascii_uppercase()) {
                    names.to_ascii_lowercase()
                } else {
                    first.into_iter().chain(letters).collect()
                };
                (names, json)
            }
        };
        let own = value.get(&json).filter(|own| !own.is_null());
        let shown_value = match (shape, own) {
            ("o", None) => continue,
            ("s", None) => Value::from(""),
            ("n" | "i", None) => Value::from(0),
            ("b", None) => Value::from(false),
            ("q", None) => Value::from("0"),
            ("s" | "n" | "b" | "q" | "p" | "o" | "i", Some(own)) => own.clone(),
            (shape, own) => part(shape, own),
        };
        object.insert(shown.to_owned(), shown_value);
    }
}

fn part(shape: &str, own: Option<&Value>) -> Value {
    if let Some(name) = shape.strip_prefix("[]") {
        let elements = own.and_then(Value::as_array);
        return elements.map_or(Value::Null, |own| own.iter().map(|element| structure(element, name)).collect());
    }
    if let Some(name) = shape.strip_prefix('*') {
        return own.map_or(Value::Null, |own| structure(own, name));
    }
    if TYPES.contains_key(shape) { structure(own.unwrap_or(&Value::Null), shape) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_shape_is_there() {
        for fields in TYPES.values() {
            for field in fields.split(' ') {
                let shape = field.split_once(':').map_or(field, |(_, shape)| shape);
                let name = shape.trim_start_matches(['*', '+']).trim_start_matches("[]");
                let plain = matches!(name, "s" | "n" | "b" | "q" | "p" | "o" | "i");
                assert!(plain || TYPES.contains_key(name), "{field}");
            }
        }
    }

    #[test]
    fn what_is_absent_is_shown_too() {
        let container = json!({"name": "c", "resources": {"limits": {"cpu": "1"}}, "tty": true});
        let shown = form(&container, "Container").to_string();
        assert!(shown.starts_with(
            r#"{"Name":"c","Image":"","Command":null,"Args":null,"WorkingDir":"","Ports":null,"EnvFrom":null,"Env":null,"Resources":{"Limits":{"cpu":"1"},"Requests":null,"Claims":null},"#
        ));
        assert!(shown.ends_with(r#""SecurityContext":null,"Stdin":false,"StdinOnce":false,"TTY":true}"#));
        let template =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"hostNetwork": true, "securityContext": {}}});
        let shown = form(&template, "PodTemplateSpec").to_string();
        assert!(shown.starts_with(r#"{"labels":{"a":"b"},"Spec":{"Volumes":null,"#));
        assert!(shown.contains(r#""SecurityContext":{"HostNetwork":true,"HostPID":false,"#));
    }
}
