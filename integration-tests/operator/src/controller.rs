//! Makes a site's pages and keeps the directory.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, ObjectMeta, Patch, PatchParams},
    runtime::{
        Controller,
        controller::Action,
        events::{Event, EventType, Recorder, Reporter},
        finalizer::{self, finalizer},
        watcher,
    },
};
use serde_json::json;

use crate::site::Site;

/// The owner of the fields that the operator applies, and of its events.
pub const MANAGER: &str = "site-operator";
/// What holds a deleted site until the directory is free of it.
pub const FINALIZER: &str = "operator.example.com/directory";
/// The ConfigMap that names all sites of a namespace: no site owns it.
pub const DIRECTORY: &str = "site-directory";

/// Why a site could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API refused a request.
    #[error("the API: {0}")]
    Api(#[from] kube::Error),
    /// The finalizer, or what it wraps, failed.
    #[error("the finalizer: {0}")]
    Finalizer(#[source] Box<finalizer::Error<Error>>),
    /// A stored site without a namespace.
    #[error("the site has no namespace")]
    NoNamespace,
}

struct Context {
    client: Client,
    recorder: Recorder,
}

/// Runs the controller over the sites of a namespace until it is dropped.
pub async fn run(client: Client, namespace: &str) {
    let sites = Api::<Site>::namespaced(client.clone(), namespace);
    let pages = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let reporter = Reporter { controller: MANAGER.to_owned(), instance: None };
    let context = Context { recorder: Recorder::new(client.clone(), reporter), client };
    Controller::new(sites, watcher::Config::default())
        .owns(pages, watcher::Config::default())
        .run(reconcile, retry, Arc::new(context))
        .for_each(|result| async move {
            if let Err(error) = result {
                eprintln!("site operator: {error}");
            }
        })
        .await;
}

fn retry(_site: Arc<Site>, error: &Error, _context: Arc<Context>) -> Action {
    eprintln!("site operator: {error}");
    Action::requeue(Duration::from_secs(1))
}

async fn reconcile(site: Arc<Site>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = site.namespace().ok_or(Error::NoNamespace)?;
    let sites = Api::<Site>::namespaced(context.client.clone(), &namespace);
    finalizer(&sites, FINALIZER, site, |event| async {
        match event {
            finalizer::Event::Apply(site) => publish(&site, &namespace, &context).await,
            finalizer::Event::Cleanup(site) => withdraw(&site, &namespace, &context).await,
        }
    })
    .await
    .map_err(|error| Error::Finalizer(Box::new(error)))
}

async fn publish(site: &Site, namespace: &str, context: &Context) -> Result<Action, Error> {
    let maps = Api::<ConfigMap>::namespaced(context.client.clone(), namespace);
    let as_manager = PatchParams::apply(MANAGER).force();
    let name = site.name_any();
    for number in 0..site.spec.pages {
        let page = ConfigMap {
            metadata: ObjectMeta {
                name: Some(format!("{name}-{number}")),
                labels: Some([("site".to_owned(), name.clone())].into()),
                owner_references: site.controller_owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some([("page".to_owned(), format!("{} {number}", site.spec.title))].into()),
            ..ConfigMap::default()
        };
        maps.patch(&page.name_any(), &as_manager, &Patch::Apply(&page)).await?;
    }
    for page in maps.list(&ListParams::default().labels(&format!("site={name}"))).await? {
        let number = page.name_any().rsplit('-').next().and_then(|number| number.parse::<u32>().ok());
        if number.is_some_and(|number| number >= site.spec.pages) {
            maps.delete(&page.name_any(), &kube::api::DeleteParams::default()).await?;
        }
    }
    list_in_directory(&maps, &name, Some(&site.spec.title)).await?;
    let generation = site.metadata.generation.unwrap_or_default();
    let reported = site.status.as_ref().map(|status| status.observed_generation);
    let sites = Api::<Site>::namespaced(context.client.clone(), namespace);
    let status = json!({
        "apiVersion": Site::api_version(&()), "kind": Site::kind(&()),
        "status": {"pages": site.spec.pages, "observedGeneration": generation},
    });
    sites.patch_status(&name, &as_manager, &Patch::Apply(&status)).await?;
    if reported != Some(generation) {
        let event = Event {
            type_: EventType::Normal,
            reason: "Published".to_owned(),
            note: Some(format!("{} pages", site.spec.pages)),
            action: "Publish".to_owned(),
            secondary: None,
        };
        context.recorder.publish(&event, &site.object_ref(&())).await?;
    }
    Ok(Action::await_change())
}

async fn withdraw(site: &Site, namespace: &str, context: &Context) -> Result<Action, Error> {
    let maps = Api::<ConfigMap>::namespaced(context.client.clone(), namespace);
    list_in_directory(&maps, &site.name_any(), None).await?;
    Ok(Action::await_change())
}

/// Each site's line is applied by an owner of its own: two sites never meet in a conflict, and to
/// apply nothing takes the line away.
async fn list_in_directory(maps: &Api<ConfigMap>, site: &str, title: Option<&str>) -> Result<(), Error> {
    let directory = ConfigMap {
        metadata: ObjectMeta { name: Some(DIRECTORY.to_owned()), ..ObjectMeta::default() },
        data: title.map(|title| [(site.to_owned(), title.to_owned())].into()),
        ..ConfigMap::default()
    };
    let owner = PatchParams::apply(&format!("{MANAGER}-{site}"));
    maps.patch(DIRECTORY, &owner, &Patch::Apply(&directory)).await?;
    Ok(())
}
