//! The table.

/// What a row came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The figure, and what was measured beside it.
    Measured {
        /// With its unit.
        figure: String,
        /// Facts of the same run. Reasons are for people to write, below the table.
        beside: String,
    },
    /// Why there is none.
    NotMeasured(String),
}

impl Outcome {
    /// A figure.
    pub fn measured(figure: impl Into<String>, beside: impl Into<String>) -> Self {
        Self::Measured { figure: figure.into(), beside: beside.into() }
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

/// Ends what is generated; what follows is written by people and stays.
const BY_HAND: &str = "<!-- What follows is written by hand and kept when the table is measured again. -->";

/// The page as Markdown. Of the page as it was, it keeps what people wrote, and the rows of `order` that were not
/// measured this time.
pub fn markdown(rows: &[Row], order: &[&str], before: &str, circumstances: &Circumstances) -> String {
    let Circumstances { machine, date, command } = circumstances;
    let mut text = format!(
        "# Benchmarks\n\nMeasured with the project's own client over gRPC and mutual TLS; client, servers and etcd \
         share the machine.\n\n- Machine: {machine}\n- Command of the last run: `{command}`\n\n\
         | row | work | target | figure | measured beside it | date |\n|---|---|---|---|---|---|\n"
    );
    for name in order {
        let line = match rows.iter().find(|row| row.name == *name) {
            Some(row) => row_line(row, date),
            None => {
                let start = format!("| {name} |");
                let Some(kept) = before.lines().find(|line| line.starts_with(&start)) else { continue };
                kept.to_owned()
            }
        };
        text.push_str(&line);
        text.push('\n');
    }
    let by_hand = before.split_once(BY_HAND).map_or("\n", |(_, kept)| kept);
    text.push('\n');
    text.push_str(BY_HAND);
    text.push_str(by_hand);
    text
}

fn row_line(row: &Row, date: &str) -> String {
    let (figure, beside) = match &row.outcome {
        Outcome::Measured { figure, beside } => (cell(figure), cell(beside)),
        Outcome::NotMeasured(reason) => ("not measured".to_owned(), cell(reason)),
    };
    format!("| {} | {} | {} | {figure} | {beside} | {date} |", row.name, row.work, row.target)
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

    fn row(name: &'static str, outcome: Outcome) -> Row {
        Row { name, work: "w", target: "t", outcome }
    }

    fn circumstances(date: &str) -> Circumstances {
        Circumstances { machine: "m".into(), date: date.into(), command: "c".into() }
    }

    #[test]
    fn rows_without_a_figure_say_why() {
        let rows =
            [row("a", Outcome::measured("5/s", "etcd")), row("b", Outcome::NotMeasured("no node | here".to_owned()))];
        let text = markdown(&rows, &["a", "b"], "", &circumstances("d"));
        assert!(text.contains("| a | w | t | 5/s | etcd | d |\n"), "{text}");
        assert!(text.contains("| b | w | t | not measured | no node \\| here | d |\n"), "{text}");
    }

    #[test]
    fn what_people_wrote_and_what_was_not_measured_again_stays() {
        let all = [row("a", Outcome::measured("5/s", "")), row("b", Outcome::measured("7/s", ""))];
        let order = ["b", "a"];
        let first = markdown(&all, &order, "", &circumstances("monday")) + "\n## Misses\n\nThe moon was full.\n";
        let again = [row("a", Outcome::measured("6/s", ""))];
        let second = markdown(&again, &order, &first, &circumstances("tuesday"));
        assert!(second.contains("| b | w | t | 7/s |  | monday |\n| a | w | t | 6/s |  | tuesday |\n"), "{second}");
        assert!(second.ends_with("\n## Misses\n\nThe moon was full.\n"), "{second}");
    }
}
