//! One call, sent again when the server says when to come again.

use std::time::Duration;

use reeve_proto::v1::api_client::ApiClient;
use tonic::{Response, Status};

use crate::api::Client;
use crate::channel::AuthenticatedChannel;
use crate::error::Error;

/// How often a call is sent again; as upstream's client.
const AGAIN_MAX: u32 = 10;

impl Client {
    /// Sends a call of the API service.
    ///
    /// # Errors
    /// As for [`Client::again`].
    pub(crate) async fn call<Q: Clone, A, F>(
        &self,
        request: Q,
        send: impl Fn(ApiClient<AuthenticatedChannel>, Q) -> F,
    ) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.again(|| send(self.grpc(), request.clone())).await
    }

    /// Sends a call. A server that is starting, overloaded, or without its store says so, did nothing, and names a
    /// time after which to come again: that is done here, some times, so that no caller has to.
    ///
    /// # Errors
    /// The last answer; or the server could not be reached, of which nobody knows what it did.
    pub(crate) async fn again<A, F>(&self, send: impl Fn() -> F) -> Result<A, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut sent = 0;
        loop {
            let error = match send().await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => self.failed(status),
            };
            match again_after(&error).filter(|_| sent < AGAIN_MAX) {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(error),
            }
            sent += 1;
        }
    }
}

/// When to come again, if the server said so.
fn again_after(error: &Error) -> Option<Duration> {
    let seconds = error.status()?.retry_after_seconds().filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use reeve_api::{Reason, StatusError};

    use super::*;

    #[test]
    fn only_what_the_server_says_counts() {
        let later = Error::from(StatusError::unavailable("the server is starting", 2));
        assert_eq!(again_after(&later), Some(Duration::from_secs(2)));
        let never = Error::from(StatusError::new(Reason::ServiceUnavailable, "no such luck"));
        assert_eq!(again_after(&never), None);
        let unreached = Error::Transport { server: "127.0.0.1".to_owned(), message: "refused".to_owned() };
        assert_eq!(again_after(&unreached), None);
    }
}
