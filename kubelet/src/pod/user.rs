//! Which user a container runs as, and whether it may: the pod's and container's security contexts and the image's own
//! user, by upstream's rules.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::spec;

/// The user that an image names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    /// Its number, where the image gives one.
    pub uid: Option<i64>,
    /// Its name, where the image gives one.
    pub name: String,
}

/// An image that is present on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresentImage {
    /// The name that the runtime resolves it by.
    pub reference: String,
    /// The user that it names.
    pub user: ImageUser,
}

/// Who a container's first process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunAs {
    /// The user's number.
    pub uid: Option<i64>,
    /// The user's name, where the number is not known.
    pub name: String,
    /// The primary group.
    pub gid: Option<i64>,
}

/// Why a container may not run as it would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The spec asks for root and forbids it.
    #[error("container's runAsUser breaks non-root policy ({0})")]
    RunAsUser(String),
    /// The image's user is root.
    #[error("container has runAsNonRoot and image will run as root ({0})")]
    ImageIsRoot(String),
    /// The image's user has no number.
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root ({of})"
    )]
    NonNumeric {
        /// The user's name.
        name: String,
        /// The pod and the container.
        of: String,
    },
}

/// The one user that the spec gives to all containers, if it does.
pub fn common(pod: &Pod) -> Option<i64> {
    let of_pod = spec::spec(pod).security_context.as_ref().and_then(|it| it.run_as_user);
    let mut all = spec::all_containers(pod)
        .map(|container| container.security_context.as_ref().and_then(|it| it.run_as_user).or(of_pod));
    let first = all.next()??;
    all.all(|it| it == Some(first)).then_some(first)
}

/// The user and group of a container; an image that names no user means root.
pub fn run_as(pod: &Pod, container: &Container, image: &ImageUser) -> Result<RunAs, UserError> {
    let of_pod = spec::spec(pod).security_context.as_ref();
    let own = container.security_context.as_ref();
    let wanted = own.and_then(|it| it.run_as_user).or(of_pod.and_then(|it| it.run_as_user));
    let gid = own.and_then(|it| it.run_as_group).or(of_pod.and_then(|it| it.run_as_group));
    let non_root = own.and_then(|it| it.run_as_non_root).or(of_pod.and_then(|it| it.run_as_non_root)) == Some(true);
    let (uid, name) = match (wanted, image.uid, image.name.as_str()) {
        (Some(uid), _, _) | (None, Some(uid), _) => (Some(uid), String::new()),
        (None, None, "") => (Some(0), String::new()),
        (None, None, name) => (None, name.to_owned()),
    };
    if non_root {
        let key = spec::key(pod);
        let of = || {
            let pod = format!("{}_{}({})", key.name, key.namespace, spec::uid(pod));
            format!("pod: \"{pod}\", container: {}", container.name)
        };
        match uid {
            Some(0) if wanted.is_some() => return Err(UserError::RunAsUser(of())),
            Some(0) => return Err(UserError::ImageIsRoot(of())),
            None => return Err(UserError::NonNumeric { name, of: of() }),
            Some(_) => {}
        }
    }
    Ok(RunAs { uid, name, gid })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(pod: serde_json::Value, container: serde_json::Value, image: ImageUser) -> Result<RunAs, String> {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [], "securityContext": pod},
        });
        let container = json!({"name": "c", "securityContext": container});
        let (pod, container) = (serde_json::from_value(pod).unwrap(), serde_json::from_value(container).unwrap());
        run_as(&pod, &container, &image).map_err(|error| error.to_string())
    }

    fn image(uid: Option<i64>, name: &str) -> ImageUser {
        ImageUser { uid, name: name.into() }
    }

    #[test]
    fn the_container_comes_before_the_pod_and_both_before_the_image() {
        let user = |uid, gid| Ok(RunAs { uid: Some(uid), name: String::new(), gid });
        assert_eq!(run(json!({"runAsUser": 1}), json!({"runAsUser": 2}), image(Some(3), "")), user(2, None));
        assert_eq!(run(json!({"runAsUser": 1}), json!({}), image(Some(3), "")), user(1, None));
        assert_eq!(run(json!({}), json!({}), image(Some(3), "")), user(3, None));
        assert_eq!(run(json!({"runAsGroup": 7}), json!({}), image(None, "")), user(0, Some(7)));
        let named = RunAs { uid: None, name: "web".into(), gid: None };
        assert_eq!(run(json!({}), json!({}), image(None, "web")), Ok(named));
    }

    #[test]
    fn root_is_refused_where_it_is_forbidden() {
        let forbidden = json!({"runAsNonRoot": true});
        let of = "(pod: \"p_n(u)\", container: c)";
        assert_eq!(
            run(forbidden.clone(), json!({"runAsUser": 0}), image(None, "")),
            Err(format!("container's runAsUser breaks non-root policy {of}"))
        );
        assert_eq!(
            run(forbidden.clone(), json!({}), image(None, "")),
            Err(format!("container has runAsNonRoot and image will run as root {of}"))
        );
        assert_eq!(
            run(forbidden.clone(), json!({}), image(None, "web")),
            Err(format!(
                "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root {of}"
            ))
        );
        assert!(run(forbidden.clone(), json!({"runAsNonRoot": false}), image(None, "")).is_ok());
        assert!(run(forbidden, json!({}), image(Some(5), "")).is_ok());
    }

    #[test]
    fn the_common_user_is_what_all_containers_have() {
        let common_of = |pod: serde_json::Value, containers: &[serde_json::Value]| {
            let containers: Vec<_> = containers.iter().map(|it| json!({"name": "c", "securityContext": it})).collect();
            let spec = json!({"containers": containers, "securityContext": pod});
            common(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap())
        };
        assert_eq!(common_of(json!({"runAsUser": 5}), &[json!({}), json!({"runAsUser": 5})]), Some(5));
        assert_eq!(common_of(json!({"runAsUser": 5}), &[json!({}), json!({"runAsUser": 6})]), None);
        assert_eq!(common_of(json!({}), &[json!({"runAsUser": 5}), json!({})]), None);
    }
}
