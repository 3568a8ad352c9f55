//! Old flows go beside the syncs, so that a change does not wait until the connection table is read through: that takes
//! half a second where it holds a hundred thousand flows.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use parking_lot::Mutex;
use reeve_client::backoff::Backoff;
use reeve_client::{Next, Queue, Runner, RunnerConfig, runner};
use tokio_util::sync::CancellationToken;

use crate::acknowledge::Acknowledgements;
use crate::conntrack;
use crate::services::FrontendKey;
use crate::services::frontend::Endpoint;

/// What is to be done next.
#[derive(Default)]
struct Due {
    /// Frontends and the endpoints that they have now.
    frontends: BTreeMap<FrontendKey, Vec<Endpoint>>,
    /// The version of EndpointSlices that is acknowledged when their old flows are gone.
    reached: Option<i64>,
}

/// Where it is noted which flows may be old. Cheap to clone.
#[derive(Clone)]
pub struct Flows {
    due: Arc<Mutex<Due>>,
    queue: Queue<()>,
}

/// A place for notes and the runner that works them off.
pub fn flows() -> (Flows, Runner<()>) {
    let (queue, runner) = runner(RunnerConfig { name: "flows", workers: 1, backoff: Backoff::RETRY });
    (Flows { due: Arc::default(), queue }, runner)
}

impl Flows {
    /// Flows of these frontends to other endpoints go; then, and after all that was noted before, the version is
    /// acknowledged.
    pub fn clean(&self, frontends: BTreeMap<FrontendKey, Vec<Endpoint>>, reached: Option<i64>) {
        {
            let mut due = self.due.lock();
            due.frontends.extend(frontends);
            due.reached = due.reached.max(reached);
        }
        self.queue.add(());
    }

    /// Works until shutdown.
    pub async fn run(self, runner: Runner<()>, acknowledgements: Acknowledgements, shutdown: CancellationToken) {
        runner
            .run(shutdown, move |()| {
                let (flows, acknowledgements) = (self.clone(), acknowledgements.clone());
                async move {
                    let Due { frontends, reached } = std::mem::take(&mut *flows.due.lock());
                    clean(&frontends).await;
                    if let Some(reached) = reached {
                        acknowledgements.reached(reached);
                    }
                    Ok::<_, Infallible>(Next::Done)
                }
            })
            .await;
    }
}

async fn clean(frontends: &BTreeMap<FrontendKey, Vec<Endpoint>>) {
    match conntrack::clean(frontends).await {
        Ok(0) => {}
        Ok(kinds) => tracing::info!(kinds, "deleted flows to endpoints that are gone"),
        // The rules are right; only old flows may go astray until they time out.
        Err(error) => tracing::warn!(%error, "flows to endpoints that are gone may remain"),
    }
}
