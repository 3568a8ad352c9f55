//! `rctl cp`: files between here and a container, as a tar stream through exec.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use futures::StreamExt as _;
use reeve_client::streams::{self, ExecRequest, ExecStart, exec_request, exec_response};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::common;
use super::logs::default_container;
use crate::errors::{Outcome, fail, usage};
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::{name, namespace};

const EXAMPLES: &str = "  \
  # Requires that the 'tar' binary is present in your container image.
  # Copy /tmp/foo_dir local directory to /tmp/bar_dir in a remote pod in the default namespace
  rctl cp /tmp/foo_dir <some-pod>:/tmp/bar_dir

  # Copy /tmp/foo local file to /tmp/bar in a remote pod in a specific container
  rctl cp /tmp/foo <some-pod>:/tmp/bar -c <specific-container>

  # Copy /tmp/foo from a remote pod to /tmp/bar locally
  rctl cp <some-namespace>/<some-pod>:/tmp/foo /tmp/bar";

/// Pieces of the archive on their way; more make the writer wait.
const PIECES_IN_FLIGHT_MAX: usize = 8;
const PIECE_BYTES: usize = 32 * 1024;

/// Copy files and directories to and from containers.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct CpArgs {
    /// SOURCE and DESTINATION: a path here, or [NAMESPACE/]POD:PATH
    #[arg(value_name = "FILE-SPEC")]
    specs: Vec<String>,
    /// Container name. If omitted, the pod's default or first container
    #[arg(short = 'c', long, value_name = "NAME")]
    container: Option<String>,
    /// The copied file/directory's ownership and permissions will not be preserved in the container
    #[arg(long)]
    no_preserve: bool,
}

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Local(PathBuf),
    Remote { namespace: String, pod: String, path: String },
}

impl End {
    fn parse(text: &str) -> Outcome<End> {
        // A path here may hold a colon after a slash or a dot.
        let Some((pod, path)) = text.split_once(':').filter(|_| !text.starts_with(['/', '.'])) else {
            return Ok(End::Local(PathBuf::from(text)));
        };
        let (namespace, pod) = pod.split_once('/').unwrap_or(("", pod));
        if pod.is_empty() || pod.contains('/') {
            return fail("filespec must match the canonical format: [[namespace/]pod:]file/path");
        }
        if path.is_empty() {
            return fail("filepath can not be empty");
        }
        Ok(End::Remote { namespace: namespace.to_owned(), pod: pod.to_owned(), path: path.to_owned() })
    }
}

/// Runs the command.
pub async fn run(session: &mut Session, args: CpArgs) -> Outcome {
    let [source, destination] = args.specs.as_slice() else {
        return usage("rctl cp", "source and destination are required");
    };
    match (End::parse(source)?, End::parse(destination)?) {
        (End::Local(local), End::Remote { namespace, pod, path }) => {
            let place = Place::find(session, &namespace, &pod, args.container.as_deref()).await?;
            upload(session, &place, &local, &path, args.no_preserve).await
        }
        (End::Remote { namespace, pod, path }, End::Local(local)) => {
            let place = Place::find(session, &namespace, &pod, args.container.as_deref()).await?;
            download(session, &place, &path, &local).await
        }
        (End::Local(_), End::Local(_)) => fail("one of src or dest must be a remote file specification"),
        _ => fail("one of src or dest must be a local file specification"),
    }
}

/// A container.
struct Place {
    cluster: Cluster,
    pod: Value,
    container: String,
}

type Answers = futures::stream::BoxStream<'static, Result<streams::ExecResponse, reeve_client::Error>>;

impl Place {
    async fn find(session: &mut Session, namespace: &str, pod: &str, container: Option<&str>) -> Outcome<Place> {
        let cluster = session.cluster()?;
        let info = resolve::resource(&cluster, "pods").await?;
        let scope = if namespace.is_empty() { cluster.namespace.clone() } else { namespace.to_owned() };
        let pod = common::get(&cluster, &info, &scope, pod).await?;
        let container = default_container(session, &pod, container)?;
        Ok(Place { cluster, pod, container })
    }

