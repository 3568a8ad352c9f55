//! The ConfigMap `kube-root-ca.crt` in every namespace, with which pods verify the API server.

pub mod shell;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;
use serde_json::json;

use crate::action::Action;
use crate::object::resource;

/// The ConfigMap's name.
pub const NAME: &str = "kube-root-ca.crt";
/// Its one entry.
const ENTRY: &str = "ca.crt";

/// Creates the ConfigMap where it is missing and repairs it where it was changed.
pub fn reconcile(namespace: &Namespace, existing: Option<&ConfigMap>, certificate: &str) -> Option<Action> {
    if namespace.metadata.is_deleting() {
        return None;
    }
    let data = json!({ENTRY: certificate});
    let Some(existing) = existing else {
        return Some(Action::Create {
            resource: resource::<ConfigMap>(),
            namespace: namespace.metadata.name().to_owned(),
            object: Arc::new(json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": NAME,
                    "namespace": namespace.metadata.name(),
                    "annotations": {
                        "kubernetes.io/description": "Contains a CA bundle that can be used to verify the \
                            kube-apiserver when using internal endpoints such as the internal service IP or \
                            kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
                            clusters.",
                    },
                },
                "data": data,
            })),
            copies: 1,
            told: None,
        });
    };
    let same = existing.data.as_ref().is_some_and(|data| data.get(ENTRY).is_some_and(|text| text == certificate));
    (!same).then(|| Action::Patch {
        resource: resource::<ConfigMap>(),
        key: ObjectKey::of(&existing.metadata),
        subresource: "",
        patch: json!({"metadata": {"uid": existing.metadata.uid}, "data": data}),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_and_repaired() {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("shop".into());
        let made = reconcile(&namespace, None, "PEM").unwrap();
        assert_eq!(made.to_string(), "create configmaps shop/kube-root-ca.crt");
        let Action::Create { object, .. } = made else { panic!("not a create") };
        let mut map: ConfigMap = serde_json::from_value((*object).clone()).unwrap();
        assert_eq!(reconcile(&namespace, Some(&map), "PEM"), None);
        map.data = None;
        let repaired = reconcile(&namespace, Some(&map), "PEM").unwrap().to_string();
        assert!(repaired.ends_with(r#"{"data":{"ca.crt":"PEM"}}"#), "{repaired}");
    }
}
