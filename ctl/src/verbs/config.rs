//! `rctl config`: kubeconfig files.

use std::io::Write as _;

use base64::Engine as _;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::errors::{Failure, Outcome, fail, usage};
use crate::kubeconfig::{CLUSTERS, CONTEXTS, Files, Paths, USERS};
use crate::output::format::Format;
use crate::output::table::Table;
use crate::session::Session;
use crate::value::{as_map, text};

const EXAMPLES: &str = "  \
  # Show the merged kubeconfig
  rctl config view

  # Work in another cluster from now on
  rctl config use-context staging

  # Work in another namespace from now on
  rctl config set-context --current --namespace=shop";

/// Modify kubeconfig files using subcommands like "rctl config set current-context my-context".
///
/// The loading order follows these rules: if the --kubeconfig flag is set, then only that file is loaded; if
/// $KUBECONFIG is set, it is a list of paths that are merged, and when a value is modified, it is modified in the file
/// that defines it; otherwise, ${HOME}/.kube/config is used and no merging takes place.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Display merged kubeconfig settings or a specified kubeconfig file
    View {
        /// Output format: yaml, json, jsonpath=...
        #[arg(short = 'o', long, value_name = "FORMAT", default_value = "yaml")]
        output: String,
        /// Remove all information not used by current-context from the output
        #[arg(long)]
        minify: bool,
        /// Display raw byte data and sensitive data
        #[arg(long)]
        raw: bool,
        /// Flatten the resulting kubeconfig file into self-contained output
        #[arg(long)]
        flatten: bool,
    },
    /// Display the current-context
    CurrentContext,
    /// Describe one or many contexts
    GetContexts {
        /// Names of contexts
        names: Vec<String>,
        /// Output format: name
        #[arg(short = 'o', long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
        output: String,
        /// Don't print headers
        #[arg(long)]
        no_headers: bool,
    },
    /// Display clusters defined in the kubeconfig
    GetClusters,
    /// Display users defined in the kubeconfig
    GetUsers,
    /// Set the current-context in a kubeconfig file
    #[command(visible_alias = "use")]
    UseContext {
        /// The context
        names: Vec<String>,
    },
    /// Set a context entry in kubeconfig
    SetContext {
        /// The context
        names: Vec<String>,
        /// Modify the current context
        #[arg(long)]
        current: bool,
    },
    /// Set a cluster entry in kubeconfig
    SetCluster {
        /// The cluster
        names: Vec<String>,
        /// Path to certificate-authority file for the cluster entry
        #[arg(long, value_name = "FILE")]
        certificate_authority: Option<String>,
        /// The name to expect in the server's certificate
        #[arg(long, value_name = "NAME")]
        tls_server_name: Option<String>,
        /// Embed-certs for the cluster entry
        #[arg(long)]
        embed_certs: bool,
    },
    /// Set a user entry in kubeconfig
    SetCredentials {
        /// The user
        names: Vec<String>,
        /// Path to client-certificate file for the user entry
        #[arg(long, value_name = "FILE")]
        client_certificate: Option<String>,
        /// Path to client-key file for the user entry
        #[arg(long, value_name = "FILE")]
        client_key: Option<String>,
        /// Token for the user entry
        #[arg(long, value_name = "TOKEN")]
        token: Option<String>,
        /// Embed client cert/key for the user entry
        #[arg(long)]
        embed_certs: bool,
    },
    /// Delete the specified context from the kubeconfig
    DeleteContext {
        /// The context
        names: Vec<String>,
    },
    /// Delete the specified cluster from the kubeconfig
    DeleteCluster {
        /// The cluster
        names: Vec<String>,
    },
    /// Delete the specified user from the kubeconfig
    DeleteUser {
        /// The user
        names: Vec<String>,
    },
    /// Rename a context from the kubeconfig file
    RenameContext {
        /// The old and the new name
        names: Vec<String>,
    },
    /// Set an individual value in a kubeconfig file
    Set {
        /// The dotted property, then its value
        words: Vec<String>,
    },
    /// Unset an individual value in a kubeconfig file
    Unset {
        /// The dotted property
        words: Vec<String>,
    },
}

