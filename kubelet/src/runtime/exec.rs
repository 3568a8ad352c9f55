//! A further process in a container, through containerd's task service.
//!
//! CRI's `Exec` answers with the address of a streaming server that speaks SPDY, or a WebSocket protocol
//! without a way to close stdin (`v4.channel.k8s.io`; the fifth version came with containerd 2). The task
//! service gives stdin, its closing, a terminal with resizing and the exit code on every version, over the
//! socket that the kubelet has anyway. The process is the container's own (user, environment, capabilities,
//! folder) with another command.

use std::path::PathBuf;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, GetContainerRequest, KillRequest, ResizePtyRequest,
    StartRequest, WaitRequest,
};
use serde_json::{Value, json};
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};
use tonic::Request;
use tonic::transport::Channel;

use super::{NAMESPACE, Runtime, RuntimeError, refused};

/// The type of the spec that runc's shim expects.
const PROCESS_TYPE_URL: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
const SIGKILL: u32 = 9;

/// What to run and which streams to join.
#[derive(Clone, Debug)]
pub struct ExecSpec {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Whether input is sent.
    pub stdin: bool,
    /// Whether the process gets a terminal; standard error then comes with standard output.
    pub tty: bool,
}

/// Why a process cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The runtime refused a call.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The process could not be started, in the words of the runtime's own streaming server.
    #[error("{0}")]
    Start(String),
    /// A pipe for the streams could not be made.
    #[error("exec streams in {path}: {source}")]
    Streams {
        /// The folder of the pipes.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The container's own definition cannot be read.
    #[error("container {id} has no readable process definition: {message}")]
    Definition {
        /// The container's id.
        id: String,
        /// What is wrong.
        message: String,
    },
}

/// A process that runs in a container. [`ExecProcess::finish`] must be called to release it.
pub struct ExecProcess {
    /// Input, when it was asked for.
    pub stdin: Option<Sender>,
    /// Standard output.
    pub stdout: Receiver,
    /// Standard error; absent with a terminal.
    pub stderr: Option<Receiver>,
    /// Resizes, closes and waits.
    pub control: ExecControl,
}

/// Acts on a running process. Cheap to clone.
#[derive(Clone)]
pub struct ExecControl {
    tasks: TasksClient<Channel>,
    container_id: String,
    exec_id: String,
    folder: PathBuf,
}

pub(super) fn in_namespace<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", tonic::metadata::MetadataValue::from_static(NAMESPACE));
    request
}

