//! The command line as a whole: global flags, the verbs, and help texts in kubectl's form.

use clap::builder::{ArgAction, Styles};
use clap::{Args, Command, CommandFactory, Parser, Subcommand};

use crate::output::colour::ColorChoice;
use crate::verbs;

/// The parsed command line.
#[derive(Debug, Parser)]
#[command(name = "rctl", disable_help_subcommand = true, disable_version_flag = true)]
pub struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do; nothing prints the help.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

impl Cli {
    /// Where a command has a flag `--user` of its own, it is not the kubeconfig's user, whatever the parser thinks.
    pub fn settled(mut self) -> Cli {
        if self.verb.as_ref().is_some_and(Verb::names_subjects) {
            self.globals.user = None;
        }
        self
    }
}

impl Verb {
    /// Whether `--user` is somebody to be bound to a role.
    fn names_subjects(&self) -> bool {
        match self {
            Verb::Create(args) => args.names_subjects(),
            Verb::Set(args) => args.names_subjects(),
            _ => false,
        }
    }
}

/// Flags that every command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Path to the kubeconfig file to use for requests
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// The name of the kubeconfig context to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The name of the kubeconfig cluster to use
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The name of the kubeconfig user to use
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// If present, the namespace scope for this request
    #[arg(short = 'n', long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The address and port of the API server, such as https://127.0.0.1:6443
    #[arg(short = 's', long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Bearer token for authentication to the API server
    #[arg(long, global = true, value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Path to a client certificate file for TLS
    #[arg(long, global = true, value_name = "FILE")]
    pub client_certificate: Option<String>,
    /// Path to a client key file for TLS
    #[arg(long, global = true, value_name = "FILE")]
    pub client_key: Option<String>,
    /// Path to a cert file for the certificate authority
    #[arg(long, global = true, value_name = "FILE")]
    pub certificate_authority: Option<String>,
    /// Server name to use for server certificate validation
    #[arg(long, global = true, value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// Not supported: a server whose certificate is not checked may be anybody
    #[arg(long, global = true)]
    pub insecure_skip_tls_verify: bool,
    /// Username to impersonate for the operation. User could be a regular user or a service account in a namespace
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Group to impersonate for the operation, this flag can be repeated to specify multiple groups
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub as_groups: Vec<String>,
    /// UID to impersonate for the operation
    #[arg(long = "as-uid", global = true, value_name = "UID")]
    pub as_uid: Option<String>,
    /// User extras to impersonate for the operation, this flag can be repeated to specify multiple values for the same key
    #[arg(long = "as-user-extra", global = true, value_name = "KEY=VALUE")]
    pub as_user_extra: Vec<String>,
    /// Directory that what the server serves is remembered in; empty for not at all
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<String>,
    /// Treat warnings received from the server as errors and exit with a non-zero exit code
    #[arg(long, global = true)]
    pub warnings_as_errors: bool,
    /// The length of time to wait before giving up on a single request (such as 1s, 2m, 3h); zero means no limit
    #[arg(long, global = true, value_name = "TIME", default_value = "0")]
    pub request_timeout: String,
    /// When to colour the output; NO_COLOR is respected
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// Number for the log level verbosity
    #[arg(short = 'v', long = "v", global = true, value_name = "N", default_value_t = 0)]
    pub verbosity: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create a resource from a file or from stdin
    Create(verbs::create::CreateArgs),
    /// Take a replication controller, service, deployment or pod and expose it as a new service
    Expose(verbs::expose::ExposeArgs),
    /// Run a particular image on the cluster
    Run(verbs::run::RunArgs),
    /// Set specific features on objects
    Set(verbs::set::SetArgs),
    /// Display one or many resources
    Get(verbs::get::GetArgs),
    /// Get documentation for a resource
    Explain(verbs::explain::ExplainArgs),
    /// Edit a resource on the server
    Edit(verbs::edit::EditArgs),
    /// Delete resources by file names, stdin, resources and names, or by resources and label selector
    Delete(verbs::delete::DeleteArgs),
    /// Manage the rollout of a resource
    Rollout(verbs::rollout::RolloutArgs),
    /// Set a new size for a deployment, replica set, or replication controller
    Scale(verbs::scale::ScaleArgs),
    /// Auto-scale a deployment, replica set, stateful set, or replication controller
    Autoscale(verbs::autoscale::AutoscaleArgs),
    /// Modify certificate resources
    Certificate(verbs::certificate::CertificateArgs),
    /// Display cluster information
    ClusterInfo(verbs::info::ClusterInfoArgs),
    /// Display resource (CPU/memory) usage
    Top(verbs::top::TopArgs),
    /// Mark node as unschedulable
    Cordon(verbs::node::CordonArgs),
    /// Mark node as schedulable
    Uncordon(verbs::node::UncordonArgs),
    /// Drain node in preparation for maintenance
    Drain(verbs::drain::DrainArgs),
    /// Update the taints on one or more nodes
    Taint(verbs::taint::TaintArgs),
    /// Show details of a specific resource or group of resources
    Describe(verbs::describe::DescribeArgs),
    /// Say what keeps an object from being as it should, and what would help
    Why(verbs::why::WhyArgs),
    /// Show an object and all that it owns
    Tree(verbs::tree::TreeArgs),
    /// Print the logs for a container in a pod
    Logs(verbs::logs::LogsArgs),
    /// Attach to a running container
    Attach(verbs::attach::AttachArgs),
    /// Execute a command in a container
    Exec(verbs::exec::ExecArgs),
    /// Forward one or more local ports to a pod
    PortForward(verbs::port_forward::PortForwardArgs),
    /// Copy files and directories to and from containers
    Cp(verbs::cp::CpArgs),
    /// Inspect authorization
    Auth(verbs::auth::AuthArgs),
    /// List events
    Events(verbs::events::EventsArgs),
    /// Diff the live version against a would-be applied version
    Diff(verbs::diff::DiffArgs),
    /// Apply a configuration to a resource by file name or stdin
    Apply(verbs::apply::ApplyArgs),
    /// Update fields of a resource
    Patch(verbs::patch::PatchArgs),
    /// Replace a resource by file name or stdin
    Replace(verbs::replace::ReplaceArgs),
    /// Wait for a specific condition on one or many resources
    Wait(verbs::wait::WaitArgs),
    /// Update the labels on a resource
    Label(verbs::label::LabelArgs),
    /// Update the annotations on a resource
    Annotate(verbs::label::AnnotateArgs),
    /// Output shell completion code for the specified shell (bash, zsh, fish, or powershell)
    Completion(verbs::completion::CompletionArgs),
    /// Print the supported API resources on the server
    ApiResources(verbs::info::ApiResourcesArgs),
    /// Print the supported API versions on the server, in the form of "group/version"
    ApiVersions(verbs::info::ApiVersionsArgs),
    /// Modify kubeconfig files
    Config(verbs::config::ConfigArgs),
    /// Provides utilities for interacting with plugins
    Plugin(verbs::plugin::PluginArgs),
    /// Print the client and server version information
    Version(verbs::version::VersionArgs),
    /// Print the list of flags inherited by all commands
    Options,
}

