//! Daemons of the testbed: started detached with a log file and a record of who they are, known
//! again by process id and start time, noticed at once when they end.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Seek, SeekFrom},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::{cgroup, command, instance::Instance};

/// How long a daemon may take until it says that it is ready. Generous: a loaded machine that
/// writes its first database to a slow disk is still on its way.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often a port is tried while a daemon that does not speak the readiness protocol starts.
const PORT_PROBE: Duration = Duration::from_millis(20);
/// How long a killed process may take to be gone.
pub const KILLED_WITHIN: Duration = Duration::from_secs(10);
/// Numbers the starts of this program, for names that do not repeat.
static STARTS: AtomicU64 = AtomicU64::new(0);
/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 12;

/// Which process a daemon is. The start time tells it from a later process with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Process id.
    pub pid: i32,
    /// Start of the process, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub started: u64,
}

impl ProcessRecord {
    /// The record of a process that runs.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        (state != 'Z' && state != 'X').then_some(Self { pid, started })
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Sends a signal to this very process; `false` when it has ended.
    ///
    /// # Errors
    /// The kernel refuses the signal.
    pub fn signal(&self, signal: Signal) -> Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(false) };
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
        // The descriptor holds on to one process: now that it is open, the check cannot go stale.
        if !self.is_alive() {
            return Ok(false);
        }
        match pidfd_send_signal(&descriptor, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot signal process {}", self.pid)),
        }
    }

    /// Waits until this very process has ended; `false` when it has not within `limit`.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn wait_ended(&self, limit: Duration) -> Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(true) };
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(true) };
        if !self.is_alive() {
            return Ok(true);
        }
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        let mut polled = [rustix::event::PollFd::new(&descriptor, rustix::event::PollFlags::IN)];
        Ok(rustix::event::poll(&mut polled, Some(&timeout))? > 0)
    }
}

/// State and start time from the text of `/proc/PID/stat`. The program's name may hold anything.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // After the state (field 3) comes field 4; the start time is field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// How a daemon shows that it is ready.
#[derive(Debug, Clone)]
pub enum Readiness {
    /// By systemd's protocol: `READY=1` on the socket named by `NOTIFY_SOCKET`.
    Notify,
    /// By the protocol, or by taking connections, whichever comes first.
    NotifyOrPort(SocketAddr),
    /// Others see it (a node becomes Ready).
    SeenByOthers,
}

/// What to start.
#[derive(Debug)]
pub struct Daemon {
    /// Its name: the log, the record and messages carry it.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Additional environment variables.
    pub environment: Vec<(String, String)>,
    /// `nsenter` with its arguments, for a daemon of a node.
    pub enter: Vec<String>,
    /// The cgroup below the testbed's.
    pub group: String,
    /// How it shows that it is ready.
    pub readiness: Readiness,
}

/// The daemons of one testbed, and the first failure among those that this program started.
#[derive(Clone)]
pub struct Daemons {
    instance: Instance,
    failure: Arc<(Mutex<Option<String>>, Condvar)>,
    /// Processes that are killed on purpose: their end is no failure.
    expected_ends: Arc<Mutex<BTreeSet<i32>>>,
}

impl Daemons {
    /// The daemons of a testbed.
    pub fn new(instance: &Instance) -> Self {
        Self { instance: instance.clone(), failure: Arc::default(), expected_ends: Arc::default() }
    }

    /// The process of a daemon, if it runs.
    pub fn running(&self, name: &str) -> Option<ProcessRecord> {
        let record: ProcessRecord = serde_json::from_slice(&fs::read(self.record_path(name)).ok()?).ok()?;
        record.is_alive().then_some(record)
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.instance.path("run").join(format!("{name}.json"))
    }

