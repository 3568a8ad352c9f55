//! Layout that go-yaml takes and YAML 1.2 does not, laid out anew for a parser of YAML 1.2.
//!
//! Inside quotes and brackets go-yaml does not look at indentation: a list in brackets may end below the key that it
//! belongs to, a quoted text may go on at the margin. It takes a comment that follows a quote or bracket at once, and
//! tabs between a key and its value. What is mended here are blanks that mean nothing, so no value changes; lines stay
//! where they are, columns of lines that had to move do not.

/// The same text in YAML 1.2's layout; `None` for text in which nothing is to be mended.
pub fn mend(text: &str) -> Option<String> {
    let mut mender = Mender { text: text.as_bytes(), at: 0, line: 0, parent: None, mended: Vec::new(), copied: 0 };
    mender.document();
    if mender.copied == 0 {
        return None;
    }
    mender.copy();
    // Only ASCII was put in, at places where characters begin.
    String::from_utf8(mender.mended).ok()
}

/// What a line of a block ends in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// A plain text, which deeper lines go on with.
    Plain,
    /// Anything else.
    Other,
}

struct Mender<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the line begins.
    line: usize,
    /// The column of the innermost key or list entry.
    parent: Option<usize>,
    mended: Vec<u8>,
    /// How much of the text is in `mended`, which begins with the first change.
    copied: usize,
}