/// The groups of `rctl --help`, in kubectl's order.
const GROUPS: [(&str, &[&str]); 7] = [
    ("Basic Commands (Beginner)", &["create", "expose", "run", "set"]),
    ("Basic Commands (Intermediate)", &["explain", "get", "edit", "delete"]),
    ("Deploy Commands", &["rollout", "scale", "autoscale"]),
    ("Cluster Management Commands", &["certificate", "cluster-info", "top", "cordon", "uncordon", "drain", "taint"]),
    (
        "Troubleshooting and Debugging Commands",
        &["describe", "why", "tree", "logs", "attach", "exec", "port-forward", "cp", "auth", "events"],
    ),
    ("Advanced Commands", &["diff", "apply", "patch", "replace", "wait"]),
    ("Settings Commands", &["label", "annotate", "completion"]),
];
const OTHERS: &[&str] = &["api-resources", "api-versions", "config", "plugin", "version"];

const FOOTER: &str = "Use \"rctl <command> --help\" for more information about a given command.\n\
                      Use \"rctl options\" for a list of global command-line options (applies to all commands).";
const LEAF: &str = "{about}\n\n{before-help}Options:\n{options}\n\nUsage:\n  {usage}\n\n\
                    Use \"rctl options\" for a list of global command-line options (applies to all commands).\n";
