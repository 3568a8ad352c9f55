//! `rctl create`: from files, and from flags for the simple kinds.

mod access;
pub mod data;
mod network;
pub mod policy;
mod workload;

pub use access::Subjects;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::common::{self, DryRun, FileArgs, ValidateArgs, WriteArgs};
use crate::errors::{Failure, Outcome, fail, usage};
use crate::manifest::Manifest;
use crate::merge;
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::{map_mut, namespace};

const EXAMPLES: &str = "  \
  # Create a pod using the data in pod.json
  rctl create -f ./pod.json

  # Create a pod based on the JSON passed into stdin
  cat pod.json | rctl create -f -

  # Create a deployment with three replicas
  rctl create deployment web --image=web:1 --replicas=3";

/// Create a resource from a file or from stdin.
///
/// JSON and YAML formats are accepted.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub struct CreateArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    validate: ValidateArgs,
    /// Keep the configuration in the object's annotation, so that rctl apply can follow
    #[arg(long)]
    save_config: bool,
    /// Raw URI to POST to the server. Uses the transport specified by the kubeconfig file
    #[arg(long, value_name = "URI", default_value = "", hide_default_value = true)]
    raw: String,
    /// Edit the API resource before creating
    #[arg(long)]
    edit: bool,
    #[command(subcommand)]
    kind: Option<Kind>,
}

