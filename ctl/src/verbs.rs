//! The commands, one file each.

pub mod apply;
pub mod common;
pub mod completion;
pub mod config;
pub mod create;
pub mod delete;
pub mod describe;
pub mod edit;
pub mod exec;
pub mod get;
pub mod info;
pub mod label;
pub mod logs;
pub mod patch;
pub mod rollout;
pub mod scale;
pub mod set;
pub mod version;
pub mod wait;

use crate::cli::{self, Verb};
use crate::errors::Outcome;
use crate::session::{Session, block_on};

/// Runs a command.
pub fn dispatch(session: &mut Session, verb: Option<Verb>) -> Outcome {
    match verb {
        None => Ok(write!(session.io.out, "{}", cli::command().render_help())?),
        Some(Verb::Options) => Ok(write!(session.io.out, "{}", cli::options_text())?),
        Some(Verb::Completion(args)) => completion::run(session, &args),
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
        Some(Verb::Patch(args)) => block_on(patch::run(session, args)),
        Some(Verb::Wait(args)) => block_on(wait::run(session, args)),
        Some(Verb::Label(args)) => block_on(label::label(session, args)),
        Some(Verb::Annotate(args)) => block_on(label::annotate(session, args)),
        Some(Verb::ApiResources(args)) => block_on(info::api_resources(session, args)),
        Some(Verb::ApiVersions(args)) => block_on(info::api_versions(session, args)),
        Some(Verb::Version(args)) => block_on(version::run(session, args)),
    }
}
