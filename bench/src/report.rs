//! The table.

use std::fmt::Write as _;

/// What a row came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The figure, and what limits it.
    Measured {
        /// With its unit.
        figure: String,
        /// From the profile or the numbers beside it.
        limits: String,
    },
    /// Why there is none.
    NotMeasured(String),
}

impl Outcome {
    /// A figure.
    pub fn measured(figure: impl Into<String>, limits: impl Into<String>) -> Self {
        Self::Measured { figure: figure.into(), limits: limits.into() }
    }
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Names the row for `--filter`.
    pub name: &'static str,
    /// What is done.
    pub work: &'static str,
    /// What the design asks for.
    pub target: &'static str,
    /// What came out.
    pub outcome: Outcome,
}

/// On what, when and how it was measured.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// Processor, cores, memory, kernel.
    pub machine: String,
    /// Year, month, day.
    pub date: String,
    /// The command line.
    pub command: String,
}

/// The table as Markdown.
pub fn markdown(rows: &[Row], circumstances: &Circumstances) -> String {
    let Circumstances { machine, date, command } = circumstances;
    let mut text = format!(
        "# Benchmarks\n\nMeasured with the project's own client over gRPC and mutual TLS; client, servers and etcd \
         share the machine.\n\n- Machine: {machine}\n- Date: {date}\n- Command: `{command}`\n\n\
         | row | work | target | figure | what limits it |\n|---|---|---|---|---|\n"
    );
    for row in rows {
        let (figure, limits) = match &row.outcome {
            Outcome::Measured { figure, limits } => (cell(figure), cell(limits)),
            Outcome::NotMeasured(reason) => ("not measured".to_owned(), cell(reason)),
        };
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "| {} | {} | {} | {figure} | {limits} |", row.name, row.work, row.target);
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The machine in one line.
pub fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    let processor = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{processor}, {cores} cores, memory {memory}, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_figure_say_why() {
        let row = |name, outcome| Row { name, work: "w", target: "t", outcome };
        let rows =
            [row("a", Outcome::measured("5/s", "etcd")), row("b", Outcome::NotMeasured("no node | here".to_owned()))];
        let circumstances = Circumstances { machine: "m".into(), date: "d".into(), command: "c".into() };
        let text = markdown(&rows, &circumstances);
        assert!(text.contains("| a | w | t | 5/s | etcd |\n"), "{text}");
        assert!(text.contains("| b | w | t | not measured | no node \\| here |\n"), "{text}");
    }
}
