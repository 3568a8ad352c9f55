//! What a user names on the command line: resource types, and objects of them.

use std::sync::LazyLock;

use reeve_api::{GroupVersionKind, GroupVersionResource, ResourceInfo};

use crate::builtins::{BUILTINS, Builtin};
use crate::errors::{Outcome, fail};
use crate::session::Cluster;

/// The built-in resources as rows of discovery.
static BUILTIN_ROWS: LazyLock<Vec<ResourceInfo>> = LazyLock::new(|| BUILTINS.iter().map(row).collect());

fn row(builtin: &Builtin) -> ResourceInfo {
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    ResourceInfo {
        resource: GroupVersionResource::new(builtin.group, builtin.version, builtin.resource),
        singular: builtin.singular.to_owned(),
        kind: builtin.kind.to_owned(),
        namespaced: builtin.namespaced,
        short_names: owned(builtin.short_names),
        categories: owned(builtin.categories),
        verbs: Vec::new(),
    }
}

/// The built-in resources.
pub fn builtins() -> &'static [ResourceInfo] {
    &BUILTIN_ROWS
}

/// A built-in resource by a word for it.
pub fn builtin(word: &str) -> Option<&'static ResourceInfo> {
    BUILTIN_ROWS.iter().find(|info| info.answers_to(word))
}

/// A built-in resource by the kind of its objects.
pub fn builtin_kind(kind: &GroupVersionKind) -> Option<&'static ResourceInfo> {
    BUILTIN_ROWS.iter().find(|info| info.kind() == *kind)
}

/// The resource that a word means. The server is asked only for words that no built-in answers to.
pub async fn resource(cluster: &Cluster, word: &str) -> Outcome<ResourceInfo> {
    if let Some(info) = builtin(word) {
        return Ok(info.clone());
    }
    if let Some(info) = cluster.known().await?.iter().find(|info| info.answers_to(word)) {
        return Ok(info.clone());
    }
    // It may be new.
    let discovered = cluster.discovered().await?;
    match discovered.iter().find(|info| info.answers_to(word)) {
        Some(info) => Ok(info.clone()),
        None => fail(format!("the server doesn't have a resource type {word:?}")),
    }
}

/// The resource of objects of a kind, if the server has one.
pub async fn kind(cluster: &Cluster, kind: &GroupVersionKind) -> Outcome<Option<ResourceInfo>> {
    if let Some(info) = builtin_kind(kind) {
        return Ok(Some(info.clone()));
    }
    if let Some(info) = cluster.known().await?.iter().find(|info| info.kind() == *kind) {
        return Ok(Some(info.clone()));
    }
    Ok(cluster.discovered().await?.iter().find(|info| info.kind() == *kind).cloned())
}

/// Each resource once: in the version that built-ins are known by, else in the first that the server names.
pub fn preferred(resources: &[ResourceInfo]) -> Vec<ResourceInfo> {
    let mut chosen: Vec<ResourceInfo> = Vec::new();
    for info in resources {
        let same = |one: &ResourceInfo| one.resource.qualified() == info.resource.qualified();
        match chosen.iter_mut().find(|one| same(one)) {
            None => chosen.push(info.clone()),
            Some(known) if BUILTIN_ROWS.iter().any(|row| row.resource == info.resource) => *known = info.clone(),
            Some(_) => {}
        }
    }
    chosen
}

/// All resources that a word means: one type, or the members of a category such as `all`.
pub async fn resources(cluster: &Cluster, word: &str) -> Outcome<Vec<ResourceInfo>> {
    let in_category = |info: &&ResourceInfo| info.categories.iter().any(|category| category == word);
    if BUILTIN_ROWS.iter().any(|info| in_category(&info)) {
        // Only the server knows which of them it serves, and which custom ones have joined the category.
        return Ok(preferred(cluster.known().await?).into_iter().filter(|info| in_category(&info)).collect());
    }
    if builtin(word).is_none() {
        let members: Vec<ResourceInfo> =
            preferred(cluster.known().await?).into_iter().filter(|info| in_category(&info)).collect();
        if !members.is_empty() {
            return Ok(members);
        }
    }
    Ok(vec![resource(cluster, word).await?])
}