impl Mender<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn column(&self) -> usize {
        self.at - self.line
    }

    /// Whether a blank or the line's end is there.
    fn is_gap(&self, ahead: usize) -> bool {
        self.peek(ahead).is_none_or(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
    }

    fn is_line_end(&self) -> bool {
        self.peek(0).is_none_or(|byte| matches!(byte, b'\n' | b'\r'))
    }

    fn follows_gap(&self) -> bool {
        self.at == self.line || matches!(self.text[self.at - 1], b' ' | b'\t')
    }

    fn copy(&mut self) {
        self.mended.extend_from_slice(&self.text[self.copied..self.at]);
        self.copied = self.at;
    }

    fn insert_blanks(&mut self, count: usize) {
        if count > 0 {
            self.copy();
            self.mended.resize(self.mended.len() + count, b' ');
        }
    }

    fn skip_gaps(&mut self) {
        while matches!(self.peek(0), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn skip_word(&mut self) {
        while !self.is_gap(0) {
            self.at += 1;
        }
    }

    /// To the beginning of the next line.
    fn skip_line(&mut self) {
        while self.peek(0).is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
        self.next_line();
    }

    fn next_line(&mut self) {
        if self.peek(0).is_some() {
            self.at += 1;
        }
        self.line = self.at;
    }

    /// Whether `---` or `...` stands at the margin.
    fn is_marker(&self) -> bool {
        let rest = &self.text[self.at..];
        self.at == self.line && (rest.starts_with(b"---") || rest.starts_with(b"...")) && self.is_gap(3)
    }

    /// All lines.
    fn document(&mut self) {
        let mut end = End::Other;
        while self.at < self.text.len() {
            if self.is_marker() {
                self.parent = None;
                self.at += 3;
                self.skip_gaps();
                end = self.content();
                continue;
            }
            self.skip_gaps();
            let goes_on = end == End::Plain && self.parent.is_none_or(|parent| self.column() > parent);
            if self.is_line_end() {
                // A plain text may go on after it.
                self.skip_line();
            } else if self.peek(0) == Some(b'#') || (self.column() == 0 && self.peek(0) == Some(b'%')) {
                self.skip_line();
                end = End::Other;
            } else if goes_on {
                end = self.plain_line();
            } else {
                end = self.content();
            }
        }
    }

    /// The rest of a line that goes on with a plain text.
    fn plain_line(&mut self) -> End {
        while !self.is_line_end() {
            if self.peek(0) == Some(b'#') && self.follows_gap() {
                self.skip_line();
                return End::Other;
            }
            self.at += 1;
        }
        self.skip_line();
        End::Plain
    }

    /// The keys and values of a line of a block, and of the lines that they go on to.
    fn content(&mut self) -> End {
        // Where the present value, which may turn out to be a key, begins.
        let mut start = None;
        loop {
            let column = self.column();
            let Some(first) = self.peek(0).filter(|_| !self.is_line_end()) else {
                self.skip_line();
                return End::Other;
            };
            match first {
                b'-' | b'?' if self.is_gap(1) => {
                    self.parent = Some(column);
                    start = None;
                    self.at += 1;
                }
                b':' if self.is_gap(1) => {
                    self.parent = Some(start.take().unwrap_or(column));
                    self.at += 1;
                    self.blanks_for_tabs();
                }
                b'#' => {
                    if !self.follows_gap() {
                        self.insert_blanks(1);
                    }
                    self.skip_line();
                    return End::Other;
                }
                b'&' | b'!' | b'*' => {
                    start.get_or_insert(column);
                    self.skip_word();
                }
                b'"' | b'\'' => {
                    start.get_or_insert(column);
                    self.quoted(first);
                }
                b'[' | b'{' => {
                    start.get_or_insert(column);
                    self.flow();
                }
                b'|' | b'>' => return self.block_text(),
                _ => {
                    start.get_or_insert(column);
                    if let Some(end) = self.plain() {
                        return end;
                    }
                }
            }
            self.skip_gaps();
        }
    }

    /// Tabs after a key.
    fn blanks_for_tabs(&mut self) {
        let begin = self.at;
        self.skip_gaps();
        if self.text[begin..self.at].contains(&b'\t') && !self.is_line_end() {
            let end = std::mem::replace(&mut self.at, begin);
            self.insert_blanks(end - begin);
            (self.at, self.copied) = (end, end);
        }
    }

    /// A plain text of a block; `None` if it is a key.
    fn plain(&mut self) -> Option<End> {
        while !self.is_line_end() {
            match self.peek(0) {
                Some(b':') if self.is_gap(1) => return None,
                Some(b'#') if self.follows_gap() => {
                    self.skip_line();
                    return Some(End::Other);
                }
                _ => self.at += 1,
            }
        }
        self.skip_line();
        Some(End::Plain)
    }

    /// A literal or folded text: all lines that are deeper than what has it.
    fn block_text(&mut self) -> End {
        self.skip_line();
        while self.at < self.text.len() && !self.is_marker() {
            while self.peek(0) == Some(b' ') {
                self.at += 1;
            }
            let is_deeper = self.parent.is_none_or(|parent| self.column() > parent);
            if !is_deeper && !self.is_line_end() {
                self.at = self.line;
                break;
            }
            self.skip_line();
        }
        End::Other
    }

    /// Begins the next line of what is in quotes or brackets, deeper than what has it.
    fn go_on(&mut self) {
        self.next_line();
        let Some(parent) = self.parent.filter(|_| !self.is_marker()) else { return };
        let begin = self.at;
        while self.peek(0) == Some(b' ') {
            self.at += 1;
        }
        let column = self.column();
        if column <= parent && !self.is_line_end() {
            self.at = begin;
            self.insert_blanks(parent + 1 - column);
        }
    }

    /// A text in quotes.
    fn quoted(&mut self, quote: u8) {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\n' => self.go_on(),
                b'\\' if quote == b'"' && self.peek(1) != Some(b'\n') => self.at += 2,
                b'\'' if quote == b'\'' && self.peek(1) == Some(b'\'') => self.at += 2,
                _ => {
                    self.at += 1;
                    if byte == quote {
                        break;
                    }
                }
            }
        }
        self.at = self.at.min(self.text.len());
    }

    /// A list or mapping in brackets.
    fn flow(&mut self) {
        let mut depth = 0_usize;
        // Whether a value may begin here.
        let mut is_fresh = true;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\n' => self.go_on(),
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'[' | b'{' => {
                    depth += 1;
                    is_fresh = true;
                    self.at += 1;
                }
                b']' | b'}' => {
                    depth -= 1;
                    is_fresh = false;
                    self.at += 1;
                    if depth == 0 {
                        return;
                    }
                }
                b',' => {
                    is_fresh = true;
                    self.at += 1;
                }
                b'"' | b'\'' if is_fresh => {
                    self.quoted(byte);
                    is_fresh = false;
                }
                b':' if !is_fresh && (self.is_gap(1) || matches!(self.text[self.at - 1], b'"' | b'\'')) => {
                    is_fresh = true;
                    self.at += 1;
                }
                b'#' if self.follows_gap()
                    || matches!(self.text[self.at - 1], b',' | b'[' | b'{' | b'"' | b'\'' | b']' | b'}') =>
                {
                    if !self.follows_gap() {
                        self.insert_blanks(1);
                    }
                    while self.peek(0).is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                }
                b'&' | b'!' if is_fresh => self.skip_property(),
                _ => {
                    is_fresh = false;
                    self.at += 1;
                }
            }
        }
    }

    /// An anchor or tag in brackets, after which a value is still to come.
    fn skip_property(&mut self) {
        while !self.is_gap(0) && !matches!(self.peek(0), Some(b',' | b'[' | b']' | b'{' | b'}')) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::from_str;
    use super::*;

    #[test]
    fn brackets_and_quotes_may_go_on_anywhere() {
        let list = json!({"spec": {"args": ["a", "b c"], "next": 1}});
        for text in [
            "spec:\n  args: [\n    a, b c\n  ]\n  next: 1\n",
            "spec:\n  args: [\n  a,\n  b c\n  ]\n  next: 1\n",
            "spec:\n  args: [\n\"a\",\n'b\nc'\n]\n  next: 1\n",
            "spec:\n  args:\n    [a,\n  # why\nb\n c\n  ]\n  next: 1\n",
            "spec:\r\n  args: [\r\na, b c\r\n]\r\n  next: 1\r\n",
            "spec:\n  args: [\n\ta,\n\tb c\n\t]\n  next: 1\n",
        ] {
            assert_eq!(from_str(text), Ok(list.clone()), "{text}");
        }
        for (text, expected) in [
            (
                "a:\n  b: \"one\ntwo\n\n  three\\\n   four\"\n  c: 1\n",
                json!({"a": {"b": "one two\nthreefour", "c": 1}}),
            ),
            ("- 'it''s\nso'\n- {a: b,\nc: d}\n", json!(["it's so", {"a": "b", "c": "d"}])),
            ("- - [\n1\n  ]\n- x: {\n}\n", json!([[[1]], {"x": {}}])),
            ("a: &x [\n1\n]\nb: *x\n", json!({"a": [1], "b": [1]})),
            ("\"a\": [\n]\n[b]: 1\n", json!(null)),
            ("a: {\"b\":[\n1],\n'c':2}\n", json!({"a": {"b": [1], "c": 2}})),
            ("a: {b: it's, c: [\nd 'e]}\n", json!({"a": {"b": "it's", "c": ["d 'e"]}})),
        ] {
            match expected {
                Value::Null => assert!(from_str(text).is_err(), "{text}"),
                expected => assert_eq!(from_str(text), Ok(expected), "{text}"),
            }
        }
    }

    #[test]
    fn comments_and_tabs_may_stand_close() {
        for (text, expected) in [
            ("a: \"x\"# why\nb: 'y'#\n", json!({"a": "x", "b": "y"})),
            ("a: [1]# why\nb: {c: [2,# two\n3]}#\n", json!({"a": [1], "b": {"c": [2, 3]}})),
            ("a:\tb\nc: \td\ne:\t\n  f: 1\n", json!({"a": "b", "c": "d", "e": {"f": 1}})),
            ("- a:\t|\n\ttab\n", json!(null)),
            ("a:\tb# no comment\n", json!({"a": "b# no comment"})),
        ] {
            match expected {
                Value::Null => assert!(from_str(text).is_err(), "{text}"),
                expected => assert_eq!(from_str(text), Ok(expected), "{text}"),
            }
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for text in [
            "a: |\n  [x\n  \"y\n y# z\nb: >-\n\n  {\n",
            "a: |\n  x:\ty\n  \"q\"# z\n",
            "a: >-\n  x [\n\n  y ]\n",
            "a: one\n  \"two\" [\n  three\n",
            "a: x [y\n# end\n",
            "a: it's [\n",
            "a: b:\"# c\n",
            "\"a: [\": |\n  [\n",
            "? a\n: |\n [\n",
        ] {
            assert_eq!(mend(text), None, "{text}");
            assert_eq!(mend(&format!("{text}z: [\n]\n")), Some(format!("{text}z: [\n ]\n")), "{text}");
        }
        let list = "- |\n [\n- - |+\n   {\n\n- b: |\n   c:\td\n--- |\n[\n{\n---\n";
        assert_eq!(mend(&format!("{list}- {{\n}}\n")), Some(format!("{list}- {{\n }}\n")));
        for text in ["", "a: 1\n", "a: [1,\n  2]\n"] {
            assert_eq!(mend(text), None, "{text}");
        }
    }

    #[test]
    fn mistakes_stay_mistakes() {
        for text in [
            "a: [\n1\nb: 2\n",
            "a: \"x\n--- y\"\n",
            "a: [\n---\n]\n",
            "a: \"x\" y\n",
            "a: ]\n",
            "a:\n\tb: 1\n",
            "- a\nb\n",
        ] {
            assert!(from_str(text).is_err(), "{text:?} was read as {:?}", from_str(text));
        }
        let error = from_str("a: [\n]\nb: c: d\n").unwrap_err();
        assert_eq!((error.line, error.column), (3, 5), "the mistake is not the layout");
    }

    fn flow_text(value: &Value, breaks: &mut impl Iterator<Item = usize>, out: &mut String) {
        let gap = |out: &mut String, breaks: &mut dyn Iterator<Item = usize>| {
            if let Some(indent @ 1..) = breaks.next() {
                out.push('\n');
                out.push_str(&" ".repeat(indent - 1));
            }
        };
        match value {
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    gap(out, breaks);
                    flow_text(item, breaks, out);
                }
                gap(out, breaks);
                out.push(']');
            }
            Value::Object(entries) => {
                out.push('{');
                for (index, (name, item)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    gap(out, breaks);
                    out.push_str(&format!("{}: ", Value::from(name.as_str())));
                    flow_text(item, breaks, out);
                }
                gap(out, breaks);
                out.push('}');
            }
            other => out.push_str(&other.to_string()),
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof!["[a-z#:'\\[{ ]{0,6}".prop_map(Value::from), any::<u16>().prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-z# ]{1,4}", inner), 0..3)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn any_layout_in_brackets_means_the_same(
            value in values(),
            breaks in prop::collection::vec(0_usize..6, 0..40),
            deep in any::<bool>(),
        ) {
            let mut flow = String::new();
            flow_text(&json!([value]), &mut breaks.into_iter(), &mut flow);
            let text = if deep { format!("- x:\n    a: {flow}\n    b: |\n      [\n") } else { format!("a: {flow}\n") };
            let read = from_str(&text);
            prop_assert!(read.is_ok(), "{:?}\n{}", read, text);
            let read = read.unwrap();
            let read = if deep { &read[0]["x"]["a"][0] } else { &read["a"][0] };
            prop_assert_eq!(read, &value, "{}", text);
        }

        #[test]
        fn nothing_panics_and_only_blanks_change(text in "[-a: #\n\t'\"|>&*!?,\\[\\]{}\\\\é]{0,40}") {
            if let Some(mended) = mend(&text) {
                prop_assert_eq!(mended.matches('\n').count(), text.matches('\n').count());
                let tight = |text: &str| text.replace([' ', '\t'], "");
                prop_assert_eq!(tight(&mended), tight(&text));
            }
        }
    }
}
