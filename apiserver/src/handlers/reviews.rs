//! Questions about who somebody is and what he may do. They are answered and not stored.

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{
    SelfSubjectReview, SelfSubjectReviewStatus, TokenReview, TokenReviewStatus, UserInfo,
};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, NonResourceRule, ResourceAttributes as AskedAttributes,
    ResourceRule, SelfSubjectAccessReview, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus, SubjectRulesReviewStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::StatusError;
use reeve_api::validation::{BadValue, ErrorList, Path};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::decoding::decode_body;
use super::{Handlers, ObjectAnswer, WriteOptions};
use crate::authorization::{ApplyingRules, Attributes, Decision, On, ResourceAttributes};
use crate::registry::{Review, Row};
use crate::request::{Target, User};

impl Handlers {
    /// Answers a question.
    pub(super) fn review(
        &self,
        user: &User,
        row: &Row,
        review: Review,
        target: &Target,
        body: &Bytes,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        // For unknown fields and wrong types, as with every kind.
        let warnings = decode_body(row, body, options)?.warnings;
        let answer = match review {
            Review::Token => self.review_token(read(body)?)?,
            Review::SelfSubject => encoded(&self_subject(user, self.now()))?,
            Review::SubjectAccess => self.review_subject_access(read(body)?)?,
            Review::LocalSubjectAccess => self.review_local_access(target, read(body)?)?,
            Review::SelfSubjectAccess => self.review_own_access(user, read(body)?)?,
            Review::SelfSubjectRules => self.review_own_rules(user, read(body)?)?,
        };
        Ok(ObjectAnswer { warnings, created: true, ..ObjectAnswer::unstored(answer) })
    }

    fn review_token(&self, mut review: TokenReview) -> Result<Vec<u8>, StatusError> {
        let token = review.spec.token.as_str();
        if token.is_empty() {
            return Err(StatusError::bad_request("token is required for TokenReview in authentication"));
        }
        let audiences = review.spec.audiences.as_deref().unwrap_or_default();
        let status = match self.authenticator().of_token(token, audiences, self.now()) {
            Ok((user, audiences)) => TokenReviewStatus {
                authenticated: Some(true),
                user: Some(user_info(&user)),
                audiences: Some(audiences),
                error: None,
            },
            Err(error) => TokenReviewStatus {
                user: Some(UserInfo::default()),
                error: Some(error.to_string()),
                ..TokenReviewStatus::default()
            },
        };
        review.status = Some(status);
        encoded(&review)
    }

    fn decide(
        &self,
        user: &User,
        resource: Option<&AskedAttributes>,
        path: Option<&NonResourceAttributes>,
    ) -> SubjectAccessReviewStatus {
        fn text(text: Option<&String>) -> &str {
            text.map(String::as_str).unwrap_or_default()
        }
        let fields = resource.map(field_text).unwrap_or_default();
        let (verb, on) = match (resource, path) {
            (Some(asked), _) => {
                let on = ResourceAttributes {
                    group: text(asked.group.as_ref()),
                    resource: text(asked.resource.as_ref()),
                    subresource: text(asked.subresource.as_ref()),
                    namespace: text(asked.namespace.as_ref()),
                    name: text(asked.name.as_ref()),
                    fields: &fields,
                };
                (text(asked.verb.as_ref()), On::Resource(on))
            }
            (None, Some(asked)) => (text(asked.verb.as_ref()), On::Path(text(asked.path.as_ref()))),
            (None, None) => ("", On::Path("")),
        };
        let said = |reason: &str| Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        match self.authorizer().authorize(&Attributes { user, verb, on }) {
            Decision::Allow(reason) => {
                SubjectAccessReviewStatus { allowed: true, reason: said(&reason), ..Default::default() }
            }
            Decision::Deny(reason) => {
                SubjectAccessReviewStatus { denied: Some(true), reason: said(&reason), ..Default::default() }
            }
            Decision::NoOpinion(reason) => SubjectAccessReviewStatus { reason: said(&reason), ..Default::default() },
        }
    }

    fn review_subject_access(&self, mut review: SubjectAccessReview) -> Result<Vec<u8>, StatusError> {
        review.status = Some(self.decide_for(&review.spec)?);
        encoded(&review)
    }

    fn decide_for(&self, spec: &SubjectAccessReviewSpec) -> Result<SubjectAccessReviewStatus, StatusError> {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        exactly_one(spec.resource_attributes.is_some(), spec.non_resource_attributes.is_some(), &path, &mut errors);
        let groups = spec.groups.clone().unwrap_or_default();
        if spec.user.as_deref().unwrap_or_default().is_empty() && groups.is_empty() {
            let why = "at least one of user or group must be specified";
            errors.invalid(&path.child("user"), spec.user.clone().unwrap_or_default(), why);
        }
        refuse(errors)?;
        let user = User {
            name: spec.user.clone().unwrap_or_default(),
            uid: spec.uid.clone().unwrap_or_default(),
            groups,
            extra: spec.extra.clone().unwrap_or_default(),
        };
        Ok(self.decide(&user, spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref()))
    }

