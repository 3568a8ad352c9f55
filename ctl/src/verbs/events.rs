//! `rctl events`: what happened, oldest first.

use std::io::Write as _;

use clap::Args;
use serde_json::Value;

use super::common;
use crate::describe::events::{age, last_seen};
use crate::errors::{Failure, Outcome, fail};
use crate::output::format::Format;
use crate::output::table::{Printer, Table};
use crate::resolve;
use crate::session::Session;
use crate::value::{namespace, text};
use crate::watching::{Change, Changes, Selection};

const EXAMPLES: &str = "  \
  # List recent events in the default namespace
  rctl events

  # List recent events for the specified pod, then wait for more events and list them as they arrive
  rctl events --for pod/web-pod-13je7 --watch

  # List recent warnings in all namespaces
  rctl events -A --types=Warning";

/// Display events.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct EventsArgs {
    /// If present, list the events across all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Filter events to only those pertaining to the specified resource
    #[arg(long = "for", value_name = "TYPE/NAME", default_value = "", hide_default_value = true)]
    about: String,
    /// Output only events of given types
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// After listing the requested events, watch for more events
    #[arg(short = 'w', long)]
    watch: bool,
    /// When using the default output format, don't print headers
    #[arg(long)]
    no_headers: bool,
    /// Output format: json, yaml, name, jsonpath=...
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    output: String,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: EventsArgs) -> Outcome {
    let format = Format::parse(&args.output)?;
    if let Some(kind) =
        args.types.iter().find(|kind| !["Normal", "Warning"].iter().any(|it| it.eq_ignore_ascii_case(kind)))
    {
        return fail(format!("valid --types are Normal or Warning, not {kind:?}"));
    }
    let cluster = session.cluster()?;
    let mut fields = Vec::new();
    if !args.about.is_empty() {
        let Some((word, name)) = args.about.split_once('/').filter(|(word, name)| !word.is_empty() && !name.is_empty())
        else {
            return fail("--for must be in resource/name form");
        };
        let info = resolve::resource(&cluster, word).await?;
        fields = vec![format!("involvedObject.kind={}", info.kind), format!("involvedObject.name={name}")];
    }
    let info = resolve::resource(&cluster, "events").await?;
    let scope = if args.all_namespaces { "" } else { cluster.namespace.as_str() };
    let fields = fields.join(",");
    let (mut events, revision) = common::list(&cluster, &info, scope, "", &fields).await?;
    let listed = if args.watch { events.clone() } else { Vec::new() };
    events.retain(|event| args.wants(event));
    events.sort_by_key(|event| last_seen(event).to_owned());
    if events.is_empty() && !args.watch {
        let text = match (args.all_namespaces, scope) {
            (true, _) => "No events found.".to_owned(),
            (false, scope) => format!("No events found in {scope} namespace."),
        };
        return Ok(session.io.note(&text)?);
    }
    if !format.is_table() {
        if args.watch {
            return fail("--watch prints a table; use rctl get events --watch for other formats");
        }
        let list = serde_json::json!({"apiVersion": "v1", "items": events, "kind": "List", "metadata": {"resourceVersion": ""}});
        return Ok(write!(session.io.out, "{}", format.render(&list, "")?)?);
    }
    let mut printer = Printer::new(args.headers(), session.palette());
    let rows = |events: &[Value], session: &Session| args.rows(events, (session.io.now)());
    let text = printer.print(&rows(&events, session), !args.no_headers);
    write!(session.io.out, "{text}")?;
    session.io.out.flush()?;
    if !args.watch {
        return Ok(());
    }
    let selection = Selection { namespace: scope, labels: "", fields: &fields };
    let mut changes = Changes::after(&cluster, &info, selection, &listed, revision);
    loop {
        let event = match changes.next().await? {
            Change::Added(event) | Change::Modified(event) => event,
            Change::Deleted(_) => continue,
        };
        if args.wants(&event) {
            let text = printer.print(&rows(&[event], session), false);
            write!(session.io.out, "{text}").map_err(Failure::Output)?;
            session.io.out.flush()?;
        }
    }
}

impl EventsArgs {
    fn wants(&self, event: &Value) -> bool {
        self.types.is_empty() || self.types.iter().any(|kind| kind.eq_ignore_ascii_case(text(event, "type")))
    }

    fn headers(&self) -> Vec<String> {
        let mut headers = Table::new(["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]).headers;
        if self.all_namespaces {
            headers.insert(0, "NAMESPACE".to_owned());
        }
        headers
    }

    fn rows(&self, events: &[Value], now: jiff::Timestamp) -> Vec<Vec<String>> {
        let row = |event: &Value| {
            let mut row = vec![
                age(event, now),
                text(event, "type").to_owned(),
                text(event, "reason").to_owned(),
                format!("{}/{}", text(event, "involvedObject.kind"), text(event, "involvedObject.name")),
                text(event, "message").trim().replace('\n', " "),
            ];
            if self.all_namespaces {
                row.insert(0, namespace(event).to_owned());
            }
            row
        };
        events.iter().map(row).collect()
    }
}
