//! Durations as Go programs take them: `1h30m`, `500ms`, `10`.

use std::time::Duration;

/// Reads a duration; a bare number is seconds. The sign is told apart, since `wait` gives it a meaning.
pub fn parse(text: &str) -> Result<(bool, Duration), String> {
    let invalid = || format!("invalid duration {text:?}: write it like 30s, 5m, 1h30m");
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if let Ok(seconds) = rest.parse::<u64>() {
        return Ok((negative, Duration::from_secs(seconds)));
    }
    let mut total = 0.0;
    let mut rest = rest;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(invalid()),
        };
        total += number * seconds;
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(total).map(|duration| (negative, duration)).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_durations_are_read() {
        let seconds = |text| parse(text).map(|(_, duration)| duration.as_secs_f64());
        assert_eq!(seconds("30s"), Ok(30.0));
        assert_eq!(seconds("1h30m"), Ok(5400.0));
        assert_eq!(seconds("500ms"), Ok(0.5));
        assert_eq!(seconds("0"), Ok(0.0));
        assert_eq!(seconds("10"), Ok(10.0));
        assert_eq!(parse("-1s").map(|(negative, _)| negative), Ok(true));
        for text in ["", "x", "5 m", "1y", "-"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