/// Runs the command.
pub fn run(session: &mut Session, args: ConfigArgs) -> Outcome {
    let paths = Paths::choose(&session.globals, &session.io);
    match args.action {
        Action::View { output, minify, raw, flatten } => view(session, &paths, &output, minify, raw, flatten),
        Action::CurrentContext => {
            let files = Files::load(&paths)?;
            match files.current_context() {
                "" => fail("current-context is not set"),
                name => Ok(session.io.say(name)?),
            }
        }
        Action::GetContexts { names, output, no_headers } => get_contexts(session, &paths, &names, &output, no_headers),
        Action::GetClusters => list_names(session, &paths, CLUSTERS),
        Action::GetUsers => list_names(session, &paths, USERS),
        Action::UseContext { names } => use_context(session, &paths, &names),
        Action::SetContext { names, current } => set_context(session, &paths, &names, current),
        Action::SetCluster { names, certificate_authority, tls_server_name, embed_certs } => {
            let server = session.globals.server.clone();
            let settings = [
                ("server", server, false),
                ("certificate-authority", certificate_authority, true),
                ("tls-server-name", tls_server_name, false),
            ];
            let name = one(&names, "rctl config set-cluster")?;
            set_entry(&paths, CLUSTERS, name, settings, embed_certs)?;
            Ok(session.io.say(&format!("Cluster {name:?} set."))?)
        }
        Action::SetCredentials { names, client_certificate, client_key, token, embed_certs } => {
            let settings = [
                ("client-certificate", client_certificate, true),
                ("client-key", client_key, true),
                ("token", token, false),
            ];
            let name = one(&names, "rctl config set-credentials")?;
            set_entry(&paths, USERS, name, settings, embed_certs)?;
            Ok(session.io.say(&format!("User {name:?} set."))?)
        }
        Action::DeleteContext { names } => delete_context(session, &paths, &names),
        Action::DeleteCluster { names } => {
            let name = one(&names, "rctl config delete-cluster")?;
            let file = remove(&paths, CLUSTERS, name, "cluster")?;
            Ok(session.io.say(&format!("deleted cluster {name} from {file}"))?)
        }
        Action::DeleteUser { names } => {
            let name = one(&names, "rctl config delete-user")?;
            let file = remove(&paths, USERS, name, "user")?;
            Ok(session.io.say(&format!("deleted user {name} from {file}"))?)
        }
        Action::RenameContext { names } => rename_context(session, &paths, &names),
        Action::Set { words } => {
            let [property, value] = words.as_slice() else {
                return usage("rctl config set", "Unexpected args: a property and its value are required");
            };
            change_property(&paths, property, Some(value))?;
            Ok(session.io.say(&format!("Property {property:?} set."))?)
        }
        Action::Unset { words } => {
            let property = one(&words, "rctl config unset")?;
            change_property(&paths, property, None)?;
            Ok(session.io.say(&format!("Property {property:?} unset."))?)
        }
    }
}

fn one<'a>(names: &'a [String], command: &'static str) -> Outcome<&'a str> {
    match names {
        [name] if !name.is_empty() => Ok(name),
        names => usage(command, format!("Unexpected args: exactly one name is required, got {}", names.len())),
    }
}

fn view(session: &mut Session, paths: &Paths, output: &str, minify: bool, raw: bool, flatten: bool) -> Outcome {
    let format = Format::parse(output)?;
    let files = Files::load(paths)?;
    let mut config = files.merged();
    if minify {
        let wanted = session.globals.context.clone().unwrap_or_else(|| files.current_context().to_owned());
        if wanted.is_empty() {
            return fail("current-context must exist in order to minify");
        }
        let Some(context) = files.entry(CONTEXTS, &wanted).cloned() else {
            return fail(format!("cannot locate context {wanted}"));
        };
        let keep = |list: (&str, &str), name: &str| match files.entry(list, name) {
            Some(entry) => json!([{"name": name, list.1: entry}]),
            None => Value::Null,
        };
        config["current-context"] = json!(wanted);
        config["contexts"] = keep(CONTEXTS, &wanted);
        config["clusters"] = keep(CLUSTERS, text(&context, "cluster"));
        config["users"] = keep(USERS, text(&context, "user"));
    }
    if flatten {
        let folder =
            paths.default_file().and_then(std::path::Path::parent).map(std::path::Path::to_owned).unwrap_or_default();
        each_payload(&mut config, |payload| embed(payload, &folder))?;
    }
    if !raw && !flatten {
        each_payload(&mut config, |payload| {
            hide_secrets(payload);
            Ok(())
        })?;
    }
    Ok(write!(session.io.out, "{}", format.render(&config, "")?)?)
}

fn each_payload(config: &mut Value, mut change: impl FnMut(&mut Map<String, Value>) -> Outcome) -> Outcome {
    for list in [CLUSTERS, USERS] {
        for entry in config.get_mut(list.0).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(payload) = entry.get_mut(list.1).and_then(Value::as_object_mut) {
                change(payload)?;
            }
        }
    }
    Ok(())
}

