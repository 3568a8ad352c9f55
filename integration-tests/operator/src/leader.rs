//! One copy works at a time: it holds a Lease.

use jiff::{Timestamp, ToSpan};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

/// The Lease's name.
pub const LEASE: &str = "site-operator";
/// For how long an unrenewed Lease is still its holder's.
const SECONDS: i32 = 15;

/// Takes the Lease or renews it: true if this copy holds it afterwards.
///
/// # Errors
/// The API refuses for another reason than that somebody else was faster.
pub async fn acquire(leases: &Api<Lease>, identity: &str, now: Timestamp) -> kube::Result<bool> {
    let spec = |since: Timestamp, transitions: i32| LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(SECONDS),
        acquire_time: Some(MicroTime(since)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    };
    let written = match leases.get_opt(LEASE).await? {
        None => {
            let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
            leases.create(&PostParams::default(), &Lease { metadata, spec: Some(spec(now, 0)) }).await
        }
        Some(mut lease) => {
            let held = lease.spec.take().unwrap_or_default();
            let is_mine = held.holder_identity.as_deref() == Some(identity);
            let until = held.renew_time.map_or(Timestamp::MIN, |renewed| renewed.0);
            if !is_mine && until.checked_add(SECONDS.seconds()).is_ok_and(|until| until > now) {
                return Ok(false);
            }
            let since = if is_mine { held.acquire_time.map_or(now, |since| since.0) } else { now };
            lease.spec = Some(spec(since, held.lease_transitions.unwrap_or_default() + i32::from(!is_mine)));
            leases.replace(LEASE, &PostParams::default(), &lease).await
        }
    };
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