impl Runtime {
    /// Starts a process in a container, with its pipes in a new folder below `base`.
    pub async fn exec(
        &self,
        container_id: &str,
        spec: &ExecSpec,
        base: &std::path::Path,
    ) -> Result<ExecProcess, ExecError> {
        let exec_id = uuid::Uuid::new_v4().simple().to_string();
        let process = self.process_definition(container_id, spec).await?;
        let folder = base.join(&exec_id);
        let io_error = |source| ExecError::Streams { path: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(io_error)?;
        let mut control = ExecControl {
            tasks: TasksClient::new(self.channel()),
            container_id: container_id.to_owned(),
            exec_id: exec_id.clone(),
            folder: folder.clone(),
        };
        let started = control.start(process, spec).await;
        match started {
            Ok((stdin, stdout, stderr)) => Ok(ExecProcess { stdin, stdout, stderr, control }),
            Err(error) => {
                control.remove_folder();
                Err(error)
            }
        }
    }

    /// Waits for the end of a container's first process.
    pub async fn wait(&self, container_id: &str) -> Result<(), RuntimeError> {
        let request = WaitRequest { container_id: container_id.to_owned(), exec_id: String::new() };
        TasksClient::new(self.channel()).wait(in_namespace(request)).await.map(|_| ()).map_err(refused("Wait"))
    }

    /// Sets the size of the terminal of a container's first process.
    pub async fn resize(&self, container_id: &str, width: u32, height: u32) -> Result<(), RuntimeError> {
        let request = ResizePtyRequest { container_id: container_id.to_owned(), exec_id: String::new(), width, height };
        let mut tasks = TasksClient::new(self.channel());
        tasks.resize_pty(in_namespace(request)).await.map(|_| ()).map_err(refused("ResizePty"))
    }

    /// The container's process with another command.
    async fn process_definition(&self, container_id: &str, spec: &ExecSpec) -> Result<Value, ExecError> {
        let request = in_namespace(GetContainerRequest { id: container_id.to_owned() });
        let answer = ContainersClient::new(self.channel()).get(request).await.map_err(refused("GetContainer"))?;
        let bad = |message: &str| ExecError::Definition { id: container_id.to_owned(), message: message.to_owned() };
        let definition = answer.into_inner().container.and_then(|it| it.spec).ok_or_else(|| bad("no spec"))?;
        let definition: Value = serde_json::from_slice(&definition.value).map_err(|error| bad(&error.to_string()))?;
        let mut process = definition.get("process").cloned().ok_or_else(|| bad("no process"))?;
        let fields = process.as_object_mut().ok_or_else(|| bad("the process is no object"))?;
        fields.insert("args".into(), json!(spec.command));
        fields.insert("terminal".into(), json!(spec.tty));
        fields.remove("consoleSize");
        if spec.tty {
            let environment = fields.entry("env").or_insert_with(|| json!([]));
            if let Some(list) = environment.as_array_mut() {
                let has_term = list.iter().any(|it| it.as_str().is_some_and(|text| text.starts_with("TERM=")));
                if !has_term {
                    list.push(json!("TERM=xterm"));
                }
            }
        }
        Ok(process)
    }
}

impl ExecControl {
    async fn start(
        &mut self,
        process: Value,
        spec: &ExecSpec,
    ) -> Result<(Option<Sender>, Receiver, Option<Receiver>), ExecError> {
        use rustix::fs::{CWD, Mode, mkfifoat};
        let folder = self.folder.clone();
        let io_error = |source: std::io::Error| ExecError::Streams { path: folder.clone(), source };
        let make = |name: &str| -> Result<PathBuf, ExecError> {
            let path = folder.join(name);
            mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).map_err(|error| io_error(error.into()))?;
            Ok(path)
        };
        let stdin_path = if spec.stdin { Some(make("stdin")?) } else { None };
        let stdout_path = make("stdout")?;
        let stderr_path = if spec.tty { None } else { Some(make("stderr")?) };
        // Opened without blocking before the shim opens the other ends, read only after the start: by then
        // the shim writes to them, so an end of file is a real one.
        let options = OpenOptions::new();
        let stdout = options.open_receiver(&stdout_path).map_err(io_error)?;
        let stderr = stderr_path.as_ref().map(|path| options.open_receiver(path)).transpose().map_err(io_error)?;
        let text = |path: &Option<PathBuf>| path.as_ref().map(|it| it.display().to_string()).unwrap_or_default();
        let request = ExecProcessRequest {
            container_id: self.container_id.clone(),
            exec_id: self.exec_id.clone(),
            stdin: text(&stdin_path),
            stdout: stdout_path.display().to_string(),
            stderr: text(&stderr_path),
            terminal: spec.tty,
            spec: Some(prost_types::Any { type_url: PROCESS_TYPE_URL.into(), value: process.to_string().into_bytes() }),
        };
        self.tasks.exec(in_namespace(request)).await.map_err(refused("Exec"))?;
        // The shim opens stdin for reading while it starts the process; both ends are needed at once, so ours
        // is opened for both directions.
        let stdin = stdin_path
            .as_ref()
            .map(|path| OpenOptions::new().read_write(true).open_sender(path))
            .transpose()
            .map_err(io_error)?;
        let request = StartRequest { container_id: self.container_id.clone(), exec_id: self.exec_id.clone() };
        if let Err(status) = self.tasks.start(in_namespace(request)).await {
            self.delete().await;
            let (id, message) = (&self.exec_id, status.message());
            return Err(ExecError::Start(format!(
                "failed to exec in container: failed to start exec {id:?}: {message}"
            )));
        }
        Ok((stdin, stdout, stderr))
    }

    /// Waits for the process's end; returns its exit code.
    pub async fn wait(&mut self) -> Result<i32, RuntimeError> {
        let request = WaitRequest { container_id: self.container_id.clone(), exec_id: self.exec_id.clone() };
        let answer = self.tasks.wait(in_namespace(request)).await.map_err(refused("Wait"))?;
        Ok(i32::try_from(answer.into_inner().exit_status).unwrap_or(255))
    }

    /// Sets the size of the terminal.
    pub async fn resize(&mut self, width: u32, height: u32) -> Result<(), RuntimeError> {
        let request =
            ResizePtyRequest { container_id: self.container_id.clone(), exec_id: self.exec_id.clone(), width, height };
        self.tasks.resize_pty(in_namespace(request)).await.map(|_| ()).map_err(refused("ResizePty"))
    }

    /// Tells the process that no input follows. Our own end of the pipe must be closed as well.
    pub async fn close_stdin(&mut self) -> Result<(), RuntimeError> {
        let request =
            CloseIoRequest { container_id: self.container_id.clone(), exec_id: self.exec_id.clone(), stdin: true };
        self.tasks.close_io(in_namespace(request)).await.map(|_| ()).map_err(refused("CloseIO"))
    }

    /// Kills the process, when its user went away.
    pub async fn kill(&mut self) {
        let request = KillRequest {
            container_id: self.container_id.clone(),
            exec_id: self.exec_id.clone(),
            signal: SIGKILL,
            all: false,
        };
        if let Err(status) = self.tasks.kill(in_namespace(request)).await
            && status.code() != tonic::Code::NotFound
        {
            tracing::warn!(container = %self.container_id, error = %status.message(), "an exec process could not be killed");
        }
    }

    /// Releases a process that ended, and its pipes.
    pub async fn finish(&mut self) {
        self.delete().await;
        self.remove_folder();
    }

    async fn delete(&mut self) {
        let request = DeleteProcessRequest { container_id: self.container_id.clone(), exec_id: self.exec_id.clone() };
        if let Err(status) = self.tasks.delete_process(in_namespace(request)).await
            && status.code() != tonic::Code::NotFound
        {
            tracing::warn!(container = %self.container_id, error = %status.message(), "an exec process could not be released");
        }
    }

    fn remove_folder(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(path = %self.folder.display(), %error, "the pipes of an exec could not be removed");
        }
    }
}
