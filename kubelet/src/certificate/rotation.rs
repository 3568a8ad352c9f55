//! When a certificate is renewed, and the task that renews it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reeve_client::Client;
use reeve_client::backoff::{Backoff, retry};
use tokio::sync::watch;

use super::request::{self, Naming};
use super::store::{Store, Validity, new_key};
use super::{CertificateError, Purpose};

/// Between requests that failed: certificates are renewed long before they end.
const BACKOFF: Backoff = Backoff { base: Duration::from_secs(2), cap: Duration::from_secs(300) };

/// The moment of renewal: after 70 to 90 % of the certificate's life, `unit` in `[0, 1)` says where between, so that
/// the nodes of a cluster do not all ask at once. Signers backdate what they sign: the life of a certificate that this
/// process has got begins then.
pub fn renewal(validity: Validity, got: Option<Timestamp>, unit: f64) -> Timestamp {
    let begin = got.map_or(validity.not_before, |got| got.max(validity.not_before));
    let life = validity.not_after.duration_since(begin);
    let part = 0.7 + 0.2 * unit.clamp(0.0, 1.0);
    let wait = SignedDuration::try_from_secs_f64((life.as_secs_f64() * part).round()).unwrap_or(SignedDuration::ZERO);
    begin.saturating_add(wait.max(SignedDuration::ZERO)).unwrap_or(validity.not_after)
}

/// Keeps the certificate of one purpose valid.
pub struct Rotation {
    /// Who asks.
    pub client: Client,
    /// The node's name.
    pub node: String,
    /// What the certificate is for.
    pub purpose: Purpose,
    /// Where it lies.
    pub store: Store,
    /// Told that there is a certificate.
    pub present: watch::Sender<bool>,
}

impl Rotation {
    /// Renews for ever.
    ///
    /// # Errors
    /// The certificate that is there cannot be read.
    pub async fn run(self) -> Result<(), CertificateError> {
        let mut validity = self.store.validity()?.filter(|it| it.not_after > Timestamp::now());
        let mut got = None;
        loop {
            if let Some(validity) = validity {
                self.present.send_replace(true);
                let due = renewal(validity, got, rand::random());
                tracing::info!(purpose = self.purpose.prefix(), ends = %validity.not_after, renewed = %due, "certificate");
                let wait = due.duration_since(Timestamp::now());
                tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
            }
            validity = Some(retry(BACKOFF, "renewing the kubelet's certificate", || self.renew()).await);
            got = Some(Timestamp::now());
        }
    }

    async fn renew(&self) -> Result<Validity, CertificateError> {
        let key = new_key()?;
        let chain = request::certificate(&self.client, &self.node, &self.purpose, &key, Naming::Generated).await?;
        self.store.put(&chain, &key, Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_between_seven_and_nine_tenths_of_life() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let year = Validity { not_before: at("2026-01-01T00:00:00Z"), not_after: at("2026-04-11T00:00:00Z") };
        assert_eq!(renewal(year, None, 0.0), at("2026-03-12T00:00:00Z"));
        assert_eq!(renewal(year, None, 1.0), at("2026-04-01T00:00:00Z"));
        // Backdated by five minutes, got now, valid for a minute: not due at once.
        let short = Validity { not_before: at("2026-01-01T00:00:00Z"), not_after: at("2026-01-01T00:06:00Z") };
        let got = at("2026-01-01T00:05:00Z");
        assert_eq!(renewal(short, Some(got), 0.0), at("2026-01-01T00:05:42Z"));
        assert!(renewal(short, None, 0.0) < got);
        // One that has ended already is due.
        assert!(renewal(short, Some(at("2026-01-02T00:00:00Z")), 0.5) <= at("2026-01-02T00:00:00Z"));
    }
}
