//! Colours on terminals: the state of a thing first, headers and kinds quietly.

use clap::ValueEnum;

use crate::io::Io;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Also into pipes and files.
    Always,
    /// Never.
    Never,
}

/// What a text says about a thing's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// On its way, or worth a look.
    Busy,
    /// Broken.
    Bad,
    /// Finished or of no interest.
    Quiet,
    /// A heading.
    Heading,
}

/// Paints or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    on: bool,
}

impl Palette {
    /// No colours.
    pub const PLAIN: Palette = Palette { on: false };
    /// Colours.
    pub const COLOURED: Palette = Palette { on: true };

    /// What the user, the terminal and `NO_COLOR` (<https://no-color.org>) ask for.
    pub fn choose(choice: ColorChoice, io: &Io) -> Palette {
        let on = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                io.out_is_terminal && io.variable("NO_COLOR").is_none() && io.variable("TERM") != Some("dumb")
            }
        };
        Palette { on }
    }

    /// Whether it paints.
    pub fn is_on(self) -> bool {
        self.on
    }

    /// The text, painted.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.on || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Busy => "33",
            Tone::Bad => "31",
            Tone::Quiet => "2",
            Tone::Heading => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// What a table's cell says about state, by the name of its column.
pub fn tone_of(column: &str, cell: &str) -> Option<Tone> {
    match column {
        "STATUS" | "REASON" | "PHASE" => tone_of_state(cell),
        "READY" => {
            let (ready, wanted) = cell.split_once('/')?;
            match (ready.parse::<u64>().ok()?, wanted.parse::<u64>().ok()?) {
                (ready, wanted) if ready == wanted => Some(Tone::Good),
                (0, _) => Some(Tone::Bad),
                _ => Some(Tone::Busy),
            }
        }
        "RESTARTS" => match cell.split(' ').next()?.parse::<u64>().ok()? {
            0 => None,
            1..=4 => Some(Tone::Busy),
            _ => Some(Tone::Bad),
        },
        "TYPE" if cell == "Warning" => Some(Tone::Bad),
        _ => (cell == "<none>" || cell == "<unknown>" || cell == "<pending>").then_some(Tone::Quiet),
    }
}

/// What a word for a state means.
pub fn tone_of_state(state: &str) -> Option<Tone> {
    const GOOD: [&str; 8] = ["Running", "Ready", "Active", "Bound", "Available", "Complete", "True", "Healthy"];
    const QUIET: [&str; 2] = ["Completed", "Succeeded"];
    const BUSY: [&str; 9] = [
        "Pending",
        "ContainerCreating",
        "PodInitializing",
        "Terminating",
        "Released",
        "Unknown",
        "SchedulingGated",
        "NotReady,SchedulingDisabled",
        "Ready,SchedulingDisabled",
    ];
    if state.is_empty() || state == "<none>" {
        return None;
    }
    if GOOD.contains(&state) {
        Some(Tone::Good)
    } else if QUIET.contains(&state) {
        Some(Tone::Quiet)
    } else if BUSY.contains(&state) || state.starts_with("Init:") && !state.contains("Err") && !state.contains("Back") {
        Some(Tone::Busy)
    } else if ["Err", "BackOff", "Failed", "NotReady", "OOM", "Evicted", "Lost", "Invalid", "Unhealthy", "Killing"]
        .iter()
        .any(|bad| state.contains(bad))
    {
        Some(Tone::Bad)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_tones() {
        assert_eq!(tone_of("STATUS", "Running"), Some(Tone::Good));
        assert_eq!(tone_of("STATUS", "CrashLoopBackOff"), Some(Tone::Bad));
        assert_eq!(tone_of("STATUS", "Init:0/2"), Some(Tone::Busy));
        assert_eq!(tone_of("STATUS", "Init:CrashLoopBackOff"), Some(Tone::Bad));
        assert_eq!(tone_of("READY", "1/3"), Some(Tone::Busy));
        assert_eq!(tone_of("READY", "3/3"), Some(Tone::Good));
        assert_eq!(tone_of("RESTARTS", "7 (3m ago)"), Some(Tone::Bad));
        assert_eq!(tone_of("NAME", "web"), None);
    }

    #[test]
    fn nothing_is_painted_when_off() {
        assert_eq!(Palette::PLAIN.paint(Tone::Good, "x"), "x");
        assert_eq!(Palette::COLOURED.paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