/// Certificates and keys are long and keys are secret.
fn hide_secrets(payload: &mut Map<String, Value>) {
    for (key, value) in payload.iter_mut() {
        match key.as_str() {
            "certificate-authority-data" | "client-certificate-data" => *value = json!("DATA+OMITTED"),
            "client-key-data" => *value = json!("DATA+OMITTED"),
            "token" | "password" => *value = json!("REDACTED"),
            _ => {}
        }
    }
}

/// Replaces paths by the content of the files.
fn embed(payload: &mut Map<String, Value>, folder: &std::path::Path) -> Outcome {
    for key in ["certificate-authority", "client-certificate", "client-key"] {
        if let Some(Value::String(path)) = payload.shift_remove(key) {
            payload.insert(format!("{key}-data"), json!(encoded(&folder.join(&path))?));
        }
    }
    Ok(())
}

fn encoded(path: &std::path::Path) -> Outcome<String> {
    std::fs::read(path)
        .map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes))
        .map_err(|error| Failure::Message(format!("could not read {}: {error}", path.display())))
}

fn get_contexts(session: &mut Session, paths: &Paths, names: &[String], output: &str, no_headers: bool) -> Outcome {
    if !matches!(output, "" | "name") {
        return fail(format!("output must be one of '' or 'name': {output}"));
    }
    let files = Files::load(paths)?;
    let known = files.names(CONTEXTS);
    let missing: Vec<Failure> = names
        .iter()
        .filter(|name| !known.contains(name))
        .map(|name| Failure::Message(format!("context {name} not found")))
        .collect();
    let chosen: Vec<&String> = known.iter().filter(|name| names.is_empty() || names.contains(name)).collect();
    if output == "name" {
        for name in chosen {
            writeln!(session.io.out, "{name}")?;
        }
        return Failure::collect(missing);
    }
    let mut table = Table::new(["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"]);
    for name in chosen {
        let context = files.entry(CONTEXTS, name).cloned().unwrap_or(Value::Null);
        let current = if name == files.current_context() { "*" } else { "" };
        table.rows.push(vec![
            current.to_owned(),
            name.clone(),
            text(&context, "cluster").to_owned(),
            text(&context, "user").to_owned(),
            text(&context, "namespace").to_owned(),
        ]);
    }
    let palette = session.palette();
    write!(session.io.out, "{}", table.render(!no_headers, palette))?;
    Failure::collect(missing)
}

fn list_names(session: &mut Session, paths: &Paths, list: (&str, &str)) -> Outcome {
    writeln!(session.io.out, "NAME")?;
    for name in Files::load(paths)?.names(list) {
        writeln!(session.io.out, "{name}")?;
    }
    Ok(())
}

fn use_context(session: &mut Session, paths: &Paths, names: &[String]) -> Outcome {
    let name = one(names, "rctl config use-context")?;
    let mut files = Files::load_to_change(paths)?;
    if files.entry(CONTEXTS, name).is_none() {
        return fail(format!("no context exists with the name: {name:?}"));
    }
    let file = files.current_holder_mut()?;
    as_map(&mut file.content).insert("current-context".to_owned(), json!(name));
    file.write()?;
    Ok(session.io.say(&format!("Switched to context {name:?}."))?)
}

fn set_context(session: &mut Session, paths: &Paths, names: &[String], current: bool) -> Outcome {
    let mut files = Files::load_to_change(paths)?;
    let name = match (names, current) {
        ([], true) if files.current_context().is_empty() => return fail("no current context is set"),
        ([], true) => files.current_context().to_owned(),
        ([name], false) => name.clone(),
        _ => {
            return usage(
                "rctl config set-context",
                "Unexpected args: you must specify a context name or --current, and not both",
            );
        }
    };
    let exists = files.entry(CONTEXTS, &name).is_some();
    let file = files.holder_mut(CONTEXTS, &name)?;
    let entry = file.entry_mut(CONTEXTS, &name);
    for (key, value) in [
        ("cluster", &session.globals.cluster),
        ("user", &session.globals.user),
        ("namespace", &session.globals.namespace),
    ] {
        if let Some(value) = value {
            entry.insert(key.to_owned(), json!(value));
        }
    }
    file.write()?;
    Ok(session.io.say(&format!("Context {name:?} {}.", if exists { "modified" } else { "created" }))?)
}