    async fn exec(&self, command: &[&str], input: Option<mpsc::Receiver<Bytes>>) -> Outcome<Answers> {
        let start = ExecStart {
            namespace: namespace(&self.pod).to_owned(),
            pod: name(&self.pod).to_owned(),
            container: self.container.clone(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            stdin: input.is_some(),
            stdout: true,
            stderr: true,
            tty: false,
        };
        let first = futures::stream::iter([ExecRequest { input: Some(exec_request::Input::Start(start)) }]);
        let streams = self.cluster.client().streams();
        let call = async {
            match input {
                Some(pieces) => {
                    let end = futures::stream::iter([streams::stdin_closed()]);
                    streams.exec(first.chain(ReceiverStream::new(pieces).map(streams::stdin)).chain(end)).await
                }
                None => streams.exec(first.chain(futures::stream::pending())).await,
            }
        };
        self.cluster.call(call).await
    }

    /// Hands the output on; the outcome is the exit code.
    async fn finish(
        &self,
        session: &mut Session,
        mut answers: Answers,
        output: Option<mpsc::Sender<Bytes>>,
    ) -> Outcome<i32> {
        let mut code = None;
        while let Some(answer) = answers.next().await {
            match answer.map_err(|error| self.cluster.explain(error))?.output {
                Some(exec_response::Output::Stdout(data)) => {
                    if let Some(output) = &output
                        && output.send(data).await.is_err()
                    {
                        // The unpacking has failed and says why.
                        break;
                    }
                }
                Some(exec_response::Output::Stderr(data)) => session.io.err.write_all(&data)?,
                Some(exec_response::Output::ExitCode(exit)) => code = Some(exit),
                None => {}
            }
        }
        code.map_or_else(|| fail("the connection ended before the copy did"), Ok)
    }

    async fn is_folder(&self, session: &mut Session, path: &str) -> Outcome<bool> {
        let answers = self.exec(&["test", "-d", path], None).await?;
        // An image without `test` is taken to have no such folder, as kubectl does.
        Ok(matches!(self.finish(session, answers, None).await, Ok(0)))
    }
}

fn ended(code: i32) -> Outcome {
    if code == 0 { Ok(()) } else { fail(format!("command terminated with exit code {code}")) }
}

async fn upload(session: &mut Session, place: &Place, local: &Path, remote: &str, no_preserve: bool) -> Outcome {
    if let Err(error) = std::fs::symlink_metadata(local) {
        return match error.kind() {
            io::ErrorKind::NotFound => fail(format!("{} doesn't exist in local filesystem", local.display())),
            _ => fail(format!("{}: {error}", local.display())),
        };
    }
    let base = local.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let mut remote = remote.trim_end_matches('/').to_owned();
    if remote.is_empty() {
        remote.push('/');
    }
    if let Some(base) = &base
        && place.is_folder(session, &remote).await?
    {
        remote = format!("{}/{base}", remote.trim_end_matches('/'));
    }
    let (folder, file) = remote
        .rsplit_once('/')
        .map_or((".", remote.as_str()), |(folder, file)| (if folder.is_empty() { "/" } else { folder }, file));
    let mut command = vec!["tar"];
    if no_preserve {
        command.extend(["--no-same-permissions", "--no-same-owner"]);
    }
    command.extend(["-xmf", "-", "-C", folder]);
    let (sender, receiver) = mpsc::channel(PIECES_IN_FLIGHT_MAX);
    let (source, entry) = (local.to_owned(), file.to_owned());
    let packing = tokio::task::spawn_blocking(move || pack(&source, &entry, Sender { sender, buffer: Vec::new() }));
    let answers = place.exec(&command, Some(receiver)).await?;
    let outcome = place.finish(session, answers, None).await;
    match (packing.await, outcome) {
        (Ok(Err(error)), Ok(0)) => fail(format!("cannot read {}: {error}", local.display())),
        (Err(error), Ok(0)) => fail(format!("the archive was not made: {error}")),
        (_, outcome) => ended(outcome?),
    }
}

fn pack(source: &Path, entry: &str, sender: Sender) -> io::Result<()> {
    let mut archive = tar::Builder::new(sender);
    archive.follow_symlinks(false);
    if source.is_dir() {
        archive.append_dir_all(entry, source)?;
    } else {
        archive.append_path_with_name(source, entry)?;
    }
    archive.into_inner()?.flush()
}

async fn download(session: &mut Session, place: &Place, remote: &str, local: &Path) -> Outcome {
    let (sender, receiver) = mpsc::channel(PIECES_IN_FLIGHT_MAX);
    let (from, to) = (remote.to_owned(), local.to_owned());
    let unpacking = tokio::task::spawn_blocking(move || unpack(Receiver { receiver, piece: Bytes::new() }, &from, &to));
    let answers = place.exec(&["tar", "cf", "-", remote], None).await?;
    let outcome = place.finish(session, answers, Some(sender)).await;
    match unpacking.await {
        Ok(Ok(skipped)) => {
            ended(outcome?)?;
            for text in skipped {
                session.io.note(&format!("warning: {text}"))?;
            }
            Ok(())
        }
        Ok(Err(error)) => {
            // A command that failed has sent no archive.
            ended(outcome?)?;
            fail(format!("cannot write {}: {error}", local.display()))
        }
        Err(error) => fail(format!("the archive was not read: {error}")),
    }
}

/// Writes the files of an archive of `remote` to `local`; returns what was left out.
fn unpack(source: impl Read, remote: &str, local: &Path) -> io::Result<Vec<String>> {
    let prefix = relative(Path::new(remote)).unwrap_or_default();
    let root = match prefix.file_name() {
        Some(base) if local.is_dir() => local.join(base),
        _ => local.to_owned(),
    };
    let mut skipped = Vec::new();
    for entry in tar::Archive::new(source).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        // Names come from the container: none may lead out of the destination.
        let Some(inside) = relative(&path).and_then(|path| Some(path.strip_prefix(&prefix).ok()?.to_owned())) else {
            skipped.push(format!("file {:?} is outside target destination, skipping", path.display().to_string()));
            continue;
        };
        let target = if inside.as_os_str().is_empty() { root.clone() } else { root.join(&inside) };
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            std::fs::create_dir_all(&target)?;
        } else if kind.is_file() {
            if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                std::fs::create_dir_all(parent)?;
            }
            let mut file = std::fs::File::create(&target)?;
            io::copy(&mut entry, &mut file)?;
        } else if kind.is_symlink() {
            let to = entry.link_name()?.unwrap_or_default().display().to_string();
            skipped.push(format!("skipping symlink: {:?} -> {to:?} (consider using \"rctl exec -n NAMESPACE POD -- tar cf - SOURCE | tar xf -\")", target.display().to_string()));
        } else {
            skipped.push(format!("skipping {:?}: neither a file nor a folder", target.display().to_string()));
        }
    }
    Ok(skipped)
}

