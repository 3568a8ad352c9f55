//! `describe`: what a person wants to know about an object, as text. Pure functions of objects that were read before.

pub mod events;
pub mod generic;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod service;
pub mod workload;
pub mod writer;

use jiff::Timestamp;
use serde_json::Value;

use crate::output::colour::Palette;
use crate::value::{at, items, text};
use writer::Writer;

/// An object and what else its description shows.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The object.
    pub object: Value,
    /// Its events, or `None` when they could not be read.
    pub events: Option<Vec<Value>>,
    /// What belongs to it: a deployment's replica sets, a service's endpoint slices, a node's or a set's pods.
    pub related: Vec<Value>,
}

/// The description of an object.
pub fn describe(kind: &str, subject: &Subject, palette: Palette, now: Timestamp) -> String {
    let mut writer = Writer::new(palette);
    match kind {
        "Pod" => pod::describe(&mut writer, &subject.object),
        "Node" => node::describe(&mut writer, &subject.object, &subject.related, now),
        "Deployment" => workload::deployment(&mut writer, subject),
        "ReplicaSet" => workload::replica_set(&mut writer, subject),
        "Service" => service::describe(&mut writer, &subject.object, &subject.related),
        "Namespace" => namespace::describe(&mut writer, &subject.object),
        _ => generic::describe(&mut writer, &subject.object),
    }
    // Namespaces have no events of their own in kubectl's description.
    if kind != "Namespace" {
        events::describe(&mut writer, subject.events.as_deref(), now);
    }
    writer.finish()
}

/// A time as descriptions write it.
fn time(value: &Value, path: &str) -> String {
    match text(value, path).parse::<Timestamp>() {
        Ok(time) => time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        Err(_) => String::new(),
    }
}

/// `ReplicaSet/web-1` of the object's controller.
fn controller(object: &Value) -> String {
    items(object, "metadata.ownerReferences")
        .iter()
        .find(|owner| crate::value::flag(owner, "controller"))
        .map(|owner| format!("{}/{}", text(owner, "kind"), text(owner, "name")))
        .unwrap_or_default()
}

/// A scalar at a path as text, or the given default.
fn plain_or(value: &Value, path: &str, default: &str) -> String {
    at(value, path).map_or_else(|| default.to_owned(), crate::value::plain)
}