/// Positional words that name objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// None were given.
    Nothing,
    /// `pods,svc a b`: types and, for one of them, names.
    Types {
        /// Words for types.
        types: Vec<String>,
        /// Names, maybe none.
        names: Vec<String>,
    },
    /// `pod/a svc/b`.
    Pairs(Vec<(String, String)>),
}

impl Words {
    /// Tells the two forms apart, with kubectl's complaints about mixtures.
    pub fn parse(words: &[String]) -> Outcome<Words> {
        if words.is_empty() {
            return Ok(Words::Nothing);
        }
        if !words.iter().any(|word| word.contains('/')) {
            let types: Vec<String> = words[0].split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
            let names = words[1..].to_vec();
            if types.is_empty() || names.iter().any(String::is_empty) {
                return fail("arguments must consist of a resource and a name");
            }
            return Ok(Words::Types { types, names });
        }
        let mut pairs = Vec::new();
        for word in words {
            let Some((kind, name)) = word.split_once('/') else {
                return fail(
                    "there is no need to specify a resource type as a separate argument when passing arguments in \
                     resource/name form (e.g. 'rctl get resource/<resource_name>' instead of 'rctl get resource \
                     resource/<resource_name>'",
                );
            };
            if name.contains('/') {
                return fail("arguments in resource/name form may not have more than one slash");
            }
            if kind.is_empty() || name.is_empty() || kind.contains(',') {
                return fail("arguments in resource/name form must have a single resource and name");
            }
            pairs.push((kind.to_owned(), name.to_owned()));
        }
        Ok(Words::Pairs(pairs))
    }
}

/// `deployment.apps/web`, as messages name objects.
pub fn display(info: &ResourceInfo, name: &str) -> String {
    format!("{}/{name}", singular(info))
}

/// `deployment.apps`.
pub fn singular(info: &ResourceInfo) -> String {
    let singular = if info.singular.is_empty() { info.kind.to_ascii_lowercase() } else { info.singular.clone() };
    reeve_api::resource::qualified(&singular, &info.resource.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Outcome<Words> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Words::parse(&words)
    }

    #[test]
    fn builtins_answer_without_a_server() {
        for (word, plural) in [
            ("po", "pods"),
            ("deploy", "deployments"),
            ("svc", "services"),
            ("Deployment", "deployments"),
            ("deployments.v1.apps", "deployments"),
            ("ep", "endpoints"),
            ("events", "events"),
            ("hpa", "horizontalpodautoscalers"),
            ("cm", "configmaps"),
        ] {
            assert_eq!(builtin(word).map(|info| info.resource.resource.as_str()), Some(plural), "{word}");
        }
        assert_eq!(builtin("events").map(|info| info.resource.group.as_str()), Some(""));
        assert!(builtin("ingressroutes").is_none());
        assert!(builtin("all").is_none());
        let deployment = builtin("deploy").expect("built in");
        assert_eq!(display(deployment, "web"), "deployment.apps/web");
    }

    #[test]
    fn the_two_forms_are_told_apart() {
        assert_eq!(words("").expect("fine"), Words::Nothing);
        assert_eq!(
            words("pods,svc").expect("fine"),
            Words::Types { types: vec!["pods".into(), "svc".into()], names: vec![] }
        );
        assert_eq!(
            words("pod a b").expect("fine"),
            Words::Types { types: vec!["pod".into()], names: vec!["a".into(), "b".into()] }
        );
        assert_eq!(
            words("pod/a svc/b").expect("fine"),
            Words::Pairs(vec![("pod".into(), "a".into()), ("svc".into(), "b".into())])
        );
        for line in ["pod pod/a", "pod/a/b", "pod/", "/a", "pod,svc/a"] {
            assert!(words(line).is_err(), "{line}");
        }
    }
}
