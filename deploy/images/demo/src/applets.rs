//! The small helpers: what a test wants to run inside a container that has nothing else in it.

use std::{
    fs, io,
    io::Write,
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

/// The commands that exist as names under `/bin` too.
const APPLETS: [&str; 14] =
    ["sh", "sleep", "env", "echo", "cat", "write", "ls", "hostname", "id", "true", "false", "crash", "stty", "tar"];

/// Whether `name` is one of the applets (a login shell's leading dash does not count).
pub fn is_applet(name: &str) -> bool {
    APPLETS.contains(&name.trim_start_matches('-'))
}

/// Runs an applet and returns its exit code.
pub fn main(name: &str, arguments: &[String]) -> u8 {
    let result = match name {
        "sh" => return crate::shell::main(arguments),
        "sleep" => return sleep(arguments),
        "crash" => return crash(arguments),
        "stty" => return crate::terminal::main(arguments),
        "false" => return 1,
        "true" => Ok(()),
        "env" => environment(),
        "echo" => echo(arguments),
        "cat" => cat(arguments),
        "write" => write(arguments),
        "ls" => list(arguments),
        "tar" => crate::archive::main(arguments),
        "hostname" => line(&hostname()),
        "id" => {
            line(&format!("uid={} gid={}", rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()))
        }
        _ => return 127,
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{name}: {error}");
            1
        }
    }
}

/// The name of this machine, in a pod the pod's name.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

fn environment() -> io::Result<()> {
    let mut variables: Vec<(String, String)> = std::env::vars().collect();
    variables.sort();
    variables.iter().try_for_each(|(name, value)| line(&format!("{name}={value}")))
}

fn echo(arguments: &[String]) -> io::Result<()> {
    match arguments.split_first() {
        Some((first, rest)) if first == "-n" => {
            write!(io::stdout(), "{}", rest.join(" "))?;
            io::stdout().flush()
        }
        _ => line(&arguments.join(" ")),
    }
}

fn cat(arguments: &[String]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if arguments.is_empty() {
        io::copy(&mut io::stdin().lock(), &mut output)?;
    }
    for path in arguments {
        let mut file =
            fs::File::open(path).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
        io::copy(&mut file, &mut output)?;
    }
    output.flush()
}

fn write(arguments: &[String]) -> io::Result<()> {
    let Some((path, words)) = arguments.split_first() else {
        return Err(io::Error::other("usage: write FILE TEXT"));
    };
    fs::write(path, words.join(" ") + "\n")
}

fn list(arguments: &[String]) -> io::Result<()> {
    let directory = arguments.iter().find(|argument| !argument.starts_with('-')).map_or(".", String::as_str);
    let mut names: Vec<String> = fs::read_dir(directory)?
        .filter_map(|entry| entry.ok().map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names.iter().try_for_each(|name| line(name))
}

/// Sleeps; ends early with 143 on SIGTERM, as a program without a handler would outside of a
/// container. (The first process of a container gets no default handlers from the kernel.)
fn sleep(arguments: &[String]) -> u8 {
    let duration = match arguments.first().map(String::as_str) {
        None | Some("infinity") => None,
        Some(text) => match text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            Some(duration) => Some(duration),
            None => {
                eprintln!("sleep: {text:?} is not a number of seconds");
                return 2;
            }
        },
    };
    let mut signals = match Signals::new([SIGTERM, SIGINT]) {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("sleep: {error}");
            return 1;
        }
    };
    let (sender, receiver) = sync_channel(1);
    // Ends with the process.
    thread::spawn(move || {
        for signal in signals.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    });
    let ended_by = match duration {
        Some(duration) => receiver.recv_timeout(duration),
        None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match ended_by {
        Ok(signal) => u8::try_from(128 + signal).unwrap_or(1),
        Err(_) => 0,
    }
}

fn crash(arguments: &[String]) -> u8 {
    if let Some(seconds) = crate::option(arguments, "--after")
        && let interrupted @ 1.. = sleep(&[seconds.to_owned()])
    {
        return interrupted;
    }
    let code = crate::positional(arguments).first().and_then(|code| code.parse().ok()).unwrap_or(1);
    eprintln!("crash: exiting with code {code}, as asked");
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applets_are_known_by_name() {
        assert!(is_applet("sh") && is_applet("-sh") && is_applet("cat"));
        assert!(!is_applet("demo") && !is_applet("serve"));
    }

    #[test]
    fn crash_and_sleep_tell_by_exit_code() {
        assert_eq!(crash(&["7".to_owned()]), 7);
        assert_eq!(sleep(&["0".to_owned()]), 0);
        assert_eq!(sleep(&["soon".to_owned()]), 2);
    }
}