    fn review_local_access(
        &self,
        target: &Target,
        mut review: LocalSubjectAccessReview,
    ) -> Result<Vec<u8>, StatusError> {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        if review.spec.non_resource_attributes.is_some() {
            errors.invalid(
                &path.child("nonResourceAttributes"),
                BadValue::json(&review.spec.non_resource_attributes),
                "disallowed on this kind of request",
            );
            refuse(errors)?;
        }
        let namespace = review.spec.resource_attributes.as_ref().and_then(|asked| asked.namespace.as_deref());
        if review.spec.resource_attributes.is_some() && namespace.unwrap_or_default() != target.namespace {
            return Err(StatusError::bad_request(format!(
                "spec.resourceAttributes.namespace must match namespace: {}",
                target.namespace
            )));
        }
        review.metadata.namespace = Some(target.namespace.clone());
        review.status = Some(self.decide_for(&review.spec)?);
        encoded(&review)
    }

    fn review_own_access(&self, user: &User, mut review: SelfSubjectAccessReview) -> Result<Vec<u8>, StatusError> {
        let mut errors = ErrorList::new();
        let spec = &review.spec;
        let (resource, path) = (spec.resource_attributes.as_ref(), spec.non_resource_attributes.as_ref());
        exactly_one(resource.is_some(), path.is_some(), &Path::new("spec"), &mut errors);
        refuse(errors)?;
        review.status = Some(self.decide(user, resource, path));
        encoded(&review)
    }

    fn review_own_rules(&self, user: &User, mut review: SelfSubjectRulesReview) -> Result<Vec<u8>, StatusError> {
        let namespace = review.spec.namespace.as_deref().unwrap_or_default();
        if namespace.is_empty() {
            return Err(StatusError::bad_request("no namespace on request"));
        }
        review.status = Some(rules_status(self.authorizer().rules(user, namespace)));
        review.spec = SelfSubjectRulesReviewSpec::default();
        encoded(&review)
    }
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, StatusError> {
    serde_json::from_slice(body).map_err(|error| StatusError::bad_request(error.to_string()))
}

fn encoded(review: &impl Serialize) -> Result<Vec<u8>, StatusError> {
    serde_json::to_vec(review).map_err(StatusError::internal)
}

/// Upstream names no kind in these errors.
fn refuse(errors: ErrorList) -> Result<(), StatusError> {
    if errors.is_empty() {
        return Ok(());
    }
    let mut error = StatusError::invalid("authorization.k8s.io", "", "", errors.into_causes());
    if let Some(details) = &mut error.details {
        details.kind = None;
    }
    Err(error)
}

fn exactly_one(resource: bool, path: bool, at: &Path<'_>, errors: &mut ErrorList) {
    let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
    match (resource, path) {
        (false, false) => {
            errors.invalid(&at.child("resourceAttributes"), BadValue::json(&serde_json::Value::Null), why);
        }
        (true, true) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.invalid(&at.child("nonResourceAttributes"), BadValue::json(&serde_json::Value::Null), why);
        }
        _ => {}
    }
}

fn user_info(user: &User) -> UserInfo {
    UserInfo {
        username: Some(user.name.clone()),
        uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
        groups: Some(user.groups.clone()).filter(|groups| !groups.is_empty()),
        extra: Some(user.extra.clone()).filter(|extra| !extra.is_empty()),
    }
}

fn self_subject(user: &User, now: Timestamp) -> SelfSubjectReview {
    let mut review = SelfSubjectReview::default();
    review.metadata.creation_timestamp = Some(Time(now));
    review.status = Some(SelfSubjectReviewStatus { user_info: Some(user_info(user)) });
    review
}

/// The field selector of a question, as a request would write it.
fn field_text(asked: &AskedAttributes) -> String {
    let Some(selector) = &asked.field_selector else { return String::new() };
    if let Some(raw) = &selector.raw_selector {
        return raw.clone();
    }
    let terms: Vec<String> = selector
        .requirements
        .iter()
        .flatten()
        .filter_map(|term| match (term.operator.as_str(), term.values.as_deref()) {
            ("In", Some([value])) => Some(format!("{}={value}", term.key)),
            _ => None,
        })
        .collect();
    terms.join(",")
}

fn rules_status(found: ApplyingRules) -> SubjectRulesReviewStatus {
    let (mut resource_rules, mut non_resource_rules) = (Vec::new(), Vec::new());
    for rule in found.rules {
        if let Some(urls) = rule.non_resource_urls.filter(|urls| !urls.is_empty()) {
            non_resource_rules.push(NonResourceRule { verbs: rule.verbs, non_resource_urls: Some(urls) });
        } else {
            resource_rules.push(ResourceRule {
                verbs: rule.verbs,
                api_groups: rule.api_groups,
                resources: rule.resources,
                resource_names: rule.resource_names,
            });
        }
    }
    SubjectRulesReviewStatus {
        resource_rules,
        non_resource_rules,
        incomplete: found.incomplete || !found.errors.is_empty(),
        evaluation_error: Some(found.errors.join(", ")).filter(|text| !text.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_about_nothing_is_refused_in_upstreams_words() {
        let mut errors = ErrorList::new();
        exactly_one(false, false, &Path::new("spec"), &mut errors);
        let error = refuse(errors).unwrap_err();
        assert_eq!(
            error.to_string(),
            ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of \
             nonResourceAttributes or resourceAttributes must be specified"
        );
        assert_eq!(error.details.unwrap().kind, None);
    }
}