const BRANCH: &str = "{about}\n\n{before-help}Available Commands:\n{subcommands}\n\nUsage:\n  {usage}\n\n\
                      Use \"rctl <command> --help\" for more information about a given command.\n\
                      Use \"rctl options\" for a list of global command-line options (applies to all commands).\n";

/// Whether a first word is a flag or one of rctl's own commands.
pub fn is_command(word: &str) -> bool {
    word.starts_with('-') || Cli::command().find_subcommand(word).is_some()
}

/// The command with help texts in kubectl's form and flags that take `=true` and `=false`.
pub fn command() -> Command {
    let command = Cli::command();
    let help = overview(&command);
    command.styles(Styles::plain()).mut_args(boolean_values).mut_subcommands(polish).override_help(help)
}

fn polish(command: Command) -> Command {
    let template = if command.has_subcommands() { BRANCH } else { LEAF };
    let examples = command.get_before_help().map(ToString::to_string);
    let command = match examples {
        Some(examples) => command.before_help(format!("Examples:\n{}\n\n", examples.trim_end_matches('\n'))),
        None => command,
    };
    command
        .help_template(template)
        .disable_help_subcommand(true)
        .subcommand_help_heading("Available Commands")
        .mut_args(boolean_values)
        .mut_subcommands(polish)
}

/// Flags are given alone or with a value after `=`, as in Go programs: `--wait`, `--wait=false`.
fn boolean_values(arg: clap::Arg) -> clap::Arg {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        arg.action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .hide_possible_values(true)
            .hide_default_value(true)
            .value_name("BOOL")
    } else {
        arg
    }
}

/// `rctl --help`.
fn overview(command: &Command) -> String {
    let about = |name: &str| {
        let about = command.find_subcommand(name).and_then(Command::get_about);
        format!("  {name:<15} {}\n", about.map(ToString::to_string).unwrap_or_default())
    };
    let mut help = String::from("rctl controls a Reeve or Kubernetes-compatible cluster over gRPC.\n\n");
    for (title, names) in GROUPS {
        help.push_str(&format!("{title}:\n"));
        names.iter().for_each(|name| help.push_str(&about(name)));
        help.push('\n');
    }
    help.push_str("Other Commands:\n");
    OTHERS.iter().for_each(|name| help.push_str(&about(name)));
    help.push_str(&format!("\nUsage:\n  rctl [flags] [options]\n\n{FOOTER}\n"));
    help
}

/// `rctl options`.
pub fn options_text() -> String {
    let mut text = String::from("The following options can be passed to any command:\n\n");
    for arg in command().get_arguments().filter(|arg| arg.get_long().is_some_and(|long| long != "help")) {
        let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
        let long = arg.get_long().unwrap_or_default();
        let default = arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("    {short}--{long}={}:\n\t{help}\n\n", default.as_deref().unwrap_or("''")));
    }
    text
}

