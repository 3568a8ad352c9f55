//! Leader election on a Lease: at most one of several candidates works at a time.
//!
//! Rules from `k8s.io/client-go/tools/leaderelection`: a holder that has not renewed for the lease duration, by
//! the observer's own clock, may be replaced; a leader that could not renew for the renew deadline stops.
//! Candidates do not poll: they follow the Lease and set a timer for its end.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use reeve_api::ObjectKey;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::Client;
use crate::backoff::Backoff;
use crate::error::Error;
use crate::store::{Store, reflect};
use crate::view::Scope;

/// What is elected, and how patient everyone is.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// The Lease's namespace: `kube-system`.
    pub namespace: String,
    /// The Lease's name: `kube-scheduler`.
    pub name: String,
    /// Names this candidate; must be unique.
    pub identity: String,
    /// How long a silent holder keeps the lease.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it stops.
    pub renew_deadline: Duration,
    /// How long between attempts.
    pub retry_period: Duration,
}

impl LeaseConfig {
    /// Upstream's defaults: 15 s, 10 s, 2 s.
    pub fn new(namespace: &str, name: &str, identity: String) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// A candidate.
pub struct LeaderElector {
    client: Client,
    config: LeaseConfig,
}

/// What a candidate may do, given the Lease and when its present state was first seen.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nobody holds it: take it.
    Take,
    /// Wait for a change, at most so long.
    Wait(Duration),
}

fn judge(lease: Option<&Lease>, config: &LeaseConfig, seen_for: Duration) -> Verdict {
    let Some(spec) = lease.and_then(|lease| lease.spec.as_ref()) else {
        return Verdict::Take;
    };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder.is_empty() || holder == config.identity {
        return Verdict::Take;
    }
    let patience = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(config.lease_duration, Duration::from_secs);
    match patience.checked_sub(seen_for) {
        Some(rest) if !rest.is_zero() => Verdict::Wait(rest),
        _ => Verdict::Take,
    }
}

