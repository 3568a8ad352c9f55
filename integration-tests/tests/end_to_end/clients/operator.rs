//! The small operator against the cluster: its users' objects come about, are repaired, changed,
//! reported on and cleaned up.

use std::{future::Future, pin::pin};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use jiff::{Timestamp, ToSpan};
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace},
        events,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, CustomResourceExt, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{
        WatchStreamExt,
        wait::{await_condition, conditions},
        watcher,
    },
};
use reeve_integration_tests::bed::{Bed, PATIENCE, bed};
use reeve_test_operator::{
    controller::{DIRECTORY, FINALIZER, run},
    leader::{LEASE, acquire},
    site::{Site, SiteSpec},
};
use serde_json::json;
use tokio::time::timeout;

const NAMESPACE: &str = "operator";

#[test]
fn clients_operator_in_rust() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let client = client(&bed).await?;
        let namespaces = Api::<Namespace>::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        namespaces.create(&PostParams::default(), &namespace).await?;
        let result = installed_and_used(&client).await;
        namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
        Api::<CustomResourceDefinition>::all(client).delete(Site::crd_name(), &DeleteParams::default()).await?;
        result
    })
}

async fn client(bed: &Bed) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(bed.testbed.instance.admin_kubeconfig())?;
    Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)?)
}

/// Not longer than a test waits for one thing.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    timeout(PATIENCE, future).await.with_context(|| format!("{what}: not within {} s", PATIENCE.as_secs()))
}

/// Waits until an object is there and satisfies a condition.
async fn seen<K>(api: &Api<K>, name: &str, what: &str, holds: impl Fn(&K) -> bool) -> Result<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + 'static,
{
    let condition = |object: Option<&K>| object.is_some_and(&holds);
    let object = soon(what, await_condition(api.clone(), name, condition)).await?.context(what.to_owned())?;
    object.with_context(|| format!("{what}: {name} is gone"))
}

async fn installed_and_used(client: &Client) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let install = PatchParams::apply("installer").force();
    definitions.patch(Site::crd_name(), &install, &Patch::Apply(Site::crd())).await?;
    let established = conditions::is_crd_established();
    soon("the definition", await_condition(definitions, Site::crd_name(), established)).await??;
    only_one_leads(client).await?;

    let operator = tokio::spawn({
        let client = client.clone();
        async move { run(client, NAMESPACE).await }
    });
    let sites = Api::<Site>::namespaced(client.clone(), NAMESPACE);
    let maps = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let site = Site::new("blog", SiteSpec { title: "First".to_owned(), pages: 2 });
    sites.create(&PostParams::default(), &site).await?;
    let done =
        |generation| move |site: &Site| site.status.as_ref().is_some_and(|it| it.observed_generation == generation);
    let site = seen(&sites, "blog", "the status", done(1)).await?;
    ensure!(site.finalizers() == [FINALIZER], "{:?}", site.finalizers());
    ensure!(site.status.as_ref().is_some_and(|status| status.pages == 2), "{:?}", site.status);
    let page = maps.get("blog-1").await?;
    ensure!(page.owner_references().iter().any(|owner| owner.uid == site.uid().unwrap_or_default()), "{page:?}");
    ensure!(maps.get(DIRECTORY).await?.data.is_some_and(|data| data["blog"] == "First"));

    // What is deleted or changed by hand comes back.
    let old = page.uid();
    maps.delete("blog-1", &DeleteParams::default()).await?;
    seen(&maps, "blog-1", "the page again", |page| page.uid() != old).await?;
    let vandal = Patch::Merge(json!({"data": {"page": "gone"}}));
    maps.patch("blog-0", &PatchParams::default(), &vandal).await?;
    let words = |wanted: &'static str| {
        move |page: &ConfigMap| page.data.as_ref().and_then(|data| data.get("page")).is_some_and(|page| page == wanted)
    };
    seen(&maps, "blog-0", "the page's own words", words("First 0")).await?;

    // A change of the site: fewer pages, other words.
    let change = Patch::Merge(json!({"spec": {"title": "Second", "pages": 1}}));
    sites.patch("blog", &PatchParams::default(), &change).await?;
    seen(&sites, "blog", "the status of the change", done(2)).await?;
    seen(&maps, "blog-0", "the new words", words("Second 0")).await?;
    ensure!(maps.get_opt("blog-1").await?.is_none(), "a page too many is left");
    let refused = sites.patch("blog", &PatchParams::default(), &Patch::Merge(json!({"spec": {"pages": 9}}))).await;
    let told = refused.err().context("nine pages are more than the schema allows")?.to_string();
    ensure!(told.contains("spec.pages"), "{told}");
    told_of(client).await?;

    // A stopped operator holds what is deleted; the next one lets it go, and its pages follow.
    operator.abort();
    sites.delete("blog", &DeleteParams::default()).await?;
    ensure!(sites.get("blog").await?.metadata.deletion_timestamp.is_some(), "held by the finalizer");
    let operator = tokio::spawn({
        let client = client.clone();
        async move { run(client, NAMESPACE).await }
    });
    let uid = site.uid().context("a stored site has a UID")?;
    soon("the site's end", await_condition(sites.clone(), "blog", conditions::is_deleted(&uid))).await??;
    ensure!(!maps.get(DIRECTORY).await?.data.unwrap_or_default().contains_key("blog"), "the directory is free of it");
    let page_is_gone = |page: Option<&ConfigMap>| page.is_none();
    soon("the last page's end", await_condition(maps, "blog-0", page_is_gone)).await??;
    operator.abort();
    Ok(())
}

async fn only_one_leads(client: &Client) -> Result<()> {
    let leases = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let now = Timestamp::now();
    ensure!(acquire(&leases, "one", now).await?, "a free lease is taken");
    ensure!(!acquire(&leases, "two", now).await?, "a held one is not");
    ensure!(acquire(&leases, "one", now).await?, "it is renewed");
    let later = now.checked_add(20.seconds())?;
    let (two, three) = tokio::join!(acquire(&leases, "two", later), acquire(&leases, "three", later));
    ensure!(two? != three?, "of two that want an expired lease one gets it");
    let lease = leases.get(LEASE).await?.spec.context("a lease says who holds it")?;
    ensure!(lease.lease_transitions == Some(1), "{lease:?}");
    Ok(())
}

/// The operator's event is there; told again for the site's second generation, it became a series.
async fn told_of(client: &Client) -> Result<()> {
    let told = Api::<events::v1::Event>::namespaced(client.clone(), NAMESPACE);
    let by_operator = watcher::Config::default().fields("reason=Published");
    let twice = watcher(told.clone(), by_operator).applied_objects().filter_map(|event| async move {
        event.ok().filter(|event| event.series.as_ref().is_some_and(|series| series.count == 2))
    });
    let event = soon("the series of events", pin!(twice).next()).await?.context("the watch ended")?;
    ensure!(event.reporting_controller.as_deref() == Some("site-operator"), "{event:?}");
    ensure!(event.regarding.is_some_and(|regarding| regarding.kind.as_deref() == Some("Site")));
    ensure!(told.list(&ListParams::default().fields("regarding.name=blog")).await?.items.len() == 1);
    Ok(())
}