/// What kubectl would say about a command line that clap refused.
pub fn usage_text(error: &clap::Error, args: &[String]) -> String {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let context = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let path = command_path(args);
    let see = format!("See '{path} --help' for usage.");
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let argument = context(ContextKind::InvalidArg);
            let mut text = if let Some(long) = argument.strip_prefix("--") {
                format!("error: unknown flag: --{long}")
            } else if let Some(short) = argument.strip_prefix('-') {
                let letter = short.chars().next().unwrap_or('-');
                format!("error: unknown shorthand flag: '{letter}' in {argument}")
            } else {
                format!("error: unexpected argument {argument:?}")
            };
            let suggestion = context(ContextKind::SuggestedArg);
            if !suggestion.is_empty() {
                text.push_str(&format!("\nDid you mean {suggestion}?"));
            }
            format!("{text}\n{see}")
        }
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand);
            let mut text = format!("error: unknown command {word:?} for {path:?}");
            // The most similar one comes last.
            let suggestion = match error.get(ContextKind::SuggestedSubcommand) {
                Some(ContextValue::Strings(texts)) => texts.last().cloned().unwrap_or_default(),
                _ => context(ContextKind::SuggestedSubcommand),
            };
            if !suggestion.is_empty() {
                text.push_str(&format!("\n\nDid you mean this?\n\t{suggestion}"));
            }
            text
        }
        ErrorKind::MissingRequiredArgument => {
            let flags: Vec<String> = context(ContextKind::InvalidArg)
                .split(", ")
                .map(|argument| {
                    let name = argument.trim_start_matches('-');
                    format!("{:?}", name.split([' ', '=']).next().unwrap_or(name))
                })
                .collect();
            format!("error: required flag(s) {} not set", flags.join(", "))
        }
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            let argument = context(ContextKind::InvalidArg);
            format!("error: flag needs an argument: {}\n{see}", argument.split(' ').next().unwrap_or_default())
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let argument = context(ContextKind::InvalidArg);
            let value = context(ContextKind::InvalidValue);
            let flag = argument.split([' ', '=', '[']).next().unwrap_or_default();
            let valid = context(ContextKind::ValidValue);
            let valid = if valid.is_empty() { String::new() } else { format!(": must be one of {valid}") };
            format!("error: invalid argument {value:?} for \"{flag}\" flag{valid}\n{see}")
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            format!("error: {line}\n{see}")
        }
    }
}

/// `rctl create namespace` of a command line that begins with these words.
fn command_path(args: &[String]) -> String {
    let root = Cli::command();
    let mut path = String::from("rctl");
    let mut current = &root;
    for word in args.iter().skip(1) {
        if let Some(next) = current.find_subcommand(word) {
            path = format!("{path} {}", next.get_name());
            current = next;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let parsed = command().try_get_matches_from(&args).map_err(|error| usage_text(&error, &args))?;
        clap::FromArgMatches::from_arg_matches(&parsed).map_err(|error: clap::Error| error.to_string())
    }

    #[test]
    fn the_command_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_in_one_group_and_has_examples() {
        let root = command();
        let listed: Vec<&str> =
            GROUPS.iter().flat_map(|group| group.1.iter()).chain(OTHERS).copied().chain(["options"]).collect();
        for verb in root.get_subcommands() {
            assert!(listed.contains(&verb.get_name()), "{} is in no group", verb.get_name());
            assert!(
                verb.get_name() == "options" || verb.get_before_help().is_some(),
                "{} has no examples",
                verb.get_name()
            );
        }
    }

    #[test]
    fn flags_are_those_of_go_programs() {
        for line in [
            "rctl get pods -o wide",
            "rctl get pods -owide -n kube-system",
            "rctl get pods -o=yaml --watch=true -A",
            "rctl -n x get pods",
            "rctl exec -it web -- sh -c ls",
            "rctl delete pod x --wait=false --force --grace-period=0",
            "rctl logs -f web -c a --tail=5",
            "rctl scale deploy/web --replicas=3",
            "rctl rollout undo deploy/web --to-revision=2",
            "rctl create deployment web --image=x -r 3",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn mistakes_are_told_as_kubectl_does() {
        let error = |line| parse(line).expect_err(line);
        assert_eq!(error("rctl get --foo"), "error: unknown flag: --foo\nSee 'rctl get --help' for usage.");
        assert_eq!(
            error("rctl get pods -y"),
            "error: unknown shorthand flag: 'y' in -y\nSee 'rctl get --help' for usage."
        );
        assert_eq!(
            error("rctl delet"),
            "error: unknown command \"delet\" for \"rctl\"\n\nDid you mean this?\n\tdelete"
        );
        assert_eq!(error("rctl scale deploy/x"), "error: required flag(s) \"replicas\" not set");
        assert_eq!(
            error("rctl scale deploy/x --replicas=x"),
            "error: invalid argument \"x\" for \"--replicas\" flag\nSee 'rctl scale --help' for usage."
        );
        assert_eq!(
            error("rctl get pods -n"),
            "error: flag needs an argument: --namespace\nSee 'rctl get --help' for usage."
        );
    }
}
