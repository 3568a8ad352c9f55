//! How the runtime and its network are: known from events, asked when one says that it may have changed.
//!
//! The runtime tells nothing of its health by itself. What may change it does tell: the event subscription comes up
//! or breaks with the connection ([`Link`]), the folder of the network's configuration changes, a call stays without
//! an answer. Each of these leads to a `Status` call; nothing is asked in between.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reeve_client::backoff::{Backoff, retry};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Health, Runtime, RuntimeError};
use crate::file_watch::{FileWatch, WatchFlags};

/// The connection to the runtime, as its event subscription sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not connected yet.
    Connecting,
    /// Connected, for the so-many-th time.
    Up(u64),
    /// Lost, or never reached, and why.
    Down(String),
}

/// Where the network's configuration lies when the runtime does not say.
const DEFAULT_NETWORK_FOLDER: &str = "/etc/cni/net.d";

/// The runtime reads the network's configuration on its own notification of the same change, and may be behind ours
/// by what reading takes. After a change it is asked again after these waits, doubling, until its answer is another
/// one or they are used up: a few seconds. Then it is asked no more.
const SETTLE: Duration = Duration::from_millis(2);
const SETTLE_TRIES: u32 = 11;

/// Between questions to a runtime that does not answer them. Each one waits for its answer, so a runtime that goes on
/// after a pause is heard at once.
const UNANSWERED: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2) };

/// Follows the runtime's health and tells changes.
pub struct HealthKeeper {
    runtime: Runtime,
    link: watch::Receiver<Link>,
    told: watch::Sender<Health>,
    network: Option<FileWatch>,
}

impl HealthKeeper {
    /// A keeper, and where it tells the health.
    pub fn new(runtime: Runtime, link: watch::Receiver<Link>) -> (Self, watch::Receiver<Health>) {
        let unknown = Health {
            runtime_problem: Some("container runtime status check may not have completed yet".into()),
            network_problem: None,
        };
        let (told, health) = watch::channel(unknown);
        (Self { runtime, link, told, network: None }, health)
    }

    /// Follows until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            let mut settling = SETTLE_TRIES;
            loop {
                let up = matches!(*self.link.borrow(), Link::Up(_));
                let settles = up && settling < SETTLE_TRIES;
                let network = async {
                    match &self.network {
                        Some(watch) => watch.changed().await,
                        None => pending().await,
                    }
                };
                let mut link = self.link.clone();
                tokio::select! {
                    changed = link.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        settling = 0;
                    }
                    changed = network => {
                        if let Err(error) = changed {
                            tracing::warn!(%error, "the network's configuration can no longer be watched");
                            self.network = None;
                        }
                        settling = 0;
                    }
                    () = self.runtime.doubted() => settling = SETTLE_TRIES,
                    () = tokio::time::sleep(SETTLE * (1 << settling)), if settles => settling += 1,
                }
                let now = self.link.borrow_and_update().clone();
                let changed = match now {
                    Link::Connecting => false,
                    Link::Down(error) => self.tell(unreachable(&error)),
                    Link::Up(_) => self.ask().await,
                };
                if changed {
                    settling = SETTLE_TRIES;
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    /// Asks the runtime until it answers or the connection changes; returns whether the answer is another one.
    async fn ask(&mut self) -> bool {
        if self.network.is_none() {
            self.watch_network().await;
        }
        let health = match self.runtime.health().await {
            Ok(health) => health,
            Err(error) => {
                self.tell(unreachable(&error.to_string()));
                let mut link = self.link.clone();
                tokio::select! {
                    health = retry(UNANSWERED, "the runtime's status", || self.runtime.health()) => health,
                    _ = link.changed() => return false,
                }
            }
        };
        self.tell(health)
    }

    /// Watches the folder of the network's configuration. It must be watched before the runtime is asked: what
    /// changes afterwards is told.
    async fn watch_network(&mut self) {
        let folder = match self.runtime.network_folder().await {
            Ok(folder) => folder.unwrap_or_else(|| PathBuf::from(DEFAULT_NETWORK_FOLDER)),
            Err(error) => {
                tracing::debug!(%error, "the runtime does not say where its network's configuration is");
                return;
            }
        };
        match watch_folder(&folder) {
            Ok(watch) => {
                tracing::debug!(folder = %folder.display(), "watching the network's configuration");
                self.network = Some(watch);
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "the network's configuration cannot be watched");
            }
        }
    }

    /// Tells the health where it is another one.
    fn tell(&self, health: Health) -> bool {
        self.told.send_if_modified(|known| {
            if *known == health {
                return false;
            }
            match (&health.runtime_problem, &health.network_problem) {
                (None, None) => tracing::info!("the container runtime and its network are ready"),
                (Some(problem), _) | (None, Some(problem)) => {
                    tracing::warn!(%problem, "the container runtime is not ready");
                }
            }
            *known = health;
            true
        })
    }
}

fn watch_folder(folder: &Path) -> std::io::Result<FileWatch> {
    std::fs::create_dir_all(folder)?;
    let watch = FileWatch::new()?;
    let files_change = WatchFlags::CREATE | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE;
    watch.add(folder, files_change | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM)?;
    Ok(watch)
}

fn unreachable(error: &str) -> Health {
    Health {
        runtime_problem: Some(format!("container runtime is down: {error}")),
        network_problem: Some("the container runtime does not answer".into()),
    }
}

impl Runtime {
    /// Where the runtime reads its network's configuration, from the verbose status; `None` where it does not say.
    async fn network_folder(&self) -> Result<Option<PathBuf>, RuntimeError> {
        Ok(self.setting("/cni/confDir").await?.map(PathBuf::from))
    }

    /// The image that the runtime makes sandboxes of, from the verbose status; `None` where it does not say.
    pub async fn sandbox_image(&self) -> Result<Option<String>, RuntimeError> {
        self.setting("/sandboxImage").await
    }

    pub(super) async fn setting(&self, pointer: &str) -> Result<Option<String>, RuntimeError> {
        let info = self.status_info().await?;
        let config = info.get("config").and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        let setting = config.as_ref().and_then(|it| it.pointer(pointer)).and_then(|it| it.as_str());
        Ok(setting.filter(|it| !it.is_empty()).map(str::to_owned))
    }
}
