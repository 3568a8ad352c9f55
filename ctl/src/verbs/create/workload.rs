//! `rctl create deployment`, `create job`, `create cronjob`.

use clap::Args;
use serde_json::{Value, json};

use super::{Made, Named};
use crate::errors::{Outcome, fail};
use crate::resolve::{self, Words};
use crate::session::Session;
use crate::value::{at, map_mut, name, text};
use crate::verbs::common;

/// `rctl create deployment`.
#[derive(Args, Debug)]
pub struct DeploymentArgs {
    #[command(flatten)]
    named: Named,
    /// Image names to run
    #[arg(long, value_name = "IMAGE", required = true, value_delimiter = ',')]
    image: Vec<String>,
    /// Number of replicas to create
    #[arg(short = 'r', long, value_name = "N", default_value_t = 1)]
    replicas: i32,
    /// The containerPort that this deployment exposes
    #[arg(long, value_name = "PORT")]
    port: Option<i32>,
    /// The command to run in the container
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// `rctl create job`.
#[derive(Args, Debug)]
pub struct JobArgs {
    #[command(flatten)]
    named: Named,
    /// Image name to run
    #[arg(long, value_name = "IMAGE", default_value = "", hide_default_value = true)]
    image: String,
    /// The name of the resource to create a Job from (only cronjob is supported)
    #[arg(long, value_name = "cronjob/NAME", default_value = "", hide_default_value = true)]
    from: String,
    /// The command to run in the container
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// `rctl create cronjob`.
#[derive(Args, Debug)]
pub struct CronJobArgs {
    #[command(flatten)]
    named: Named,
    /// Image name to run
    #[arg(long, value_name = "IMAGE", required = true)]
    image: String,
    /// A schedule in the Cron format the job should be run with
    #[arg(long, value_name = "SCHEDULE", required = true)]
    schedule: String,
    /// The job's restart policy; supported values: OnFailure, Never
    #[arg(long, value_name = "POLICY", default_value = "", hide_default_value = true)]
    restart: String,
    /// The command to run in the container
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl DeploymentArgs {
    /// The deployment.
    pub fn object(self) -> Outcome<Made> {
        let name = self.named.name("rctl create deployment")?;
        let object = deployment(&name, &self)?;
        Ok(self.named.made(object))
    }
}

fn deployment(name: &str, args: &DeploymentArgs) -> Outcome<Value> {
    if args.replicas < 0 {
        return fail(format!("invalid argument \"{}\" for \"--replicas\" flag: must be 0 or more", args.replicas));
    }
    if !args.command.is_empty() && args.image.len() > 1 {
        return fail("cannot specify multiple --image options and command");
    }
    let mut containers: Vec<Value> =
        args.image.iter().map(|image| container(&container_name(image), image, &args.command)).collect();
    // Images of one name are told apart by a number.
    for index in 1..containers.len() {
        let taken = |name: &Value, containers: &[Value]| containers[..index].iter().any(|other| other["name"] == *name);
        let base = containers[index]["name"].as_str().unwrap_or_default().to_owned();
        let mut number = 1;
        while taken(&containers[index]["name"], &containers) {
            number += 1;
            containers[index]["name"] = json!(format!("{base}-{number}"));
        }
    }
    if let (Some(port), Some(container)) = (args.port, containers.first_mut()) {
        container["ports"] = json!([{"containerPort": port}]);
    }
    Ok(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"labels": {"app": name}, "name": name},
        "spec": {
            "replicas": args.replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}},
        },
        "status": {},
    }))
}

fn container(name: &str, image: &str, command: &[String]) -> Value {
    let mut container = json!({"image": image, "name": name});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    container["resources"] = json!({});
    container
}

/// `registry/path/web:1@sha256:...` names its container `web`.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let bare = last.split([':', '@']).next().unwrap_or(last).to_ascii_lowercase();
    let name: String = bare.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect();
    name.trim_matches('-').to_owned()
}

impl JobArgs {
    /// The job; with `--from` it is made of a cron job's template.
    pub async fn object(self, session: &Session) -> Outcome<Made> {
        let name = self.named.name("rctl create job")?;
        if self.image.is_empty() == self.from.is_empty() {
            return fail("either --image or --from must be specified");
        }
        if !self.from.is_empty() && !self.command.is_empty() {
            return fail("cannot specify --from and command");
        }
        let object = if self.from.is_empty() {
            json!({
                "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
                "spec": {"template": {
                    "spec": {"containers": [container(&name, &self.image, &self.command)], "restartPolicy": "Never"},
                }},
                "status": {},
            })
        } else {
            from_cron_job(session, &name, &self.from).await?
        };
        Ok(self.named.made(object))
    }
}

async fn from_cron_job(session: &Session, job_name: &str, from: &str) -> Outcome<Value> {
    let cluster = session.cluster()?;
    let Words::Pairs(pairs) = Words::parse(&[from.to_owned()])? else {
        return fail(format!("from must be an existing cronjob, as cronjob/NAME: {from}"));
    };
    let Some((word, from_name)) = pairs.into_iter().next() else { return fail("from names nothing") };
    let info = resolve::resource(&cluster, &word).await?;
    let object = common::get(&cluster, &info, &cluster.namespace, &from_name).await?;
    if info.kind != "CronJob" {
        return fail(format!("unknown object type {}, from must be an existing cronjob", info.kind));
    }
    let template = at(&object, "spec.jobTemplate").cloned().unwrap_or(Value::Null);
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": job_name,
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "CronJob", "name": name(&object),
                "uid": text(&object, "metadata.uid"), "controller": true,
            }],
        },
        "spec": at(&template, "spec").cloned().unwrap_or_else(|| json!({})),
    });
    for key in ["labels", "annotations"] {
        if let Some(map) = at(&template, &format!("metadata.{key}")).and_then(Value::as_object) {
            map_mut(&mut job["metadata"], key).extend(map.clone());
        }
    }
    Ok(job)
}

impl CronJobArgs {
    /// The cron job.
    pub fn object(self) -> Outcome<Made> {
        let name = self.named.name("rctl create cronjob")?;
        let restart = if self.restart.is_empty() { "OnFailure" } else { &self.restart };
        let pod = json!({"containers": [container(&name, &self.image, &self.command)], "restartPolicy": restart});
        let object = json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
            "spec": {
                "jobTemplate": {"metadata": {"name": name}, "spec": {"template": {"spec": pod}}},
                "schedule": self.schedule,
            },
            "status": {},
        });
        Ok(self.named.made(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_are_kubectls() {
        let args = DeploymentArgs {
            named: Named::default(),
            image: vec!["registry.example/a/web:1".into(), "web@sha256:00".into()],
            replicas: 2,
            port: Some(80),
            command: vec![],
        };
        let object = deployment("web", &args).expect("an object");
        assert_eq!(
            object["spec"]["template"]["spec"]["containers"],
            json!([
                {"image": "registry.example/a/web:1", "name": "web", "resources": {}, "ports": [{"containerPort": 80}]},
                {"image": "web@sha256:00", "name": "web-2", "resources": {}},
            ])
        );
        assert_eq!(object["spec"]["selector"], json!({"matchLabels": {"app": "web"}}));
    }
}