/// Sets values of an entry; `embeds` marks those that name files.
fn set_entry<const N: usize>(
    paths: &Paths,
    list: (&'static str, &'static str),
    name: &str,
    settings: [(&str, Option<String>, bool); N],
    embed_certs: bool,
) -> Outcome {
    let mut files = Files::load_to_change(paths)?;
    let file = files.holder_mut(list, name)?;
    let entry = file.entry_mut(list, name);
    for (key, value, is_file) in settings {
        let Some(value) = value else { continue };
        if is_file && embed_certs {
            entry.shift_remove(key);
            entry.insert(format!("{key}-data"), json!(encoded(std::path::Path::new(&value))?));
        } else if is_file {
            let path = std::path::absolute(&value)
                .map_err(|error| Failure::Message(format!("could not find {value}: {error}")))?;
            entry.shift_remove(&format!("{key}-data"));
            entry.insert(key.to_owned(), json!(path.display().to_string()));
        } else {
            entry.insert(key.to_owned(), json!(value));
        }
    }
    file.write()
}

/// Removes an entry; returns the file that had it.
fn remove(paths: &Paths, list: (&'static str, &'static str), name: &str, noun: &str) -> Outcome<String> {
    let mut files = Files::load_to_change(paths)?;
    let file = files.holder_mut(list, name)?;
    let path = file.path.display().to_string();
    if !file.remove(list, name) {
        return fail(format!("cannot delete {noun} {name}, not in {path}"));
    }
    file.write()?;
    Ok(path)
}

fn delete_context(session: &mut Session, paths: &Paths, names: &[String]) -> Outcome {
    let name = one(names, "rctl config delete-context")?;
    let was_current = Files::load_to_change(paths)?.current_context() == name;
    let file = remove(paths, CONTEXTS, name, "context")?;
    if was_current {
        session
            .io
            .warn("this removed your active context, use \"rctl config use-context\" to select a different one")?;
    }
    Ok(session.io.say(&format!("deleted context {name} from {file}"))?)
}

fn rename_context(session: &mut Session, paths: &Paths, names: &[String]) -> Outcome {
    let [old, new] = names else {
        return usage("rctl config rename-context", "Unexpected args: the old and the new name are required");
    };
    let mut files = Files::load_to_change(paths)?;
    let Some(context) = files.entry(CONTEXTS, old).cloned() else {
        return fail(format!("cannot rename the context {old:?}, it's not in the kubeconfig"));
    };
    if files.entry(CONTEXTS, new).is_some() {
        return fail(format!("cannot rename the context {old:?}, the context {new:?} already exists"));
    }
    let was_current = files.current_context() == old;
    let file = files.holder_mut(CONTEXTS, old)?;
    file.remove(CONTEXTS, old);
    if let Value::Object(context) = context {
        *file.entry_mut(CONTEXTS, new) = context;
    }
    file.write()?;
    if was_current {
        let file = files.current_holder_mut()?;
        as_map(&mut file.content).insert("current-context".to_owned(), json!(new));
        file.write()?;
    }
    Ok(session.io.say(&format!("Context {old:?} renamed to {new:?}."))?)
}

/// Sets or removes `current-context`, `contexts.NAME`, `clusters.NAME.server` and the like. Names may contain dots.
fn change_property(paths: &Paths, property: &str, value: Option<&String>) -> Outcome {
    let mut files = Files::load_to_change(paths)?;
    let lists = [CLUSTERS, USERS, CONTEXTS];
    let Some((head, rest)) = property.split_once('.') else {
        let file = if property == "current-context" { files.current_holder_mut()? } else { files.default_mut()? };
        match value {
            Some(value) => as_map(&mut file.content).insert(property.to_owned(), json!(value)),
            None => as_map(&mut file.content).shift_remove(property),
        };
        return file.write();
    };
    let Some(list) = lists.into_iter().find(|list| list.0 == head) else {
        return fail(format!(
            "unknown property {property:?}: it begins with clusters, users, contexts or is current-context"
        ));
    };
    let known = files.names(list);
    let (name, field) = match known.iter().find(|name| rest == **name || rest.starts_with(&format!("{name}."))) {
        Some(name) => (name.clone(), rest[name.len()..].trim_start_matches('.').to_owned()),
        None => rest
            .rsplit_once('.')
            .map_or((rest.to_owned(), String::new()), |(name, field)| (name.to_owned(), field.to_owned())),
    };
    let file = files.holder_mut(list, &name)?;
    match (value, field.as_str()) {
        (None, "") => {
            file.remove(list, &name);
        }
        (None, field) => {
            file.entry_mut(list, &name).shift_remove(field);
        }
        (Some(_), "") => return fail(format!("property {property:?} names an entry, not a value of it")),
        (Some(value), field) => {
            file.entry_mut(list, &name).insert(field.to_owned(), json!(value));
        }
    }
    file.write()
}
