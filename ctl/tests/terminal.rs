//! `rctl exec -it` in front of a real pseudo terminal: raw mode, sizes, exit code, and the terminal afterwards.

mod fake;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

/// A user at a terminal who runs one command.
struct Seat {
    master: File,
    /// Keeps the terminal alive when the command has ended.
    slave: File,
    child: Child,
    seen: String,
    before: Termios,
}

fn window(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Seat {
    fn run(folder: &std::path::Path, args: &[&str]) -> Seat {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let path = ptsname(&master, Vec::new()).expect("a name").to_string_lossy().into_owned();
        let slave = File::options().read(true).write(true).open(path).expect("its other end");
        tcsetwinsize(&master, window(80, 24)).expect("a size");
        let before = tcgetattr(&slave).expect("settings");
        let end = || Stdio::from(slave.try_clone().expect("another handle"));
        // setsid -c makes it the controlling terminal, whose size changes are signalled.
        let child = Command::new("setsid")
            .args(["-c", env!("CARGO_BIN_EXE_rctl")])
            .args(args)
            .env("KUBECONFIG", folder.join("kubeconfig"))
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid runs");
        Seat { master: File::from(master), slave, child, seen: String::new(), before }
    }

    fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("typed");
    }

    /// Reads until the text was shown.
    fn sees(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        while !self.seen.contains(text) {
            let length = self.master.read(&mut buffer).expect("the terminal is open");
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }

    fn settings(&self) -> LocalModes {
        tcgetattr(&self.slave).expect("settings").local_modes
    }

    fn ends(mut self) -> ExitStatus {
        let status = self.child.wait().expect("it ends");
        let after = tcgetattr(&self.slave).expect("settings");
        assert_eq!(after.local_modes, self.before.local_modes, "after: {}", self.seen);
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
        status
    }
}

const SHELL: [&str; 6] = ["exec", "-it", "web", "--", "shell", "here"];

fn cluster() -> (tempfile::TempDir, fake::Running) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = fake::start(folder.path());
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: one}]}\n";
    std::fs::write(folder.path().join("pod.yaml"), pod).expect("written");
    let created = Command::new(env!("CARGO_BIN_EXE_rctl"))
        .args(["--server", &format!("https://{}", server.address), "create", "-f"])
        .arg(folder.path().join("pod.yaml"))
        .env("KUBECONFIG", folder.path().join("kubeconfig"))
        .output()
        .expect("rctl runs");
    assert!(created.status.success(), "{created:?}");
    (folder, server)
}

#[test]
fn a_shell_has_the_terminal_its_size_and_its_exit_code() {
    let (folder, _server) = cluster();
    let mut seat = Seat::run(folder.path(), &SHELL);
    seat.sees("tty=true stdin=true");
    seat.sees("size 80x24");
    assert!(!seat.settings().intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
    seat.types("hello\r");
    seat.sees("got hello");
    tcsetwinsize(&seat.master, window(132, 50)).expect("resized");
    seat.sees("size 132x50");
    // The interrupt character belongs to the command.
    seat.types("\u{3}\r");
    seat.sees("got \u{3}");
    seat.types("exit 3\r");
    seat.sees("command terminated with exit code 3\r\n");
    assert_eq!(seat.ends().code(), Some(3));
}

#[test]
fn a_lost_connection_leaves_the_terminal_usable() {
    let (folder, _server) = cluster();
    let mut seat = Seat::run(folder.path(), &SHELL);
    seat.sees("size 80x24");
    seat.types("break\r");
    seat.sees("error: ");
    assert_eq!(seat.ends().code(), Some(1));
}

#[test]
fn a_signal_leaves_the_terminal_usable() {
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let (folder, _server) = cluster();
        let mut seat = Seat::run(folder.path(), &SHELL);
        seat.sees("size 80x24");
        let pid = i32::try_from(seat.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("signalled");
        assert_eq!(seat.ends().code(), Some(code));
    }
}
