//! `rctl set env`.

use clap::Args;
use serde_json::{Value, json};

use super::{Common, change_all, chooses, chosen, containers, pod_spec};
use crate::errors::{Failure, Outcome, fail};
use crate::resolve::{self, Words};
use crate::session::Session;
use crate::value::{as_map, at, entries, items, name, namespace, text};
use crate::verbs::common;

const EXAMPLES: &str = "  \
  # Update deployment 'registry' with a new environment variable
  rctl set env deployment/registry STORAGE_DIR=/local

  # List the environment variables defined on all pods
  rctl set env pods --all --list

  # Import environment from a config map with a prefix
  rctl set env --from=configmap/myconfigmap --prefix=MYSQL_ deployment/myapp

  # Remove the environment variable ENV from a container of a deployment
  rctl set env deployment/web -c web ENV-";

/// Update environment variables on a pod template.
///
/// List environment variable definitions in one or more pods, pod templates. Add, update, or remove container
/// environment variable definitions in one or more pod templates.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct EnvArgs {
    /// TYPE NAME or TYPE/NAME, then KEY=VALUE or KEY-...
    #[arg(value_name = "TYPE NAME | TYPE/NAME | KEY=VALUE | KEY-")]
    words: Vec<String>,
    /// The names of containers in the selected pod templates to change, may use wildcards
    #[arg(short = 'c', long, value_name = "NAME", default_value = "*")]
    containers: String,
    /// Specify a key-value pair for an environment variable to set into each container
    #[arg(short = 'e', long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// The name of a resource from which to inject environment variables: configmap/NAME or secret/NAME
    #[arg(long, value_name = "TYPE/NAME", default_value = "", hide_default_value = true)]
    from: String,
    /// Comma-separated list of keys to import from specified resource
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    keys: Vec<String>,
    /// Prefix to append to variable names
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// If true, display the environment and any changes in the standard format
    #[arg(long)]
    list: bool,
    /// If true, show secret or configmap references when listing variables
    #[arg(long)]
    resolve: bool,
    /// If true, allow environment to be overwritten, otherwise reject updates that overwrite existing environment
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true",
          action = clap::ArgAction::Set, value_name = "BOOL")]
    overwrite: bool,
    #[command(flatten)]
    common: Common,
}

/// What is asked of the variables.
#[derive(Debug, Default)]
struct Wanted {
    set: Vec<Value>,
    removed: Vec<String>,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: EnvArgs) -> Outcome {
    let mut input = String::new();
    if args.words.iter().chain(&args.env).any(|word| word == "-") {
        std::io::Read::read_to_string(&mut session.io.input, &mut input)
            .map_err(|error| Failure::Message(format!("error reading STDIN: {error}")))?;
    }
    let (words, mut wanted) = split(&args.words, &args.env, &input)?;
    if words.is_empty() && args.common.files.is_empty() {
        return fail("one or more resources must be specified as <resource> <name> or <resource>/<name>");
    }
    if !args.from.is_empty() {
        wanted.set.extend(imported(session, &args).await?);
    }
    if args.list {
        return list(session, &args, words).await;
    }
    let change = |kind: &str, object: &mut Value| {
        let mut conflict = None;
        let seen = containers(kind, object, &args.containers, &mut |container| {
            conflict = conflict.take().or(apply(container, &wanted, args.overwrite));
        })?;
        match conflict {
            Some(name) => fail(format!("'{name}' already has a value, and --overwrite is false")),
            None if !seen => fail(format!("{kind} does not have any containers matching {:?}", args.containers)),
            None => Ok(()),
        }
    };
    change_all(session, &args.common, words, "env updated", &change).await
}

/// Tells words for objects from changes.
fn split(words: &[String], env: &[String], input: &str) -> Outcome<(Vec<String>, Wanted)> {
    let mut wanted = Wanted::default();
    let mut objects = Vec::new();
    let lines = input.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for word in words.iter().chain(env).map(String::as_str).chain(lines) {
        if word == "-" {
            continue;
        }
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => wanted.set.push(json!({"name": key, "value": value})),
            (Some(_), _) => return fail(format!("invalid environment variable: {word}")),
            (None, Some(key)) if !word.contains('/') => wanted.removed.push(key.to_owned()),
            (None, _) => objects.push(word.to_owned()),
        }
    }
    Ok((objects, wanted))
}

/// Changes a container's variables; the name of one that may not be overwritten comes back.
fn apply(container: &mut Value, wanted: &Wanted, overwrite: bool) -> Option<String> {
    let variables = as_map(container).entry("env").or_insert_with(|| json!([]));
    let list = variables.as_array_mut()?;
    for variable in &wanted.set {
        match list.iter_mut().find(|known| text(known, "name") == text(variable, "name")) {
            Some(known) if !overwrite && known != variable => return Some(text(variable, "name").to_owned()),
            Some(known) => *known = variable.clone(),
            None => list.push(variable.clone()),
        }
    }
    list.retain(|known| !wanted.removed.iter().any(|name| name == text(known, "name")));
    if list.is_empty() {
        as_map(container).remove("env");
    }
    None
}