/// A path without its root and dots; `None` if it leads upwards.
fn relative(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts)
}

/// Writes go to the container in pieces.
struct Sender {
    sender: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        if piece.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(piece).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// Reads what the container sends.
struct Receiver {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let remote = |namespace: &str, pod: &str, path: &str| End::Remote {
            namespace: namespace.into(),
            pod: pod.into(),
            path: path.into(),
        };
        assert_eq!(End::parse("a:/b").expect("fine"), remote("", "a", "/b"));
        assert_eq!(End::parse("n/a:b:c").expect("fine"), remote("n", "a", "b:c"));
        assert_eq!(End::parse("./a:b").expect("fine"), End::Local("./a:b".into()));
        assert_eq!(End::parse("file").expect("fine"), End::Local("file".into()));
        for text in ["a:", ":b", "n/a/b:c"] {
            assert!(End::parse(text).is_err(), "{text}");
        }
    }

    fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            // append_data refuses names that lead upwards; an evil container does not.
            header.as_gnu_mut().expect("a GNU header").name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, content.as_bytes()).expect("added");
        }
        builder.into_inner().expect("finished")
    }

    #[test]
    fn files_land_below_the_destination_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let bytes = archive(&[("tmp/d/a", "1"), ("tmp/d/sub/b", "2"), ("tmp/d/../../evil", "3"), ("other", "4")]);
        let skipped = unpack(bytes.as_slice(), "/tmp/d", &folder.path().join("here")).expect("unpacked");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
        assert_eq!((read("here/a"), read("here/sub/b")), (Some("1".into()), Some("2".into())));
        assert_eq!((skipped.len(), read("evil")), (2, None));
        // Into a folder that exists, under its own name; a single file has the destination's name.
        unpack(bytes.as_slice(), "/tmp/d", folder.path()).expect("unpacked");
        assert_eq!(read("d/a"), Some("1".into()));
        unpack(archive(&[("tmp/f", "5")]).as_slice(), "/tmp/f", &folder.path().join("g")).expect("unpacked");
        assert_eq!(read("g"), Some("5".into()));
    }
}
