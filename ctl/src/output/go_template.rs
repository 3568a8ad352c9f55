//! Go templates, as far as `-o go-template` needs them: <https://pkg.go.dev/text/template>.
//!
//! [`parse`] turns the text into a tree, [`run`] walks it over an object. Templates of templates (`define`, `block`)
//! are left out, as are methods, which JSON does not have.

mod functions;
mod parse;
mod run;

use serde_json::Value;

/// What went wrong, in the words of Go where it has them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

impl TemplateError {
    fn new(text: impl Into<String>) -> TemplateError {
        TemplateError(text.into())
    }
}

/// A template that can be rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct GoTemplate(Vec<Node>);

impl GoTemplate {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<GoTemplate, TemplateError> {
        parse::parse(text).map(GoTemplate)
    }

    /// The text that it makes of an object.
    pub fn render(&self, object: &Value) -> Result<String, TemplateError> {
        run::run(&self.0, object)
    }
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    /// A pipeline that is printed, unless it sets variables.
    Print(Pipeline),
    If {
        /// The conditions, in order, each with what it leads to.
        branches: Vec<(Pipeline, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
    With {
        value: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Break,
    Continue,
}

/// `$a, $b := first | second`.
#[derive(Clone, Debug, PartialEq)]
struct Pipeline {
    variables: Vec<String>,
    /// The variables exist already (`=` rather than `:=`).
    assigns: bool,
    commands: Vec<Vec<Operand>>,
}

/// A word of a command, with the fields after it.
#[derive(Clone, Debug, PartialEq)]
struct Operand {
    start: Start,
    fields: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Start {
    /// `.`
    Dot,
    /// `$name`; the empty name is the whole object.
    Variable(String),
    Function(String),
    Literal(Value),
    Pipeline(Box<Pipeline>),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> String {
        let object = json!({
            "kind": "List", "n": 3, "f": 1.5, "yes": true, "none": null,
            "metadata": {"name": "web", "labels": {"b": "2", "a": "1"}},
            "items": [{"name": "x", "ready": true}, {"name": "y", "ready": false}],
            "data": {"key": "aGVsbG8="},
        });
        match GoTemplate::parse(template).and_then(|template| template.render(&object)) {
            Ok(text) => text,
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn values_are_printed_as_go_does() {
        assert_eq!(render("{{.metadata.name}} {{.n}} {{.f}} {{.yes}}"), "web 3 1.5 true");
        assert_eq!(render("{{.metadata.labels}} {{.absent}} {{.none}}"), "map[a:1 b:2] <no value> <no value>");
        assert_eq!(render("{{$.kind}}{{/* nothing */}} {{ \"q\" }} {{`r`}} {{'a'}}"), "List q r 97");
        assert_eq!(render("a  {{- \" b \" -}}  c"), "a b c");
    }

    #[test]
    fn lists_and_maps_are_walked() {
        assert_eq!(render("{{range .items}}{{.name}};{{end}}"), "x;y;");
        assert_eq!(render("{{range $i, $e := .items}}{{$i}}={{$e.name}} {{end}}"), "0=x 1=y ");
        assert_eq!(render("{{range $k, $v := .metadata.labels}}{{$k}}{{$v}}{{end}}"), "a1b2");
        assert_eq!(render("{{range .absent}}x{{else}}none{{end}}"), "none");
        assert_eq!(render("{{range .items}}{{if not .ready}}{{continue}}{{end}}{{.name}}{{end}}"), "x");
        assert_eq!(render("{{range .items}}{{.name}}{{break}}{{end}}"), "x");
    }

    #[test]
    fn conditions_and_functions() {
        assert_eq!(render("{{if eq .kind \"List\" \"Pod\"}}a{{else}}b{{end}}"), "a");
        assert_eq!(render("{{if .absent}}a{{else if gt .n 2}}b{{else}}c{{end}}"), "b");
        assert_eq!(render("{{with .metadata}}{{.name}}{{$.kind}}{{end}}"), "webList");
        assert_eq!(render("{{$x := len .items}}{{$x}}{{$x = 5}}{{$x}}"), "25");
        assert_eq!(render("{{(index .items 1).name}} {{index .metadata.labels \"a\"}}"), "y 1");
        assert_eq!(render("{{.metadata.name | printf \"%-5s|%05d|%q|%v\" \"a\" 7 \"b\"}}"), "a    |00007|\"b\"|web");
        assert_eq!(render("{{.data.key | base64decode}}{{println 1 2}}"), "hello1 2\n");
        assert_eq!(render("{{and .yes .kind}} {{or .absent \"x\"}} {{exists . \"metadata\" \"name\"}}"), "List x true");
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(render("{{.a"), "error: unclosed action");
        assert_eq!(render("{{nope 1}}"), "error: function \"nope\" not defined");
        assert_eq!(render("{{if .a}}x"), "error: unexpected EOF");
        assert_eq!(render("{{end}}"), "error: unexpected {{end}}");
        assert!(render("{{.kind.name}}").starts_with("error: can't evaluate field name"));
        assert!(render("{{index .items 9}}").starts_with("error: error calling index: index out of range"));
        assert!(render("{{$x}}").starts_with("error: undefined variable"));
    }
}
