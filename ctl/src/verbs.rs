//! The commands, one file each.

pub mod apply;
pub mod attach;
pub mod auth;
pub mod autoscale;
pub mod certificate;
pub mod common;
pub mod completion;
pub mod config;
pub mod cp;
pub mod create;
pub mod delete;
pub mod describe;
pub mod diff;
pub mod drain;
pub mod edit;
pub mod events;
pub mod exec;
pub mod explain;
pub mod expose;
pub mod get;
pub mod info;
pub mod label;
pub mod logs;
pub mod node;
pub mod patch;
pub mod plugin;
pub mod port_forward;
pub mod prune;
pub mod raw;
pub mod replace;
pub mod rollout;
pub mod run;
pub mod scale;
pub mod server_side;
pub mod set;
pub mod taint;
pub mod top;
pub mod tree;
pub mod version;
pub mod wait;
pub mod why;

use crate::cli::{self, Verb};
use crate::errors::Outcome;
use crate::session::{Session, block_on};

/// Runs a command.
pub fn dispatch(session: &mut Session, verb: Option<Verb>) -> Outcome {
    match verb {
        None => Ok(write!(session.io.out, "{}", cli::command().render_help())?),
        Some(Verb::Options) => Ok(write!(session.io.out, "{}", cli::options_text())?),
        Some(Verb::Completion(args)) => completion::run(session, &args),
        Some(Verb::Why(args)) => block_on(why::run(session, args)),
        Some(Verb::Tree(args)) => block_on(tree::run(session, args)),
        Some(Verb::Plugin(args)) => plugin::run(session, &args),
        Some(Verb::Certificate(args)) => block_on(certificate::run(session, args)),
        Some(Verb::Config(args)) => config::run(session, args),
        Some(Verb::Create(args)) => block_on(create::run(session, args)),
        Some(Verb::Set(args)) => block_on(set::run(session, args)),
        Some(Verb::Get(args)) => block_on(get::run(session, args)),
        Some(Verb::Edit(args)) => block_on(edit::run(session, args)),
        Some(Verb::Delete(args)) => block_on(delete::run(session, args)),
        Some(Verb::Rollout(args)) => block_on(rollout::run(session, args)),
        Some(Verb::Scale(args)) => block_on(scale::run(session, args)),
        Some(Verb::ClusterInfo(args)) => block_on(info::cluster_info(session, args)),
        Some(Verb::Describe(args)) => block_on(describe::run(session, args)),
        Some(Verb::Logs(args)) => block_on(logs::run(session, args)),
        Some(Verb::Exec(args)) => block_on(exec::run(session, args)),
        Some(Verb::Apply(args)) => block_on(apply::run(session, args)),
        Some(Verb::Attach(args)) => block_on(attach::run(session, args)),
        Some(Verb::Auth(args)) => block_on(auth::run(session, args)),
        Some(Verb::Autoscale(args)) => block_on(autoscale::run(session, args)),
        Some(Verb::Cordon(args)) => block_on(node::cordon(session, args)),
        Some(Verb::Cp(args)) => block_on(cp::run(session, args)),
        Some(Verb::Diff(args)) => block_on(diff::run(session, args)),
        Some(Verb::Drain(args)) => block_on(drain::run(session, args)),
        Some(Verb::Events(args)) => block_on(events::run(session, args)),
        Some(Verb::Explain(args)) => block_on(explain::run(session, args)),
        Some(Verb::Expose(args)) => block_on(expose::run(session, args)),
        Some(Verb::PortForward(args)) => block_on(port_forward::run(session, args)),
        Some(Verb::Replace(args)) => block_on(replace::run(session, args)),
        Some(Verb::Run(args)) => block_on(run::run(session, args)),
        Some(Verb::Taint(args)) => block_on(taint::run(session, args)),
        Some(Verb::Top(args)) => block_on(top::run(session, args)),
        Some(Verb::Uncordon(args)) => block_on(node::uncordon(session, args)),
        Some(Verb::Patch(args)) => block_on(patch::run(session, args)),
        Some(Verb::Wait(args)) => block_on(wait::run(session, args)),
        Some(Verb::Label(args)) => block_on(label::label(session, args)),
        Some(Verb::Annotate(args)) => block_on(label::annotate(session, args)),
        Some(Verb::ApiResources(args)) => block_on(info::api_resources(session, args)),
        Some(Verb::ApiVersions(args)) => block_on(info::api_versions(session, args)),
        Some(Verb::Version(args)) => block_on(version::run(session, args)),
    }
}
