//! Runs programs of the system and turns their failures into messages that say which program,
//! with which arguments, failed how.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

/// Where system programs live, also when `PATH` lacks the `sbin` folders.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command whose `PATH` finds system programs, without standard input.
pub fn system(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", search_path()).stdin(Stdio::null());
    command
}

/// The caller's `PATH` followed by the system's folders.
pub fn search_path() -> String {
    match std::env::var("PATH") {
        Ok(path) if !path.is_empty() => format!("{path}:{SYSTEM_PATH}"),
        _ => SYSTEM_PATH.to_owned(),
    }
}

/// The full path of a program, if it is installed.
pub fn find(program: &str) -> Option<PathBuf> {
    search_path().split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}

/// The command as one line, for messages.
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command to its end and returns what it wrote to standard output.
///
/// # Errors
/// The program is missing, or it failed: then with what it wrote to standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start `{}`", line(command)))?;
    checked(command, output)
}

/// Runs a command with `input` on its standard input.
///
/// # Errors
/// As for [`run`].
pub fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).with_context(|| format!("cannot write to `{}`", line(command)))?;
    }
    let output = child.wait_with_output().with_context(|| format!("cannot wait for `{}`", line(command)))?;
    checked(command, output)
}

fn checked(command: &Command, output: Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let said = if stderr.trim().is_empty() { stdout.trim() } else { stderr.trim() };
    bail!("`{}` failed ({}): {said}", line(command), output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error =
            run(system("sh").args(["-c", "echo no such thing >&2; exit 3"])).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains("exit status: 3") && error.contains("no such thing"), "{error}");
    }

    #[test]
    fn input_reaches_the_program() -> Result<()> {
        assert_eq!(run_with_input(&mut system("cat"), "hello")?, "hello");
        Ok(())
    }
}