/// The Lease that a candidate writes over `old`.
fn claim(old: Option<&Lease>, config: &LeaseConfig, now: Timestamp) -> Lease {
    let mut lease = old.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(config.name.clone()),
            namespace: Some(config.namespace.clone()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if spec.holder_identity.as_deref() != Some(&config.identity) {
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
        spec.acquire_time = Some(MicroTime(now));
        spec.holder_identity = Some(config.identity.clone());
    }
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = Some(i32::try_from(config.lease_duration.as_secs()).unwrap_or(i32::MAX));
    lease
}

/// The right to work. Work only while [`Leadership::lost`] is not cancelled.
pub struct Leadership {
    /// Cancelled when another may lead.
    pub lost: CancellationToken,
    renewal: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Leadership {
    /// Gives the lease back, so that another candidate need not wait for its end.
    pub async fn release(self) {
        self.stop.cancel();
        if let Err(error) = self.renewal.await {
            tracing::error!(%error, "the renewal of the lease failed");
        }
    }
}

impl LeaderElector {
    /// A candidate that has not tried yet.
    pub fn new(client: Client, config: LeaseConfig) -> Self {
        Self { client, config }
    }

    /// Waits until this candidate leads; `None` when `shutdown` comes first.
    pub async fn acquire(self, shutdown: &CancellationToken) -> Option<Leadership> {
        let (changed, mut changes) = tokio::sync::watch::channel(Instant::now());
        let scope =
            Scope::all().namespace(&self.config.namespace).fields(&format!("metadata.name={}", self.config.name));
        let store: Store<Lease> = reflect(&self.client, scope, move |_| {
            changed.send_replace(Instant::now());
        });
        let key = ObjectKey::new(&self.config.namespace, &self.config.name);
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = store.wait_synced() => {}
        }
        let mut failures = 0;
        let lease = loop {
            let seen_at = *changes.borrow_and_update();
            let lease = store.get(&key);
            let wait = match judge(lease.as_deref(), &self.config, seen_at.elapsed()) {
                Verdict::Wait(wait) => {
                    let holder = lease.as_ref().and_then(|lease| lease.spec.as_ref()?.holder_identity.clone());
                    tracing::debug!(lease = %key, ?holder, "another candidate leads");
                    wait
                }
                Verdict::Take => match self.write(lease.as_deref()).await {
                    Ok(lease) => break lease,
                    Err(error) => {
                        if !error.is_conflict() && !error.is_already_exists() {
                            tracing::warn!(lease = %key, %error, "cannot take the lease");
                        }
                        failures += 1;
                        let pace = Backoff { base: Duration::from_millis(100), cap: self.config.retry_period };
                        pace.delay(failures, rand::random())
                    }
                },
            };
            tokio::select! {
                () = shutdown.cancelled() => return None,
                changed = changes.changed() => if changed.is_err() { return None },
                () = tokio::time::sleep(wait) => {}
            }
        };
        tracing::info!(lease = %key, identity = %self.config.identity, "leading");
        let lost = CancellationToken::new();
        let stop = CancellationToken::new();
        let renewal = tokio::spawn(self.renew(lease, lost.clone(), stop.clone()));
        Some(Leadership { lost, renewal, stop })
    }

    async fn write(&self, old: Option<&Lease>) -> Result<Lease, Error> {
        let leases = self.client.namespaced::<Lease>(&self.config.namespace);
        let lease = claim(old, &self.config, Timestamp::now());
        match old {
            None => leases.create(&lease).await,
            Some(_) => leases.update(&lease).await,
        }
    }

    async fn renew(self, mut lease: Lease, lost: CancellationToken, stop: CancellationToken) {
        let _cancel_on_exit = lost.clone().drop_guard();
        let leases = self.client.namespaced::<Lease>(&self.config.namespace);
        let mut given_up_at = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.config.retry_period) => {}
            }
            // From the first try on, as upstream counts: after a standstill of the whole machine there is time to
            // try. Should another have taken the lease meanwhile, the write conflicts.
            let deadline = *given_up_at.get_or_insert_with(|| Instant::now() + self.config.renew_deadline);
            match tokio::time::timeout_at(deadline, self.write(Some(&lease))).await {
                Ok(Ok(written)) => {
                    lease = written;
                    given_up_at = None;
                    continue;
                }
                Ok(Err(error)) if error.is_conflict() || error.is_not_found() => {
                    // Someone else wrote it, or our own write was not acknowledged. Look who holds it.
                    match leases.get_opt(&self.config.name).await {
                        Ok(Some(current)) if holds(&current, &self.config.identity) => {
                            lease = current;
                            continue;
                        }
                        Ok(Some(current)) => {
                            let holder = current.spec.and_then(|spec| spec.holder_identity);
                            tracing::error!(name = %self.config.name, ?holder, "the lease was taken by another");
                            return;
                        }
                        Ok(None) => {
                            tracing::error!(name = %self.config.name, "the lease was deleted");
                            return;
                        }
                        Err(error) => tracing::warn!(name = %self.config.name, %error, "cannot read the lease"),
                    }
                }
                Ok(Err(error)) => tracing::warn!(name = %self.config.name, %error, "cannot renew the lease"),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                tracing::error!(name = %self.config.name, "the lease was lost: no renewal before the deadline");
                return;
            }
        }
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        match leases.update(&lease).await {
            Ok(_) => tracing::info!(name = %self.config.name, "the lease is released"),
            Err(error) => tracing::warn!(name = %self.config.name, %error, "cannot release the lease"),
        }
    }
}

fn holds(lease: &Lease, identity: &str) -> bool {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(identity: &str) -> LeaseConfig {
        LeaseConfig::new("kube-system", "test", identity.to_owned())
    }

    #[test]
    fn a_silent_holder_keeps_the_lease_for_its_duration_only() {
        let held = claim(None, &config("a"), Timestamp::UNIX_EPOCH);
        let seconds = Duration::from_secs;
        assert_eq!(judge(Some(&held), &config("b"), seconds(4)), Verdict::Wait(seconds(11)));
        assert_eq!(judge(Some(&held), &config("b"), seconds(15)), Verdict::Take);
        assert_eq!(judge(Some(&held), &config("a"), seconds(0)), Verdict::Take);
        assert_eq!(judge(None, &config("b"), seconds(0)), Verdict::Take);
    }

    #[test]
    fn transitions_are_counted() {
        let first = claim(None, &config("a"), Timestamp::UNIX_EPOCH);
        let renewed = claim(Some(&first), &config("a"), Timestamp::from_second(9).unwrap());
        let second = claim(Some(&renewed), &config("b"), Timestamp::from_second(60).unwrap());
        let spec = second.spec.unwrap();
        assert_eq!(renewed.spec.unwrap().lease_transitions, Some(0));
        assert_eq!(spec.lease_transitions, Some(1));
        assert_eq!(spec.acquire_time.unwrap().0.as_second(), 60);
    }
}