impl CreateArgs {
    /// Whether `--user` is a subject here.
    pub fn names_subjects(&self) -> bool {
        matches!(self.kind, Some(Kind::Rolebinding(_) | Kind::Clusterrolebinding(_)))
    }
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Create a cluster role
    #[command(
        before_help = "  # Create a cluster role that allows to read pods\n  rctl create clusterrole pod-reader --verb=get,list,watch --resource=pods\n\n  # Create one that allows to read a path\n  rctl create clusterrole foo --verb=get --non-resource-url=/logs/*"
    )]
    Clusterrole(access::ClusterRoleArgs),
    /// Create a cluster role binding for a particular cluster role
    #[command(
        before_help = "  # Bind the cluster role cluster-admin to two users and a group\n  rctl create clusterrolebinding cluster-admin --clusterrole=cluster-admin --user=user1 --user=user2 --group=group1\n\n  # Bind it to a service account\n  rctl create clusterrolebinding ci --clusterrole=cluster-admin --serviceaccount=build:ci"
    )]
    Clusterrolebinding(access::ClusterRoleBindingArgs),
    /// Create a config map from a local file, directory or literal value
    #[command(
        visible_alias = "cm",
        before_help = "  # Create a new config map with two literal values\n  rctl create configmap my-config --from-literal=key1=config1 --from-literal=key2=config2\n\n  # Create one with a key for each file of a folder\n  rctl create configmap my-config --from-file=path/to/bar"
    )]
    Configmap(data::ConfigMapArgs),
    /// Create a cron job with the specified name
    #[command(
        visible_alias = "cj",
        before_help = "  # Create a cron job\n  rctl create cronjob my-job --image=busybox --schedule=\"*/1 * * * *\"\n\n  # Create a cron job with a command\n  rctl create cronjob my-job --image=busybox --schedule=\"*/1 * * * *\" -- date"
    )]
    Cronjob(workload::CronJobArgs),
    /// Create a deployment with the specified name
    #[command(
        visible_alias = "deploy",
        before_help = "  # Create a deployment with 3 replicas of the image\n  rctl create deployment web --image=web:1 --replicas=3\n\n  # Create a deployment with a command\n  rctl create deployment web --image=busybox -- date"
    )]
    Deployment(workload::DeploymentArgs),
    /// Create an ingress with the specified name
    #[command(
        visible_alias = "ing",
        before_help = "  # Create an ingress with one rule\n  rctl create ingress simple --rule=\"foo.com/bar=svc1:8080,tls=my-cert\"\n\n  # Create an ingress for all paths of a class\n  rctl create ingress catch-all --class=otheringress --rule=\"/path=svc:port\""
    )]
    Ingress(network::IngressArgs),
    /// Create a job with the specified name
    #[command(
        before_help = "  # Create a job with a command\n  rctl create job my-job --image=busybox -- date\n\n  # Create a job from a cron job named \"a-cronjob\"\n  rctl create job test-job --from=cronjob/a-cronjob"
    )]
    Job(workload::JobArgs),
    /// Create a namespace with the specified name
    #[command(
        visible_alias = "ns",
        before_help = "  # Create a new namespace named my-namespace\n  rctl create namespace my-namespace\n\n  # Only print it\n  rctl create ns my-namespace --dry-run=client -o yaml"
    )]
    Namespace(Named),
    /// Create a pod disruption budget with the specified name
    #[command(
        visible_alias = "pdb",
        before_help = "  # Require at least one pod with the label app=rails at any point in time\n  rctl create poddisruptionbudget my-pdb --selector=app=rails --min-available=1\n\n  # Require at least half of them\n  rctl create pdb my-pdb --selector=app=nginx --min-available=50%"
    )]
    Poddisruptionbudget(policy::BudgetArgs),
    /// Create a priority class with the specified name
    #[command(
        visible_alias = "pc",
        before_help = "  # Create a priority class named high-priority\n  rctl create priorityclass high-priority --value=1000 --description=\"high priority\"\n\n  # Create one that is the global default\n  rctl create priorityclass default-priority --value=1000 --global-default=true"
    )]
    Priorityclass(policy::PriorityClassArgs),
    /// Create a quota with the specified name
    #[command(
        visible_alias = "resourcequota",
        before_help = "  # Create a new resource quota named my-quota\n  rctl create quota my-quota --hard=cpu=1,memory=1G,pods=2,services=3\n\n  # Create one for pods of best effort\n  rctl create quota best-effort --hard=pods=100 --scopes=BestEffort"
    )]
    Quota(policy::QuotaArgs),
    /// Create a role with single rule
    #[command(
        before_help = "  # Create a role that allows to read pods\n  rctl create role pod-reader --verb=get --verb=list --verb=watch --resource=pods\n\n  # Create a role for replica sets and their scale\n  rctl create role foo --verb=get,list,watch --resource=rs.apps,rs.apps/scale"
    )]
    Role(access::RoleArgs),
    /// Create a role binding for a particular role or cluster role
    #[command(
        before_help = "  # Bind the cluster role admin to users and a group in this namespace\n  rctl create rolebinding admin --clusterrole=admin --user=user1 --user=user2 --group=group1\n\n  # Bind it to a service account\n  rctl create rolebinding admin-binding --clusterrole=admin --serviceaccount=monitoring:sa-dev"
    )]
    Rolebinding(access::RoleBindingArgs),
    /// Create a secret using a specified subcommand
    #[command(
        before_help = "  # Create a new secret with a literal value\n  rctl create secret generic my-secret --from-literal=password=x\n\n  # Create one of a key pair\n  rctl create secret tls my-tls --cert=tls.crt --key=tls.key"
    )]
    Secret(data::SecretArgs),
    /// Create a service using a specified subcommand
    #[command(
        visible_alias = "svc",
        before_help = "  # Create a ClusterIP service for port 80\n  rctl create service clusterip web --tcp=80:8080\n\n  # Create a NodePort service\n  rctl create service nodeport web --tcp=80"
    )]
    Service(network::ServiceArgs),
    /// Create a service account with the specified name
    #[command(
        visible_alias = "sa",
        before_help = "  # Create a new service account named my-service-account\n  rctl create serviceaccount my-service-account\n\n  # Only print it\n  rctl create sa my-service-account --dry-run=client -o yaml"
    )]
    Serviceaccount(Named),
    /// Request a service account token
    #[command(
        before_help = "  # Request a token for the service account \"myapp\" in the current namespace\n  rctl create token myapp\n\n  # Request a token with a custom lifetime\n  rctl create token myapp --duration 10m"
    )]
    Token(access::TokenArgs),
}

/// What all these sub-commands take: one name, and how to write the object.
#[derive(Args, Clone, Debug, Default)]
pub struct Named {
    /// The name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    validate: ValidateArgs,
    /// Keep the configuration in the object's annotation, so that rctl apply can follow
    #[arg(long)]
    save_config: bool,
}

/// An object that flags describe, and how to write it.
pub struct Made {
    object: Value,
    named: Named,
}

impl Named {
    /// The one name; `command` is what to read about when there is another number of them.
    fn name(&self, command: &'static str) -> Outcome<String> {
        one_name(&self.names, command)
    }

    fn made(&self, object: Value) -> Made {
        Made { object, named: self.clone() }
    }
}

fn one_name(names: &[String], command: &'static str) -> Outcome<String> {
    match names {
        [name] if !name.is_empty() => Ok(name.clone()),
        names => usage(command, format!("exactly one NAME is required, got {}", names.len())),
    }
}