    /// Starts a daemon unless it runs, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start, ends, or is not ready in time: with the end of its log.
    pub fn ensure(&self, daemon: &Daemon) -> Result<()> {
        if self.running(&daemon.name).is_some() {
            return Ok(());
        }
        let log_path = self.instance.log(&daemon.name);
        fs::create_dir_all(self.instance.path("logs"))?;
        fs::create_dir_all(self.instance.path("run"))?;
        // Another one for each start: the end of an earlier process is not taken for this one's.
        let start_number = STARTS.fetch_add(1, Ordering::Relaxed);
        let socket_path = self.instance.path("run").join(format!("{}-{start_number}.notify", std::process::id()));
        let notifications = bind_fresh(&socket_path)?;

        let group = cgroup::prepare(&self.instance.name(), &daemon.group)?;
        let mut start = launcher(daemon, group.as_deref());
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .with_context(|| format!("cannot open {}", log_path.display()))?;
        let log_start = log.metadata()?.len();
        start.env("NOTIFY_SOCKET", &socket_path).stdout(log.try_clone()?).stderr(log);
        let mut child = start.spawn().with_context(|| format!("cannot start `{}`", command::line(&start)))?;
        let record = i32::try_from(child.id()).ok().and_then(ProcessRecord::of);
        if let Some(record) = record {
            let text = serde_json::to_vec(&record)?;
            crate::instance::write_private(&self.record_path(&daemon.name), &text)?;
        }

        // Tells at once when the daemon ends, for as long as this program runs.
        let (this, name, ended_socket) = (self.clone(), daemon.name.clone(), socket_path.clone());
        thread::spawn(move || {
            let pid = i32::try_from(child.id()).unwrap_or_default();
            let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            if this.expected_ends().remove(&pid) {
                return;
            }
            this.fail(format!("{name} ended ({status})\n{}", this.tail(&name, log_start)));
            // Nobody listens any more once the daemon was ready: then the failure alone tells.
            if let Ok(socket) = UnixDatagram::unbound() {
                socket.send_to(b"ENDED=1", &ended_socket).ok();
            }
        });

        let result = match &daemon.readiness {
            Readiness::SeenByOthers => Ok(()),
            Readiness::Notify => await_ready(&notifications, None),
            Readiness::NotifyOrPort(address) => await_ready(&notifications, Some(*address)),
        };
        fs::remove_file(&socket_path).ok();
        result.map_err(|problem| {
            let failure = self.failure().clone();
            failure.map_or_else(
                || anyhow!("{} {problem}\n{}", daemon.name, self.tail(&daemon.name, log_start)),
                |failure| anyhow!(failure),
            )
        })
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the first failure and wakes all who wait for something.
    pub fn fail(&self, message: String) {
        self.failure().get_or_insert(message);
        self.failure.1.notify_all();
    }

    fn expected_ends(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.expected_ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a daemon is about to be killed on purpose.
    pub fn expect_end(&self, name: &str) {
        if let Some(record) = self.running(name) {
            self.expected_ends().insert(record.pid);
        }
    }

    /// Kills a daemon as the kernel would when memory runs out, and waits until it is gone.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn kill(&self, name: &str) -> Result<()> {
        let record = self.running(name).with_context(|| format!("{name} does not run"))?;
        self.expect_end(name);
        record.signal(Signal::KILL)?;
        if !record.wait_ended(KILLED_WITHIN)? {
            bail!("{name} does not end although it was killed");
        }
        Ok(())
    }

    /// An error if a daemon has ended since this program started it.
    ///
    /// # Errors
    /// The first failure.
    pub fn check(&self) -> Result<()> {
        match self.failure().as_ref() {
            Some(failure) => bail!("{failure}"),
            None => Ok(()),
        }
    }

    /// Waits until `done` holds; woken by [`Daemons::wake`] and by failures.
    ///
    /// # Errors
    /// A daemon failed, or `limit` has passed.
    pub fn wait_until(&self, what: &str, limit: Duration, done: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut failure = self.failure();
        loop {
            if let Some(failure) = failure.as_ref() {
                bail!("{failure}");
            }
            if done() {
                return Ok(());
            }
            let now = Instant::now();
            if now >= deadline {
                bail!("{what}: not within {} s; logs are in {}", limit.as_secs(), self.instance.path("logs").display());
            }
            failure = self
                .failure
                .1
                .wait_timeout(failure, deadline - now)
                .map_or_else(|poisoned| poisoned.into_inner().0, |waited| waited.0);
        }
    }

    /// Makes all who wait look again.
    pub fn wake(&self) {
        let _held = self.failure();
        self.failure.1.notify_all();
    }

    /// The end of a daemon's log from `start` on, and where the log is.
    fn tail(&self, name: &str, start: u64) -> String {
        let path = self.instance.log(name);
        let text = read_from(&path, start).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
        format!("  the end of {}:\n    {shown}", path.display())
    }
}

fn read_from(path: &Path, start: u64) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(1 << 20).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn bind_fresh(path: &Path) -> Result<UnixDatagram> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    UnixDatagram::bind(path).with_context(|| {
        format!("cannot make the socket {} (a path has room for 107 bytes: choose a shorter --dir)", path.display())
    })
}

