//! Certificates that are replaced while clients and the server run: nothing is dropped.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::Service;
use reeve_api::ObjectKey;
use reeve_client::{Client, Scope, reflect};
use serde_json::json;

use crate::support::TestServer;

/// Puts a user's certificate and key into the place of those in use, each by renaming.
fn take(server: &TestServer, user: &str, folder: &Path) {
    for part in ["key", "crt"] {
        let source = server.file(&format!("{user}.{part}"));
        let new = folder.join(format!("new.{part}"));
        std::fs::copy(source, &new).unwrap();
        std::fs::rename(&new, folder.join(format!("current.{part}"))).unwrap();
    }
}

async fn who(client: &Client) -> Result<String, reeve_client::Error> {
    let answer = client.all::<SelfSubjectReview>().create(&SelfSubjectReview::default()).await?;
    Ok(answer.status.and_then(|status| status.user_info?.username).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_with_a_new_certificate() {
    let server = TestServer::start().await;
    let (admin, node) = ("admin", "system:node:n1");
    let administrator = server.client(admin);
    // Asking for a client makes the user's files.
    drop(server.client(node));
    let folder = tempfile::tempdir().unwrap();
    take(&server, admin, folder.path());
    let kubeconfig = folder.path().join("kubeconfig");
    let text = format!(
        "clusters: [{{name: c, cluster: {{server: '{}', certificate-authority: '{}'}}}}]\n\
         users: [{{name: u, user: {{client-certificate: current.crt, client-key: current.key}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n",
        administrator.config().server,
        server.file("ca.crt").display()
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let client = Client::following(&kubeconfig).unwrap();
    let before = who(&client).await.unwrap();
    let services = reflect::<Service>(&client, Scope::all(), |_| {});
    services.wait_synced().await;

    // Requests go on all the time.
    let stop = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn({
        let (client, stop) = (client.clone(), stop.clone());
        async move {
            let mut answers = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                who(&client).await?;
                answers += 1;
            }
            Ok::<_, reeve_client::Error>(answers)
        }
    });
    take(&server, node, folder.path());
    let changed = async { while who(&client).await.unwrap() == before {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), changed).await.expect("the new certificate is taken up");
    assert_eq!(who(&client).await.unwrap(), node);

    // The watch has moved over and sees what comes.
    let service = json!({"metadata": {"name": "later"}, "spec": {"ports": [{"port": 80}]}});
    let service: Service = serde_json::from_value(service).unwrap();
    let made = administrator.namespaced::<Service>("default").create(&service).await.unwrap();
    let revision = made.metadata.resource_version.unwrap().parse().unwrap();
    let seen = services.wait_revision(revision);
    tokio::time::timeout(std::time::Duration::from_secs(20), seen).await.expect("the watch goes on");
    assert!(services.get(&ObjectKey::new("default", "later")).is_some());
    stop.store(true, Ordering::Relaxed);
    let answers = asking.await.unwrap().expect("no request fails meanwhile");
    assert!(answers > 0);
}