impl Kind {
    /// The object that the flags describe, if it is not all done.
    async fn object(self, session: &mut Session) -> Outcome<Option<Made>> {
        Ok(Some(match self {
            Kind::Namespace(args) => {
                let name = args.name("rctl create namespace")?;
                let metadata = json!({"name": name});
                args.made(
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "spec": {}, "status": {}}),
                )
            }
            Kind::Serviceaccount(args) => {
                let name = args.name("rctl create serviceaccount")?;
                args.made(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}))
            }
            Kind::Clusterrole(args) => args.object(session).await?,
            Kind::Clusterrolebinding(args) => args.object()?,
            Kind::Configmap(args) => args.object()?,
            Kind::Cronjob(args) => args.object()?,
            Kind::Deployment(args) => args.object()?,
            Kind::Ingress(args) => args.object()?,
            Kind::Job(args) => args.object(session).await?,
            Kind::Poddisruptionbudget(args) => args.object()?,
            Kind::Priorityclass(args) => args.object()?,
            Kind::Quota(args) => args.object()?,
            Kind::Role(args) => args.object(session).await?,
            Kind::Rolebinding(args) => args.object()?,
            Kind::Secret(args) => args.object()?,
            Kind::Service(args) => args.object()?,
            Kind::Token(args) => {
                args.run(session).await?;
                return Ok(None);
            }
        }))
    }
}

/// Runs the command.
pub async fn run(session: &mut Session, args: CreateArgs) -> Outcome {
    session.validate_fields(args.validate.word());
    if let Some(kind) = args.kind {
        let Some(made) = kind.object(session).await? else { return Ok(()) };
        session.validate_fields(made.named.validate.word());
        return make(session, made.object, &made.named.write, made.named.save_config).await;
    }
    if !args.raw.is_empty() {
        return super::raw::send(session, http::Method::POST, &args.raw, &args.files).await;
    }
    if args.files.is_empty() {
        return fail("must specify one of -f and -k");
    }
    let mut manifests = args.files.read(session.io.input.as_mut())?;
    if manifests.is_empty() {
        return fail("no objects passed to create");
    }
    if args.edit {
        manifests = super::edit::edited(session, manifests)?;
    }
    let cluster = session.cluster()?;
    let mut failures = Vec::new();
    for manifest in manifests {
        match one(session, &cluster, manifest, &args.write, args.save_config, "created").await {
            Ok(()) => {}
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => failures.push(failure),
            Err(failure) => {
                failures.push(failure);
                break;
            }
        }
    }
    Failure::collect(failures)
}

/// Creates an object that rctl itself describes.
pub async fn make(session: &mut Session, object: Value, write: &WriteArgs, save: bool) -> Outcome {
    make_as(session, object, write, save, "created").await
}

/// As [`make`], with another word for what was done.
pub async fn make_as(
    session: &mut Session,
    object: Value,
    write: &WriteArgs,
    save: bool,
    done: &'static str,
) -> Outcome {
    let manifest = Manifest { object, source: String::new(), document: 1, line: 1 };
    // What only prints needs no cluster.
    if write.dry_run() == DryRun::Client {
        return print_only(session, &manifest, write, done);
    }
    let cluster = session.cluster()?;
    one(session, &cluster, manifest, write, save, done).await
}

/// `--dry-run=client` of a kind that rctl itself makes.
fn print_only(session: &mut Session, manifest: &Manifest, write: &WriteArgs, done: &str) -> Outcome {
    let Some(info) = resolve::builtin_kind(&manifest.kind()) else {
        return Err(manifest.unknown_kind());
    };
    let mut object = manifest.object.clone();
    if let Some(name) = session.globals.namespace.as_deref().filter(|name| info.namespaced && !name.is_empty()) {
        map_mut(&mut object, "metadata").insert("namespace".to_owned(), json!(name));
    }
    write.report(&mut session.io, info, &object, done)
}

async fn one(
    session: &mut Session,
    cluster: &Cluster,
    manifest: Manifest,
    write: &WriteArgs,
    save: bool,
    done: &str,
) -> Outcome {
    let Some(info) = resolve::kind(cluster, &manifest.kind()).await? else {
        return Err(manifest.unknown_kind());
    };
    let scope = common::manifest_namespace(cluster, &info, &manifest)?;
    let mut object = manifest.object.clone();
    if info.namespaced && namespace(&object).is_empty() {
        map_mut(&mut object, "metadata").insert("namespace".to_owned(), json!(scope));
    }
    if save {
        object = merge::with_last_applied(&object);
    }
    let created = match write.dry_run() {
        DryRun::Client => object,
        how => cluster.create(&info, &scope, &object, how == DryRun::Server).await.map_err(|failure| {
            let failure = common::unserved(failure, &info);
            match manifest.source.as_str() {
                "" => failure.during(format!("failed to create {}", info.singular)),
                source => failure.during(format!("error when creating {source:?}")),
            }
        })?,
    };
    write.report(&mut session.io, &info, &created, done)
}