/// The command that becomes the daemon: in a session of its own, in its cgroup, in its namespaces.
/// Each part replaces itself with the next, so the process id stays the daemon's.
fn launcher(daemon: &Daemon, group: Option<&Path>) -> Command {
    let mut start = command::system("setsid");
    start.args(["sh", "-c", "if [ -n \"$0\" ]; then echo 0 >\"$0/cgroup.procs\" || exit 125; fi; exec \"$@\""]);
    start.arg(group.unwrap_or(Path::new("")));
    start.args(&daemon.enter).arg(&daemon.program).args(&daemon.arguments);
    start.envs(daemon.environment.iter().map(|(name, value)| (name, value)));
    start.current_dir("/").stdin(Stdio::null());
    start
}

/// Waits for `READY=1`, for the daemon's end, or for its port.
fn await_ready(notifications: &UnixDatagram, port: Option<SocketAddr>) -> Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    let mut buffer = [0u8; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("was not ready within {} s", READY_WITHIN.as_secs());
        }
        let wait = if port.is_some() { left.min(PORT_PROBE) } else { left };
        notifications.set_read_timeout(Some(wait))?;
        match notifications.recv(&mut buffer) {
            Ok(length) => {
                let message = String::from_utf8_lossy(&buffer[..length]);
                if message.lines().any(|line| line == "READY=1") {
                    return Ok(());
                }
                if message.lines().any(|line| line == "ENDED=1") {
                    bail!("ended");
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                if port.is_some_and(|port| TcpStream::connect_timeout(&port, PORT_PROBE).is_ok()) {
                    return Ok(());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_instance(folder: &Path) -> Result<Instance> {
        Instance::open_or_create(&folder.join("bed"), false)
    }

    fn shell(name: &str, script: &str, readiness: Readiness) -> Daemon {
        Daemon {
            name: name.to_owned(),
            program: PathBuf::from("sh"),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: Vec::new(),
            enter: Vec::new(),
            group: "test".to_owned(),
            readiness,
        }
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987 1 1";
        assert_eq!(parse_stat(stat), Some(('S', 987)));
        assert_eq!(parse_stat("42 (x"), None);
    }

    #[test]
    fn this_process_is_alive_and_an_older_one_with_its_id_is_not() {
        let me = i32::try_from(std::process::id()).ok().and_then(ProcessRecord::of);
        assert!(me.is_some_and(|me| me.is_alive()));
        assert!(me.is_some_and(|me| !ProcessRecord { started: me.started + 1, ..me }.is_alive()));
    }

    #[test]
    fn a_daemon_that_ends_is_reported_with_its_log() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let instance = test_instance(folder.path())?;
        let daemons = Daemons::new(&instance);
        let error = daemons
            .ensure(&shell("broken", "echo the disk is full; exit 9", Readiness::Notify))
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains("broken") && error.contains("the disk is full") && error.contains("9"), "{error}");
        assert!(daemons.check().is_err());
        cgroup::remove(&instance.name())
    }

    #[test]
    fn a_daemon_is_started_once_and_signalled_exactly() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let instance = test_instance(folder.path())?;
        let daemons = Daemons::new(&instance);
        let daemon = shell("steady", "exec cat /dev/zero >/dev/null", Readiness::SeenByOthers);
        daemons.ensure(&daemon)?;
        let first = daemons.running("steady").context("it runs")?;
        daemons.ensure(&daemon)?;
        assert_eq!(daemons.running("steady"), Some(first));
        assert!(first.signal(Signal::KILL)?);
        assert!(first.wait_ended(Duration::from_secs(10))?);
        daemons.wait_until("the failure", Duration::from_secs(10), || false).err().context("the end is noticed")?;
        assert_eq!(daemons.running("steady"), None);
        cgroup::remove(&instance.name())
    }
}
