//! The values of `-o`.

use serde_json::Value;

use super::go_template::GoTemplate;
use super::jsonpath::Template;
use super::table::Table;
use super::yaml::{json, yaml};
use crate::errors::{Failure, Outcome, fail};

/// How objects are printed.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// A table, or the verb's own message.
    Default,
    /// A table with all columns.
    Wide,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
    /// `pod/web`.
    Name,
    /// A JSONPath template.
    JsonPath(Template),
    /// A JSONPath template; what it finds as a JSON list.
    JsonPathAsJson(Template),
    /// A Go template.
    GoTemplate(GoTemplate),
    /// Columns with a path each.
    CustomColumns(Vec<(String, Template)>),
}

const KNOWN: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,\
                     template,templatefile,wide,yaml";

impl Format {
    /// Reads the value of `-o`; empty for the default.
    pub fn parse(text: &str) -> Outcome<Format> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let template = |value: &str| {
            // Without braces the whole value is one path, as kubectl has it.
            let parsed = if value.contains('{') { Template::parse(value) } else { Template::parse_relaxed(value) };
            parsed.map_err(|error| Failure::Message(error.to_string()))
        };
        match (name, value) {
            ("", None) => Ok(Format::Default),
            ("wide", None) => Ok(Format::Wide),
            ("yaml", None) => Ok(Format::Yaml),
            ("json", None) => Ok(Format::Json),
            ("name", None) => Ok(Format::Name),
            ("jsonpath", Some(value)) if !value.is_empty() => Ok(Format::JsonPath(template(value)?)),
            ("jsonpath-as-json", Some(value)) if !value.is_empty() => Ok(Format::JsonPathAsJson(template(value)?)),
            ("jsonpath-as-json", _) => fail("template format specified but no template given"),
            ("jsonpath-file", Some(path)) if !path.is_empty() => {
                Ok(Format::JsonPath(template(file("template", path)?.trim_end_matches('\n'))?))
            }
            ("jsonpath-file", _) => fail("template format specified but no template given"),
            ("jsonpath", _) => fail("template format specified but no template given"),
            ("custom-columns", Some(value)) if !value.is_empty() => columns(value),
            ("custom-columns-file", Some(path)) if !path.is_empty() => columns_file(&file("custom columns", path)?),
            ("custom-columns" | "custom-columns-file", _) => {
                fail("custom-columns format specified but no custom columns given")
            }
            ("go-template" | "template", Some(value)) if !value.is_empty() => go_template(value),
            ("go-template-file" | "templatefile", Some(path)) if !path.is_empty() => {
                go_template(&file("template", path)?)
            }
            ("go-template" | "template" | "go-template-file" | "templatefile", _) => {
                fail("template format specified but no template given")
            }
            _ => fail(format!(
                "unable to match a printer suitable for the output format {text:?}, allowed formats are: {KNOWN}"
            )),
        }
    }

    /// Reads `-o` and `--template`, which completes it.
    pub fn with_template(output: &str, template: &str) -> Outcome<Format> {
        match (output, template) {
            (output, "") => Format::parse(output),
            ("", template) => Format::parse(&format!("go-template={template}")),
            (output, template) if !output.contains('=') => match Format::parse(output) {
                // What needs no template takes none.
                Ok(format) => Ok(format),
                Err(_) => Format::parse(&format!("{output}={template}")),
            },
            (output, _) => Format::parse(output),
        }
    }

    /// Whether whole objects are printed, rather than tables or messages.
    pub fn is_table(&self) -> bool {
        matches!(self, Format::Default | Format::Wide)
    }

    /// The text of one object; `name` is its `kind/name`. Tables are made elsewhere.
    pub fn render(&self, object: &Value, name: &str) -> Outcome<String> {
        Ok(match self {
            Format::Yaml => yaml(object)?,
            Format::Json => json(object)?,
            Format::Name | Format::Default | Format::Wide => format!("{name}\n"),
            Format::JsonPath(template) => template.render(object),
            Format::JsonPathAsJson(template) => {
                json(&Value::Array(template.find(object).into_iter().cloned().collect()))?
            }
            Format::GoTemplate(template) => template
                .render(object)
                .map_err(|error| Failure::Message(format!("error executing template: {error}")))?,
            Format::CustomColumns(columns) => {
                custom_columns(columns, std::slice::from_ref(object)).render(true, super::colour::Palette::PLAIN)
            }
        })
    }
}

