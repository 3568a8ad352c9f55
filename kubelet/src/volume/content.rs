//! Which files a volume holds: a pure function of the pod and what it references.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume};

use super::atomic::{File, Files};
use crate::pod::{env, spec, user};

/// The mode of files whose volume names none.
const DEFAULT_MODE: i32 = 0o644;

/// Service account tokens that were asked for, by the volume and the path that the projection gives them; or why there
/// is none. `None` where the API server offers no tokens: the volume then comes without that file.
pub type Tokens = BTreeMap<(String, String), Result<Option<String>, String>>;

/// Why a volume's files cannot be decided.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ContentError {
    /// A map that must be there is not.
    #[error("{kind} \"{name}\" not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// The map's name.
        name: String,
    },
    /// A key that must be there is not.
    #[error("references non-existent {kind} key: {key}")]
    MissingKey {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// A downward API item that cannot be read.
    #[error(transparent)]
    Field(#[from] env::EnvError),
    /// A token that is not to be had.
    #[error("failed to fetch token: {0}")]
    Token(String),
}

/// The files of a volume of kind configMap, secret, downwardAPI or projected; none for other kinds.
pub fn files(
    pod: &Pod,
    volume: &Volume,
    references: &dyn env::References,
    tokens: &Tokens,
    addresses: &env::Addresses,
) -> Result<Files, ContentError> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let data = config_map(references, &source.name, source.optional == Some(true))?;
        add(&mut files, data, source.items.as_deref(), mode, source.optional == Some(true), "config")?;
    } else if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let name = source.secret_name.clone().unwrap_or_default();
        let data = secret(references, &name, source.optional == Some(true))?;
        add(&mut files, data, source.items.as_deref(), mode, source.optional == Some(true), "secret")?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        downward(&mut files, pod, source.items.as_deref().unwrap_or_default(), mode, addresses)?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
        for source in projected.sources.iter().flatten() {
            if let Some(map) = &source.config_map {
                let optional = map.optional == Some(true);
                let data = config_map(references, &map.name, optional)?;
                add(&mut files, data, map.items.as_deref(), mode, optional, "config")?;
            }
            if let Some(map) = &source.secret {
                let optional = map.optional == Some(true);
                let data = secret(references, &map.name, optional)?;
                add(&mut files, data, map.items.as_deref(), mode, optional, "secret")?;
            }
            if let Some(fields) = &source.downward_api {
                downward(&mut files, pod, fields.items.as_deref().unwrap_or_default(), mode, addresses)?;
            }
            if let Some(token) = &source.service_account_token {
                match tokens.get(&(volume.name.clone(), token.path.clone())) {
                    Some(Ok(Some(text))) => {
                        files.insert(token.path.clone(), token_file(pod, text.clone().into_bytes(), mode));
                    }
                    Some(Ok(None)) => {}
                    Some(Err(why)) => return Err(ContentError::Token(why.clone())),
                    None => return Err(ContentError::Token(format!("it was not asked for ({})", token.path))),
                }
            }
        }
    }
    Ok(files)
}

fn file(data: Vec<u8>, mode: i32) -> File {
    File { data, mode: u32::try_from(mode & 0o777).unwrap_or(0o644), owner: None }
}

/// A token is for the pod's own user alone, where all containers have one, or for its group.
fn token_file(pod: &Pod, data: Vec<u8>, mode: i32) -> File {
    let owner = user::common(pod).and_then(|it| u32::try_from(it).ok());
    let context = spec::spec(pod).security_context.as_ref();
    let shared = context.is_some_and(|it| it.fs_group.is_some());
    File { owner, ..file(data, if owner.is_some() || shared { 0o600 } else { mode }) }
}

type Data = BTreeMap<String, Vec<u8>>;

fn config_map(references: &dyn env::References, name: &str, optional: bool) -> Result<Data, ContentError> {
    let Some(map) = references.config_map(name) else {
        return if optional {
            Ok(Data::new())
        } else {
            Err(ContentError::Missing { kind: "configmap", name: name.into() })
        };
    };
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    Ok(text.chain(binary).collect())
}

fn secret(references: &dyn env::References, name: &str, optional: bool) -> Result<Data, ContentError> {
    let Some(map) = references.secret(name) else {
        return if optional {
            Ok(Data::new())
        } else {
            Err(ContentError::Missing { kind: "secret", name: name.into() })
        };
    };
    Ok(map.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect())
}

fn add(
    files: &mut Files,
    mut data: Data,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
    kind: &'static str,
) -> Result<(), ContentError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        files.extend(data.into_iter().map(|(key, value)| (key, file(value, mode))));
        return Ok(());
    };
    for item in items {
        match data.remove(&item.key) {
            Some(value) => {
                files.insert(item.path.clone(), file(value, item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => return Err(ContentError::MissingKey { kind, key: item.key.clone() }),
        }
    }
    Ok(())
}

fn downward(
    files: &mut Files,
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
    addresses: &env::Addresses,
) -> Result<(), ContentError> {
    for item in items {
        let value = if let Some(field) = &item.field_ref {
            env::field_value(pod, field, addresses)?
        } else if let Some(field) = &item.resource_field_ref {
            let name = field.container_name.as_deref().unwrap_or_default();
            match spec::container(pod, name) {
                Some(container) => env::resource_value(pod, container, field, addresses),
                None => String::new(),
            }
        } else {
            String::new()
        };
        files.insert(item.path.clone(), file(value.into_bytes(), item.mode.unwrap_or(mode)));
    }
    Ok(())
}
