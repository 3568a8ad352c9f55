//! The generic verbs.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use reeve_api::json::Mask;
use reeve_api::{GroupVersionResource, StatusError};
use reeve_proto::v1;
use reeve_proto::v1::api_server::Api;
use reeve_proto::v1::watch_event::Type;
use tonic::{Request, Response, Status};

use super::user;
use crate::edges::status::to_grpc;
use crate::handlers::{
    DeleteOptions, Handlers, ListOptions, ObjectAnswer, PatchKind, Selection, WatchItem, WatchOptions, WriteOptions,
};
use crate::request::Target;
use crate::storage::cache::EventKind;

/// How many bytes of objects one message of a list carries, about: large enough to keep the connection busy, small
/// enough to keep memory flat.
const LIST_CHUNK_BYTES: usize = 128 * 1024;

/// `reeve.v1.Api`.
pub struct Objects {
    handlers: Arc<Handlers>,
}

impl Objects {
    pub fn new(handlers: Arc<Handlers>) -> Self {
        Self { handlers }
    }
}

type Stream_<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Api for Objects {
    type ListStream = Stream_<v1::ListResponse>;
    type WatchStream = Stream_<v1::WatchResponse>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::ObjectResponse>, Status> {
        let user = user(&request)?;
        let request = request.into_inner();
        let target = target(request.resource)?;
        let answer = self.handlers.get(&user, &target, &request.resource_version).await;
        object_response(answer)
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let user = user(&request)?;
        let request = request.into_inner();
        let target = target(request.resource)?;
        let (selection, mask) = selection(request.selection);
        let options = ListOptions {
            selection,
            resource_version: request.resource_version,
            resource_version_match: request.resource_version_match,
            limit: request.limit,
            continue_token: request.continue_token,
        };
        let listing = self.handlers.list(&user, &target, options).await.map_err(|error| to_grpc(&error))?;
        let mut head = Some((listing.revision, listing.continue_token, listing.remaining_item_count));
        let mut entries = listing.entries;
        let chunks = std::iter::from_fn(move || {
            let mut objects = Vec::new();
            let mut bytes = 0;
            for entry in entries.by_ref() {
                let object = entry.project(&mask);
                bytes += object.len();
                objects.push(object);
                if bytes >= LIST_CHUNK_BYTES {
                    break;
                }
            }
            match head.take() {
                Some((resource_version, continue_token, remaining_item_count)) => Some(v1::ListResponse {
                    objects,
                    resource_version,
                    continue_token,
                    remaining_item_count: remaining_item_count.unwrap_or(0),
                }),
                None if objects.is_empty() => None,
                None => Some(v1::ListResponse { objects, ..v1::ListResponse::default() }),
            }
        });
        Ok(Response::new(Box::pin(futures::stream::iter(chunks.map(Ok)))))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let user = user(&request)?;
        let request = request.into_inner();
        let target = target(request.resource)?;
        let (selection, mask) = selection(request.selection);
        let options = WatchOptions {
            selection,
            resource_version: request.resource_version,
            send_initial_events: request.send_initial_events.then_some(true),
            resource_version_match: if request.send_initial_events { "NotOlderThan".into() } else { String::new() },
            allow_bookmarks: request.allow_bookmarks || request.send_initial_events,
            timeout_seconds: request.timeout_seconds,
        };
        let watch = self.handlers.watch(&user, &target, options).await.map_err(|error| to_grpc(&error))?;
        let mask = Arc::new(mask);
        let batches = watch.map(move |batch| {
            let events = batch.into_iter().map(|item| event(item, &mask)).collect();
            Ok(v1::WatchResponse { events })
        });
        Ok(Response::new(Box::pin(batches)))
    }

    async fn create(&self, request: Request<v1::CreateRequest>) -> Result<Response<v1::ObjectResponse>, Status> {
        let user = user(&request)?;
        let request = request.into_inner();
        let target = target(request.resource)?;
        let options = write_options(request.options);
        object_response(self.handlers.create(&user, &target, request.object, &options).await)
    }

    async fn update(&self, request: Request<v1::UpdateRequest>) -> Result<Response<v1::ObjectResponse>, Status> {
        let user = user(&request)?;
        let request = request.into_inner();
        let target = target(request.resource)?;
        let options = write_options(request.options);
        object_response(self.handlers.update(&user, &target, request.object, &options).await)
    }

    async fn patch(&self, request: Request<v1::PatchRequest>) -> Result<Response<v1::ObjectResponse>, Status> {
        let user = user(&request)?;
        let request = request.into_inner();
        let kind = match request.r#type() {
            v1::patch_request::Type::Json => PatchKind::Json,
            v1::patch_request::Type::Merge => PatchKind::Merge,
            v1::patch_request::Type::Strategic => PatchKind::Strategic,
            v1::patch_request::Type::Unspecified => {
                return Err(to_grpc(&StatusError::bad_request("the patch has no type")));
            }
        };
        let target = target(request.resource)?;
        let options = write_options(request.options);
        object_response(self.handlers.patch(&user, &target, kind, request.patch, &options).await)
    }

    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ObjectResponse>, Status> {
        let user = user(&request)?;
        let request = request.into_inner();
        let target = target(request.resource)?;
        let options = write_options(request.options);
        let kind = PatchKind::Apply { force: request.force };
        object_response(self.handlers.patch(&user, &target, kind, request.object, &options).await)
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        let user = user(&request)?;
        let request = request.into_inner();
        let target = target(request.resource)?;
        let options = delete_options(request.options);
        let answer = self.handlers.delete(&user, &target, &options).await.map_err(|error| to_grpc(&error))?;
        Ok(Response::new(v1::DeleteResponse { object: answer.object.bytes, deleted: answer.gone }))
    }

    async fn delete_collection(
        &self,
        request: Request<v1::DeleteCollectionRequest>,
    ) -> Result<Response<v1::DeleteCollectionResponse>, Status> {
        let user = user(&request)?;
        let request = request.into_inner();
        let target = target(request.resource)?;
        let (selection, _) = selection(request.selection);
        let options = delete_options(request.options);
        let (deleted, _) = self
            .handlers
            .delete_collection(&user, &target, ListOptions { selection, ..ListOptions::default() }, &options)
            .await
            .map_err(|error| to_grpc(&error))?;
        Ok(Response::new(v1::DeleteCollectionResponse { deleted: deleted.len() as i64 }))
    }
}

