//! Which parts of the documents are true here: paths of resources that are served, and the schemas that they need.

use std::collections::BTreeSet;

use memchr::memmem;
use reeve_api::StatusError;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::path::{Route, route};
use super::source::{Source, Texts};
use crate::registry::Registry;

const REFERENCE: &[u8] = b"\"#/components/schemas/";

/// Whether what a path of a document names is served.
pub fn is_served(registry: &Registry, path: &str) -> bool {
    match route(path) {
        Route::Resource { target, .. } => registry.get(&target.resource).is_some_and(|row| {
            let subresource = target.subresource.split('/').next().unwrap_or_default();
            subresource.is_empty() || row.subresource(subresource).is_some()
        }),
        _ => true,
    }
}

/// The document's paths that are served.
pub fn paths<'a>(registry: &Registry, source: &Source<'a>) -> Texts<'a> {
    source.paths.iter().filter(|(path, _)| is_served(registry, path)).map(|(path, text)| (*path, *text)).collect()
}

/// The schemas that texts refer to, and those that these refer to.
pub struct Schemas<'a> {
    all: &'a Texts<'a>,
    own: &'a Texts<'a>,
    chosen: BTreeSet<&'a str>,
}

impl<'a> Schemas<'a> {
    /// A choice of `all`, of which `own` has some in another form.
    pub fn new(all: &'a Texts<'a>, own: &'a Texts<'a>) -> Self {
        Self { all, own, chosen: BTreeSet::new() }
    }

    fn text(&self, name: &str) -> Option<(&'a str, &'a RawValue)> {
        let (name, text) = self.own.get_key_value(name).or_else(|| self.all.get_key_value(name))?;
        Some((name, text))
    }

    /// Adds what a text refers to.
    pub fn need(&mut self, text: &str) {
        let mut waiting: Vec<&'a RawValue> = Vec::new();
        self.references(text, &mut waiting);
        while let Some(text) = waiting.pop() {
            self.references(text.get(), &mut waiting);
        }
    }

    /// Adds a schema by name.
    pub fn need_schema(&mut self, name: &str) {
        if let Some((name, text)) = self.text(name)
            && self.chosen.insert(name)
        {
            self.need(text.get());
        }
    }

    fn references(&mut self, text: &str, waiting: &mut Vec<&'a RawValue>) {
        for at in memmem::find_iter(text.as_bytes(), REFERENCE) {
            let name = &text[at + REFERENCE.len()..];
            let name = name.split('"').next().unwrap_or_default();
            if let Some((name, text)) = self.text(name)
                && self.chosen.insert(name)
            {
                waiting.push(text);
            }
        }
    }

    /// What was chosen.
    pub fn chosen(&self) -> impl Iterator<Item = (&'a str, &'a RawValue)> {
        self.chosen.iter().filter_map(|name| self.text(name))
    }
}

/// Parses texts of the documents.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, StatusError> {
    serde_json::from_str(text).map_err(StatusError::internal)
}