/// Variables that refer to the keys of a config map or secret.
async fn imported(session: &Session, args: &EnvArgs) -> Outcome<Vec<Value>> {
    let cluster = session.cluster()?;
    let Words::Pairs(pairs) = Words::parse(std::slice::from_ref(&args.from))? else {
        return fail(format!("--from must be configmap/NAME or secret/NAME: {:?}", args.from));
    };
    let Some((word, source)) = pairs.into_iter().next() else { return fail("--from names nothing") };
    let info = resolve::resource(&cluster, &word).await?;
    let reference = match info.kind.as_str() {
        "ConfigMap" => "configMapKeyRef",
        "Secret" => "secretKeyRef",
        other => return fail(format!("unsupported resource specified in --from: {other}")),
    };
    let object = common::get(&cluster, &info, &cluster.namespace, &source).await?;
    let keys = entries(&object, "data").into_iter().map(|(key, _)| key);
    let chosen = keys.filter(|key| args.keys.is_empty() || args.keys.iter().any(|asked| asked == key));
    let variables = chosen.map(|key| {
        let mut value_from = json!({});
        value_from[reference] = json!({"key": key, "name": source});
        json!({"name": format!("{}{}", args.prefix, variable_name(key)), "valueFrom": value_from})
    });
    Ok(variables.collect())
}

/// `db.url` as `DB_URL`.
fn variable_name(key: &str) -> String {
    key.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' }).collect()
}

/// `--list`.
async fn list(session: &mut Session, args: &EnvArgs, words: Vec<String>) -> Outcome {
    let (found, failures) = chosen(session, &args.common, words).await?;
    for found in found {
        let kind = found.info.kind.as_str();
        let spec = pod_spec(kind, &found.object)?;
        for list in ["initContainers", "containers"] {
            for container in items(spec, list).iter().filter(|one| chooses(&args.containers, text(one, "name"))) {
                let object_name = name(&found.object);
                session.io.say(&format!("# {kind} {object_name}, container {}", text(container, "name")))?;
                for variable in items(container, "env") {
                    let line = line(session, args, &found.object, variable).await?;
                    session.io.say(&line)?;
                }
            }
        }
    }
    Failure::collect(failures)
}

/// A variable as a line: its value, or where it comes from.
async fn line(session: &Session, args: &EnvArgs, object: &Value, variable: &Value) -> Outcome<String> {
    let variable_name = text(variable, "name");
    let Some(from) = at(variable, "valueFrom") else {
        return Ok(format!("{variable_name}={}", text(variable, "value")));
    };
    let source = [("configmap", "configMapKeyRef"), ("secret", "secretKeyRef")]
        .into_iter()
        .find_map(|(word, key)| at(from, key).map(|reference| (word, reference)));
    Ok(match source {
        Some((word, reference)) if args.resolve => {
            let cluster = session.cluster()?;
            let info = resolve::resource(&cluster, word).await?;
            let source = common::get(&cluster, &info, namespace(object), text(reference, "name")).await?;
            let value = source.get("data").and_then(|data| data.get(text(reference, "key")));
            let value = value.and_then(Value::as_str).unwrap_or_default();
            let value = if word == "secret" { decoded(value) } else { value.to_owned() };
            format!("{variable_name}={value}")
        }
        Some((word, reference)) => {
            format!("# {variable_name} from {word} {}, key {}", text(reference, "name"), text(reference, "key"))
        }
        None if at(from, "fieldRef").is_some() => {
            format!("# {variable_name} from field path {}", text(from, "fieldRef.fieldPath"))
        }
        None => format!("# {variable_name} from resource {}", text(from, "resourceFieldRef.resource")),
    })
}

fn decoded(value: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(value).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_set_and_removed() {
        let words = ["deploy/web".to_owned(), "A=b".to_owned(), "B-".to_owned()];
        let (objects, wanted) = split(&words, &["C=d=e".to_owned()], "").expect("splits");
        assert_eq!(objects, ["deploy/web"]);
        let mut container = json!({"env": [{"name": "B", "value": "x"}, {"name": "A", "value": "a"}]});
        assert_eq!(apply(&mut container, &wanted, true), None);
        assert_eq!(container["env"], json!([{"name": "A", "value": "b"}, {"name": "C", "value": "d=e"}]));
        let mut container = json!({"env": [{"name": "A", "value": "a"}]});
        assert_eq!(apply(&mut container, &wanted, false).as_deref(), Some("A"));
    }

    #[test]
    fn keys_become_names() {
        assert_eq!(variable_name("db.url-x"), "DB_URL_X");
    }
}
