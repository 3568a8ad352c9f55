//! Makes the node's routes and tunnel what the plan says, in an order that leaves no way without its next step.

use super::link::{LinkError, Links};
use super::routes::{self, Changes, Hop, Plan};

/// What was done.
#[derive(Debug)]
pub struct Applied {
    /// The routes that changed.
    pub changes: Changes,
    /// Why the tunnel is not as it should be. The nodes on the link are reached nevertheless.
    pub tunnel: Result<(), LinkError>,
}

impl Links {
    /// Makes routes and tunnel what the plan says; the tunnel's datagrams go to the UDP port `port`.
    pub async fn apply(&self, plan: &Plan, port: u16) -> Result<Applied, LinkError> {
        let mut tunnel = match &plan.tunnel {
            Some(tunnel) => self.open_tunnel(tunnel, port).await,
            None => Ok(()),
        };
        let existing = self.routes().await?;
        let mut wanted = plan.routes.clone();
        if tunnel.is_err() {
            wanted.retain(|network, hop| matches!(hop, Hop::Link(_)) || existing.get(network) == Some(hop));
        }
        let changes = routes::changes(&existing, &wanted);
        self.change(&changes).await?;
        if tunnel.is_ok() {
            tunnel = self.close_tunnel(plan.tunnel.as_ref()).await;
        }
        Ok(Applied { changes, tunnel })
    }
}
