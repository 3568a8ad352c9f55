//! Reads one request, asks about its asker, signs, and performs what is decided.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use reeve_api::ObjectKey;
use reeve_client::Next;

use super::sign::Decision;
use super::{approve, clean, sign};
use crate::manager::{Context, TurnError};

/// One turn of the approver.
pub async fn approve_turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let Some(csr) = context.stores.certificate_requests.get(&key) else { return Ok(Next::Done) };
    let recognized = match approve::recognize(&csr) {
        Ok(recognized) => recognized,
        Err(error) => {
            tracing::warn!(csr = key.name, error, "unable to parse csr");
            return Ok(Next::Done);
        }
    };
    for one in &recognized {
        let reviews = context.executor.client().all::<SubjectAccessReview>();
        let answer = reviews.create(&approve::question(&csr, *one)).await?;
        if answer.status.is_some_and(|status| status.allowed) {
            return context.perform(vec![approve::approve(&csr, *one, Timestamp::now())]).await;
        }
    }
    if !recognized.is_empty() {
        let tried: Vec<&str> = recognized.iter().map(|one| one.permission).collect();
        return Err(TurnError::NotApproved { name: key.name.clone(), tried: tried.join(" ") });
    }
    Ok(Next::Done)
}

/// One turn of the signer.
pub async fn sign_turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let Some(signer) = &context.settings.signer else { return Ok(Next::Done) };
    let Some(csr) = context.stores.certificate_requests.get(&key) else { return Ok(Next::Done) };
    let failed = |why: String| TurnError::NotSigned { name: key.name.clone(), why };
    let decision = sign::decide(&csr, signer.longest, signer.authority.ends, Timestamp::now()).map_err(failed)?;
    let action = match decision {
        Decision::Leave => return Ok(Next::Done),
        Decision::Fail(action) => *action,
        Decision::Sign(template) => {
            // Positive, as serial numbers must be.
            let mut serial: [u8; 16] = rand::random();
            serial[0] = serial[0] & 0x7f | 0x40;
            let certificate = signer.authority.make(&template, serial).map_err(|error| failed(error.to_string()))?;
            sign::issued(&csr, certificate)
        }
    };
    context.perform(vec![action]).await
}

/// One turn of the cleaner.
pub async fn clean_turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let Some(csr) = context.stores.certificate_requests.get(&key) else { return Ok(Next::Done) };
    context.perform(clean::reconcile(&csr, Timestamp::now()).into_iter().collect()).await
}