fn target(reference: Option<v1::ResourceRef>) -> Result<Target, Status> {
    let reference = reference.ok_or_else(|| to_grpc(&StatusError::bad_request("the request names no resource")))?;
    Ok(Target {
        resource: GroupVersionResource {
            group: reference.group,
            version: reference.version,
            resource: reference.resource,
        },
        namespace: reference.namespace,
        name: reference.name,
        subresource: reference.subresource,
    })
}

fn selection(selection: Option<v1::Selection>) -> (Selection, Mask) {
    let selection = selection.unwrap_or_default();
    let mask = Mask::new(selection.field_mask.iter().map(String::as_str));
    (Selection { labels: selection.label_selector, fields: selection.field_selector }, mask)
}

fn write_options(options: Option<v1::WriteOptions>) -> WriteOptions {
    let options = options.unwrap_or_default();
    WriteOptions {
        dry_run: options.dry_run,
        field_manager: options.field_manager,
        field_validation: options.field_validation,
        repeated: Vec::new(),
    }
}

fn delete_options(options: Option<v1::DeleteOptions>) -> DeleteOptions {
    let options = options.unwrap_or_default();
    DeleteOptions {
        grace_period_seconds: options.grace_period_seconds,
        propagation_policy: options.propagation_policy,
        uid: options.uid,
        resource_version: options.resource_version,
        dry_run: options.dry_run,
    }
}

fn object_response(answer: Result<ObjectAnswer, StatusError>) -> Result<Response<v1::ObjectResponse>, Status> {
    let answer = answer.map_err(|error| to_grpc(&error))?;
    Ok(Response::new(v1::ObjectResponse {
        object: answer.bytes,
        resource_version: answer.revision,
        warnings: answer.warnings,
    }))
}

fn event(item: WatchItem, mask: &Mask) -> v1::WatchEvent {
    let event = match item {
        WatchItem::Event(event) => event,
        WatchItem::Error(error) => {
            return v1::WatchEvent {
                r#type: Type::Error.into(),
                object: crate::edges::status::status_json(&error).into(),
                ..v1::WatchEvent::default()
            };
        }
    };
    let (kind, object) = match event.kind() {
        EventKind::Added => (Type::Added, event.project(mask)),
        EventKind::Modified => (Type::Modified, event.project(mask)),
        EventKind::Deleted => (Type::Deleted, event.project(mask)),
        EventKind::Bookmark => (Type::Bookmark, bytes::Bytes::new()),
    };
    v1::WatchEvent {
        r#type: kind.into(),
        object,
        resource_version: event.revision(),
        initial_events_end: event.ends_initial_events(),
    }
}
