//! What upstream's decoders say about text that they cannot read: JSON (`encoding/json`) and times (`time.Parse`).
//! Clients read these words, so they are the API's.

use crate::validation::quote;

/// A time with seconds.
pub const TIME: &str = "2006-01-02T15:04:05Z07:00";
/// A time with microseconds.
pub const MICRO_TIME: &str = "2006-01-02T15:04:05.000000Z07:00";

const END: &str = "unexpected end of JSON input";

/// What is wrong with text that should be one JSON value; nothing when it is one.
pub fn json_problem(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner { text, at: 0 };
    let result = scanner.value().and_then(|()| {
        scanner.blanks();
        match scanner.peek() {
            None => Ok(()),
            Some(_) => Err(scanner.found("after top-level value")),
        }
    });
    result.err()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The message about the byte at hand.
    fn found(&self, place: &str) -> String {
        match self.peek() {
            None => END.to_owned(),
            Some(byte) => format!("invalid character {} {place}", shown(byte)),
        }
    }

    fn expect(&mut self, fits: impl Fn(u8) -> bool, place: &str) -> Result<u8, String> {
        match self.peek().filter(|byte| fits(*byte)) {
            Some(byte) => {
                self.at += 1;
                Ok(byte)
            }
            None => Err(self.found(place)),
        }
    }

    /// Values are read by a loop, not by recursion: depth costs no stack.
    fn value(&mut self) -> Result<(), String> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    self.blanks();
                    if self.peek() != Some(b'}') {
                        self.name()?;
                        open.push(b'{');
                        continue;
                    }
                    self.at += 1;
                }
                Some(b'[') => {
                    self.at += 1;
                    self.blanks();
                    if self.peek() != Some(b']') {
                        open.push(b'[');
                        continue;
                    }
                    self.at += 1;
                }
                _ => self.scalar()?,
            }
            // After a value: close what ends here, or go on with the next one.
            loop {
                let Some(innermost) = open.last().copied() else { return Ok(()) };
                self.blanks();
                let is_object = innermost == b'{';
                let (end, place) =
                    if is_object { (b'}', "after object key:value pair") } else { (b']', "after array element") };
                let byte = self.expect(|byte| byte == b',' || byte == end, place)?;
                if byte == end {
                    open.pop();
                    continue;
                }
                if is_object {
                    self.name()?;
                }
                break;
            }
        }
    }

    fn name(&mut self) -> Result<(), String> {
        self.blanks();
        if self.peek() != Some(b'"') {
            return Err(self.found("looking for beginning of object key string"));
        }
        self.string()?;
        self.blanks();
        self.expect(|byte| byte == b':', "after object key").map(drop)
    }

    fn scalar(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.found("looking for beginning of value")),
        }
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.expect(|byte| byte >= b' ', "in string literal")? {
                b'"' => return Ok(()),
                b'\\' => {
                    let escape = self.expect(|byte| b"bfnrt\\/\"u".contains(&byte), "in string escape code")?;
                    if escape == b'u' {
                        for _ in 0..4 {
                            self.expect(|byte| byte.is_ascii_hexdigit(), "in \\u hexadecimal character escape")?;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for letter in word.bytes() {
            let place = format!("in literal {word} (expecting '{}')", char::from(letter));
            self.expect(|byte| byte == letter, &place)?;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let first = self.expect(|byte| byte.is_ascii_digit(), "in numeric literal")?;
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.expect(|byte| byte.is_ascii_digit(), "after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.expect(|byte| byte.is_ascii_digit(), "in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }
}

/// A byte in quotes.
fn shown(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        byte if (0x80..0xa0).contains(&byte) || byte == 0xad => format!("'\\u{byte:04x}'"),
        0xa0 => "'\\u00a0'".to_owned(),
        byte => {
            let quoted = quote(&char::from(byte).to_string());
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// What is wrong with bytes in base64 (`encoding/base64`); nothing when they are well-formed.
pub fn base64_problem(text: &[u8]) -> Option<String> {
    let corrupt = |at: usize| Some(format!("illegal base64 data at input byte {at}"));
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let skip = |mut at: usize| {
        while text.get(at).is_some_and(is_break) {
            at += 1;
        }
        at
    };
    let (mut at, mut filled) = (0, 0);
    loop {
        let Some(byte) = text.get(at) else { return if filled == 0 { None } else { corrupt(at - filled) } };
        at += 1;
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => filled = (filled + 1) % 4,
            b'\n' | b'\r' => {}
            b'=' if filled >= 2 => {
                if filled == 2 {
                    at = skip(at);
                    match text.get(at) {
                        None => return corrupt(text.len()),
                        Some(b'=') => at += 1,
                        Some(_) => return corrupt(at - 1),
                    }
                }
                at = skip(at);
                return if at < text.len() { corrupt(at) } else { None };
            }
            _ => return corrupt(at - 1),
        }
    }
}

/// What is wrong with a time of a layout, [`TIME`] or [`MICRO_TIME`]; nothing when it is one.
pub fn time_problem(text: &str, layout: &str) -> Option<String> {
    let cannot = |rest: &str, element: &str| {
        Some(format!(
            "parsing time {} as {}: cannot parse {} as {}",
            quote(text),
            quote(layout),
            quote(rest),
            quote(element)
        ))
    };
    let out_of_range = |what: &str| Some(format!("parsing time {}: {what} out of range", quote(text)));
    let mut rest = text;
    let mut numbers = [0_u32; 6];
    let elements: [(&str, &str, usize, &str, u32, u32); 6] = [
        ("", "2006", 4, "year", 0, 9999),
        ("-", "01", 2, "month", 1, 12),
        ("-", "02", 2, "day", 0, 99),
        ("T", "15", 2, "hour", 0, 23),
        (":", "04", 2, "minute", 0, 59),
        (":", "05", 2, "second", 0, 59),
    ];
    for (index, (before, element, length, name, low, high)) in elements.into_iter().enumerate() {
        let Some(after) = rest.strip_prefix(before) else { return cannot(rest, before) };
        let digits = after.bytes().take(length).take_while(u8::is_ascii_digit).count();
        // An hour may have one digit.
        if digits < length && !(element == "15" && digits == 1) {
            return cannot(after, element);
        }
        numbers[index] = after[..digits].parse().unwrap_or(u32::MAX);
        if !(low..=high).contains(&numbers[index]) {
            return out_of_range(name);
        }
        rest = &after[digits..];
    }
    let fraction = rest.strip_prefix(['.', ',']).map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    if layout == MICRO_TIME {
        if fraction < 6 || !rest.starts_with('.') {
            return cannot(rest, ".000000");
        }
        rest = &rest[7..];
    } else if fraction > 0 {
        rest = &rest[1 + fraction..];
    }
    match rest.strip_prefix('Z') {
        Some(after) => rest = after,
        None => {
            let bytes = rest.as_bytes();
            let digits = [1, 2, 4, 5].iter().all(|&index| bytes.get(index).is_some_and(u8::is_ascii_digit));
            if !matches!(bytes.first(), Some(b'+' | b'-')) || bytes.get(3) != Some(&b':') || !digits {
                return cannot(rest, "Z07:00");
            }
            rest = &rest[6..];
        }
    }
    if !rest.is_empty() {
        return Some(format!("parsing time {}: extra text: {}", quote(text), quote(rest)));
    }
    let [year, month, day, ..] = numbers;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if (1..=days).contains(&day) { None } else { out_of_range("day") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_refused_in_upstreams_words() {
        for (text, problem) in [
            ("", "unexpected end of JSON input"),
            ("{bad", "invalid character 'b' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("\u{9e}", "invalid character 'Â' looking for beginning of value"),
            ("'a'", "invalid character '\\'' looking for beginning of value"),
            ("{\"a\":", "unexpected end of JSON input"),
        ] {
            assert_eq!(json_problem(text.as_bytes()).as_deref(), Some(problem), "{text}");
        }
        for text in ["{}", " [1, {\"a\": [true, null]}, -0.5e+7, \"\\u00e9\"] ", "0"] {
            assert_eq!(json_problem(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn bytes_are_refused_where_upstream_stops() {
        for (text, at) in
            [("k", 0), ("abc", 0), ("abcde", 4), ("ab=c", 2), ("ab=", 3), ("!", 0), ("abc=x", 4), ("a===", 1)]
        {
            let problem = format!("illegal base64 data at input byte {at}");
            assert_eq!(base64_problem(text.as_bytes()), Some(problem), "{text}");
        }
        for text in ["", "YWJj", "YWI=", "YQ==", "YW\nJj"] {
            assert_eq!(base64_problem(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn times_are_refused_in_upstreams_words() {
        let shown = "2006-01-02T15:04:05Z07:00";
        for (text, problem) in [
            ("yesterday", format!("parsing time \"yesterday\" as \"{shown}\": cannot parse \"yesterday\" as \"2006\"")),
            ("2026", format!("parsing time \"2026\" as \"{shown}\": cannot parse \"\" as \"-\"")),
            ("2026-13-01T00:00:00Z", "parsing time \"2026-13-01T00:00:00Z\": month out of range".to_owned()),
            ("2026-02-30T00:00:00Z", "parsing time \"2026-02-30T00:00:00Z\": day out of range".to_owned()),
            (
                "2026-02-03T00:00:00",
                format!("parsing time \"2026-02-03T00:00:00\" as \"{shown}\": cannot parse \"\" as \"Z07:00\""),
            ),
            ("2026-02-03T00:00:00Zx", "parsing time \"2026-02-03T00:00:00Zx\": extra text: \"x\"".to_owned()),
        ] {
            assert_eq!(time_problem(text, TIME), Some(problem));
        }
        assert_eq!(time_problem("2026-02-28T23:59:59.5+02:00", TIME), None);
        assert_eq!(time_problem("2026-02-28T23:59:59.123456Z", MICRO_TIME), None);
        assert!(
            time_problem("2026-02-28T23:59:59Z", MICRO_TIME)
                .is_some_and(|text| text.ends_with("cannot parse \"Z\" as \".000000\""))
        );
    }
}
