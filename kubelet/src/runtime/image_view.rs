//! Images' contents without a container: read-only views through containerd's snapshot service.
//!
//! CRI can mount an image into a container only from containerd 2.1 on. Every version has the snapshots that the image was
//! unpacked to, and gives a read-only view of them under a key of our own. A view is marked as a root for containerd's
//! garbage collection: it stays until it is removed, with what it shows, even if the image goes.

use std::collections::HashMap;

use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{RemoveSnapshotRequest, ViewSnapshotRequest};
use k8s_cri::v1 as cri;
use serde_json::Value;

use super::exec::in_namespace;
use super::{Runtime, RuntimeError, absent_is_done, image_spec, refused};

/// containerd's default, where it does not say what it uses.
const SNAPSHOTTER: &str = "overlayfs";
/// What keeps a snapshot from containerd's garbage collection.
const ROOT_LABEL: &str = "containerd.io/gc.root";

/// How a view is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// `bind`, or a kind of file system.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// The options, as `mount` takes them.
    pub options: Vec<String>,
}

impl Runtime {
    /// Makes a view of an image's content under this key, in place of an earlier one; returns how it is mounted.
    pub async fn view_image(&self, image: &str, key: &str) -> Result<View, RuntimeError> {
        let parent = self.chain_id(image).await?;
        let snapshotter = self.snapshotter().await?;
        self.remove_view(key).await?;
        let labels: HashMap<String, String> = [(ROOT_LABEL.to_owned(), jiff::Timestamp::now().to_string())].into();
        let request = ViewSnapshotRequest { snapshotter, key: key.to_owned(), parent, labels };
        let answer = SnapshotsClient::new(self.channel()).view(in_namespace(request)).await.map_err(refused("View"))?;
        let mut mounts = answer.into_inner().mounts;
        match (mounts.pop(), mounts.is_empty()) {
            (Some(only), true) => Ok(View { kind: only.r#type, source: only.source, options: only.options }),
            _ => Err(RuntimeError::Incomplete { call: "View", what: "single mount" }),
        }
    }

    /// Removes a view. One that is not there is removed.
    pub async fn remove_view(&self, key: &str) -> Result<(), RuntimeError> {
        let request = RemoveSnapshotRequest { snapshotter: self.snapshotter().await?, key: key.to_owned() };
        let removed = SnapshotsClient::new(self.channel()).remove(in_namespace(request)).await;
        absent_is_done(removed.map_err(refused("Remove")))
    }

    async fn snapshotter(&self) -> Result<String, RuntimeError> {
        Ok(self.setting("/containerd/snapshotter").await?.unwrap_or_else(|| SNAPSHOTTER.to_owned()))
    }

    /// The snapshot that holds all layers of an image, from its verbose status.
    async fn chain_id(&self, image: &str) -> Result<String, RuntimeError> {
        let request = cri::ImageStatusRequest { image: Some(image_spec(image)), verbose: true };
        let info = self.look("ImageStatus", self.image_client().image_status(request)).await?.info;
        let told = info.get("info").and_then(|text| serde_json::from_str::<Value>(text).ok());
        let chain = told.as_ref().and_then(|it| it.get("chainID")).and_then(Value::as_str);
        chain.map(str::to_owned).ok_or(RuntimeError::Incomplete { call: "ImageStatus", what: "chainID" })
    }
}