fn go_template(text: &str) -> Outcome<Format> {
    match GoTemplate::parse(text) {
        Ok(template) => Ok(Format::GoTemplate(template)),
        Err(error) => fail(format!("error parsing template {text}, {error}")),
    }
}

fn file(what: &str, path: &str) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|error| Failure::Message(format!("error reading {what} {path}, {error}")))
}

/// A line of headers and a line of paths, with spaces between them.
fn columns_file(text: &str) -> Outcome<Format> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (Some(headers), Some(paths)) = (lines.next(), lines.next()) else {
        return fail("custom columns file must hold a line of headers and a line of field specs");
    };
    let (headers, paths): (Vec<&str>, Vec<&str>) =
        (headers.split_whitespace().collect(), paths.split_whitespace().collect());
    if headers.len() != paths.len() {
        return fail(format!(
            "number of headers ({}) and field specifications ({}) don't match",
            headers.len(),
            paths.len()
        ));
    }
    let columns: Vec<String> = headers.iter().zip(paths).map(|(header, path)| format!("{header}:{path}")).collect();
    columns_of(columns.iter().map(String::as_str))
}

fn columns(text: &str) -> Outcome<Format> {
    columns_of(text.split(','))
}

fn columns_of<'a>(columns: impl Iterator<Item = &'a str>) -> Outcome<Format> {
    let columns = columns
        .map(|column| {
            let Some((header, path)) = column.split_once(':') else {
                return fail(format!("unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>"));
            };
            let template = Template::parse_relaxed(path).map_err(|error| Failure::Message(error.to_string()))?;
            Ok((header.to_owned(), template))
        })
        .collect::<Outcome<Vec<_>>>()?;
    Ok(Format::CustomColumns(columns))
}

/// The table of `-o custom-columns`.
pub fn custom_columns(columns: &[(String, Template)], objects: &[Value]) -> Table {
    let mut table = Table::new(columns.iter().map(|(header, _)| header.clone()));
    table.rows = objects
        .iter()
        .map(|object| {
            columns
                .iter()
                .map(|(_, template)| {
                    let texts: Vec<String> = template.find(object).into_iter().map(crate::value::plain).collect();
                    if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
                })
                .collect()
        })
        .collect();
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_are_read() {
        assert_eq!(Format::parse("").expect("fine"), Format::Default);
        assert_eq!(Format::parse("wide").expect("fine"), Format::Wide);
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"image": "x"}, {"image": "y"}]}});
        let jsonpath = Format::parse("jsonpath={.metadata.name}").expect("fine");
        assert_eq!(jsonpath.render(&pod, "pod/a").expect("prints"), "a");
        let columns =
            Format::parse("custom-columns=NAME:.metadata.name,IMAGES:.spec.containers[*].image,X:.x").expect("fine");
        assert_eq!(columns.render(&pod, "pod/a").expect("prints"), "NAME   IMAGES   X\na      x,y      <none>\n");
        assert_eq!(Format::Name.render(&pod, "pod/a").expect("prints"), "pod/a\n");
    }

    #[test]
    fn unknown_formats_are_refused() {
        let error = Format::parse("foo").expect_err("unknown");
        assert_eq!(
            error.text(),
            "error: unable to match a printer suitable for the output format \"foo\", allowed formats are: \
             custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,\
             name,template,templatefile,wide,yaml"
        );
        assert!(Format::parse("jsonpath").is_err());
        assert!(Format::parse("custom-columns=NAME").is_err());
    }
}
