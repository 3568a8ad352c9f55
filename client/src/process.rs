//! What every binary starts with: flags, logs, signals.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::api::Client;
use crate::config::ConfigError;

/// Flags about logs, with upstream's names.
#[derive(Clone, Debug, clap::Args)]
pub struct LogOptions {
    /// Number for the log level verbosity: 0 information, 4 debug, 6 trace (RUST_LOG overrides it)
    #[arg(short = 'v', long = "v", default_value_t = 0, value_name = "LEVEL")]
    pub verbosity: u8,
    /// Sets the log format
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub logging_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The flag that says how to reach the API server.
#[derive(Clone, Debug, clap::Args)]
pub struct KubeconfigOptions {
    /// Path to a kubeconfig file, specifying how to connect to the API server
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
}

impl KubeconfigOptions {
    /// The client that the file describes. It goes on with new credentials when the file, or one that it names, is
    /// replaced. Must be called inside a tokio runtime.
    pub fn client(&self) -> Result<Client, ConfigError> {
        Client::following(&self.kubeconfig)
    }
}

/// Sends logs to standard error, with the level that the flags or `RUST_LOG` ask for. A second call does nothing.
pub fn init_logging(options: &LogOptions) {
    let level = match options.verbosity {
        0..=3 => "info",
        4..=5 => "debug",
        _ => "trace",
    };
    // Libraries are interesting only when they warn.
    let default = format!("{level},h2=warn,hyper=warn,rustls=warn,tower=warn,tonic=warn,hyper_util=warn");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match options.logging_format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    if let Err(error) = installed {
        tracing::debug!(%error, "logging is already set up");
    }
}

/// A token that is cancelled by SIGTERM or SIGINT. Must be called inside a tokio runtime.
pub fn shutdown_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "shutting down");
        cancelled.cancel();
    });
    Ok(token)
}

/// A name that no other process has: host and a random part.
pub fn unique_identity(host: &str) -> String {
    format!("{host}_{}", uuid::Uuid::new_v4())
}
