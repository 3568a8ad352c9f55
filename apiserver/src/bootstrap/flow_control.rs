//! The priority levels of every cluster, and which requests belong to them.
//!
//! Facts from `k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap`. What differs from them comes back at the next start,
//! unless the object's annotation says that somebody else looks after it.

use k8s_openapi::api::flowcontrol::v1::{
    ExemptPriorityLevelConfiguration, FlowDistinguisherMethod, FlowSchema, FlowSchemaCondition, FlowSchemaSpec,
    FlowSchemaStatus, GroupSubject, LimitResponse, LimitedPriorityLevelConfiguration, NonResourcePolicyRule,
    PolicyRulesWithSubjects, PriorityLevelConfiguration, PriorityLevelConfigurationReference,
    PriorityLevelConfigurationSpec, QueuingConfiguration, ResourcePolicyRule, ServiceAccountSubject, Subject,
    UserSubject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::{ObjectMeta, StatusError};

use super::{create, server, target};
use crate::handlers::{Handlers, WriteOptions};

/// Whether an object follows what a new version of the server brings.
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// A level: its name, its share, what it lends in percent, and its queues (number, hand, length), where it has some.
type Level = (&'static str, i32, i32, Option<(i32, i32, i32)>);

const LEVELS: [Level; 7] = [
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("system", 30, 33, Some((64, 6, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
];

/// Who is meant: a kind's first letter before a name.
const EVERYBODY: &[&str] = &["g:system:unauthenticated", "g:system:authenticated"];

/// Verbs, groups, resources, and whether objects of the cluster are meant too.
type Resources = (&'static [&'static str], &'static [&'static str], &'static [&'static str], bool);

const ANY: Resources = (&["*"], &["*"], &["*"], true);
const ANY_PATH: (&str, &[&str]) = ("*", &["*"]);
const LEASES: &[&str] = &["coordination.k8s.io"];

/// A schema of requests.
struct Schema {
    name: &'static str,
    level: &'static str,
    precedence: i32,
    flows: Option<&'static str>,
    subjects: &'static [&'static str],
    resources: &'static [Resources],
    paths: Option<(&'static str, &'static [&'static str])>,
}

const SCHEMAS: [Schema; 11] = [
    whole("catch-all", "catch-all", 10_000, Some("ByUser"), EVERYBODY),
    whole("exempt", "exempt", 1, None, &["g:system:masters"]),
    whole("global-default", "global-default", 9900, Some("ByUser"), EVERYBODY),
    whole("kube-controller-manager", "workload-high", 800, Some("ByNamespace"), &["u:system:kube-controller-manager"]),
    whole("kube-scheduler", "workload-high", 800, Some("ByNamespace"), &["u:system:kube-scheduler"]),
    whole("kube-system-service-accounts", "workload-high", 900, Some("ByNamespace"), &["s:kube-system"]),
    Schema {
        resources: &[],
        paths: Some(("get", &["/healthz", "/readyz", "/livez"])),
        ..whole("probes", "exempt", 2, None, EVERYBODY)
    },
    whole("service-accounts", "workload-low", 9000, Some("ByUser"), &["g:system:serviceaccounts"]),
    Schema {
        resources: &[(&["get", "create", "update"], LEASES, &["leases"], false)],
        paths: None,
        ..whole(
            "system-leader-election",
            "leader-election",
            100,
            Some("ByUser"),
            &["u:system:kube-controller-manager", "u:system:kube-scheduler", "s:kube-system"],
        )
    },
    Schema {
        resources: &[(&["*"], &[""], &["nodes", "nodes/status"], true), (&["*"], LEASES, &["leases"], false)],
        paths: None,
        ..whole("system-node-high", "node-high", 400, Some("ByUser"), &["g:system:nodes"])
    },
    whole("system-nodes", "system", 500, Some("ByUser"), &["g:system:nodes"]),
];

/// A schema of everything that some people ask.
const fn whole(
    name: &'static str,
    level: &'static str,
    precedence: i32,
    flows: Option<&'static str>,
    subjects: &'static [&'static str],
) -> Schema {
    Schema { name, level, precedence, flows, subjects, resources: &[ANY], paths: Some(ANY_PATH) }
}

fn own(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn metadata(name: &str) -> ObjectMeta {
    ObjectMeta { annotations: Some([(AUTOUPDATE.to_owned(), "true".to_owned())].into()), ..super::named(name, None) }
}

fn subject(text: &str) -> Subject {
    let (kind, name) = text.split_once(':').unwrap_or(("g", text));
    let name = name.to_owned();
    match kind {
        "u" => Subject { kind: "User".to_owned(), user: Some(UserSubject { name }), ..Subject::default() },
        "s" => Subject {
            kind: "ServiceAccount".to_owned(),
            service_account: Some(ServiceAccountSubject { namespace: name, name: "*".to_owned() }),
            ..Subject::default()
        },
        _ => Subject { kind: "Group".to_owned(), group: Some(GroupSubject { name }), ..Subject::default() },
    }
}

fn schema(schema: &Schema) -> FlowSchema {
    let resources = schema.resources.iter().map(|(verbs, groups, resources, cluster)| ResourcePolicyRule {
        verbs: own(verbs),
        api_groups: own(groups),
        resources: own(resources),
        cluster_scope: cluster.then_some(true),
        namespaces: Some(own(&["*"])),
    });
    let resources: Vec<ResourcePolicyRule> = resources.collect();
    let paths = schema
        .paths
        .map(|(verb, paths)| vec![NonResourcePolicyRule { verbs: own(&[verb]), non_resource_urls: own(paths) }]);
    FlowSchema {
        metadata: metadata(schema.name),
        spec: Some(FlowSchemaSpec {
            priority_level_configuration: PriorityLevelConfigurationReference { name: schema.level.to_owned() },
            matching_precedence: Some(schema.precedence),
            distinguisher_method: schema.flows.map(|type_| FlowDistinguisherMethod { type_: type_.to_owned() }),
            rules: Some(vec![PolicyRulesWithSubjects {
                subjects: schema.subjects.iter().map(|text| subject(text)).collect(),
                resource_rules: (!resources.is_empty()).then_some(resources),
                non_resource_rules: paths,
            }]),
        }),
        status: None,
    }
}

fn level((name, shares, lends, queues): Level) -> PriorityLevelConfiguration {
    let limit_response = LimitResponse {
        type_: if queues.is_some() { "Queue" } else { "Reject" }.to_owned(),
        queuing: queues.map(|(queues, hand_size, length)| QueuingConfiguration {
            queues: Some(queues),
            hand_size: Some(hand_size),
            queue_length_limit: Some(length),
        }),
    };
    PriorityLevelConfiguration {
        metadata: metadata(name),
        spec: Some(PriorityLevelConfigurationSpec {
            type_: "Limited".to_owned(),
            limited: Some(LimitedPriorityLevelConfiguration {
                nominal_concurrency_shares: Some(shares),
                limit_response: Some(limit_response),
                lendable_percent: Some(lends),
                ..LimitedPriorityLevelConfiguration::default()
            }),
            exempt: None,
        }),
        status: None,
    }
}

fn exempt() -> PriorityLevelConfiguration {
    PriorityLevelConfiguration {
        metadata: metadata("exempt"),
        spec: Some(PriorityLevelConfigurationSpec {
            type_: "Exempt".to_owned(),
            exempt: Some(ExemptPriorityLevelConfiguration {
                nominal_concurrency_shares: Some(0),
                lendable_percent: Some(0),
            }),
            limited: None,
        }),
        status: None,
    }
}

/// Makes what is missing.
pub(super) async fn reconcile(handlers: &Handlers) -> Result<(), StatusError> {
    let levels: Vec<_> = LEVELS.into_iter().map(level).chain([exempt()]).collect();
    futures::future::try_join_all(levels.iter().map(|level| create(handlers, "", level))).await?;
    let schemas: Vec<FlowSchema> = SCHEMAS.iter().map(schema).collect();
    futures::future::try_join_all(schemas.iter().map(|schema| publish(handlers, schema))).await.map(drop)
}

/// Makes a schema, and tells that its level is there.
async fn publish(handlers: &Handlers, schema: &FlowSchema) -> Result<(), StatusError> {
    if !create(handlers, "", schema).await? {
        return Ok(());
    }
    let level = schema.spec.as_ref().map(|spec| spec.priority_level_configuration.name.clone()).unwrap_or_default();
    let message =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists");
    let condition = FlowSchemaCondition {
        type_: Some("Dangling".to_owned()),
        status: Some("False".to_owned()),
        last_transition_time: Some(Time(handlers.now())),
        reason: Some("Found".to_owned()),
        message: Some(message),
    };
    let mut told = schema.clone();
    told.status = Some(FlowSchemaStatus { conditions: Some(vec![condition]) });
    let name = told.metadata.name.clone().unwrap_or_default();
    let mut target = target::<FlowSchema>("", &name);
    target.subresource = "status".to_owned();
    let body = serde_json::to_vec(&told).map_err(StatusError::internal)?;
    handlers.update(&server(), &target, body.into(), &WriteOptions::default()).await.map(drop)
}
