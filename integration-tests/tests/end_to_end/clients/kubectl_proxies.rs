//! `kubectl get --raw` of pods and Services: HTTP through the API server, which is not on the pods' network.

use anyhow::{Context, Result};
use reeve_integration_tests::{
    bed::{bed, is_serving, name, who},
    kubectl::Kubectl,
};

#[test]
fn clients_kubectl_reaches_pods_and_services_through_the_server() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("proxied")?;
    let pods = deployed.wait_pods("three pods serve", |pods| pods.iter().filter(|pod| is_serving(pod)).count() == 3)?;
    let kubectl = Kubectl::new(&bed, "proxies")?;
    let path = |rest: &str| format!("/api/v1/namespaces/default/{rest}");
    for pod in &pods {
        let pod = name(pod);
        for place in [format!("pods/{pod}/proxy/"), format!("pods/http:{pod}:8080/proxy/?a=b")] {
            assert_eq!(who(&kubectl.run(&["get", "--raw", &path(&place)])?), pod, "{place}");
        }
    }
    for place in ["services/proxied:80/proxy/", "services/http:proxied:http/proxy/"] {
        let answer = kubectl.run(&["get", "--raw", &path(place)])?;
        assert!(answer.starts_with("proxied-"), "{place}: {answer}");
    }
    // Every method goes on: these are answered by the pod, not by the server.
    let body = kubectl.folder.path().join("body");
    std::fs::write(&body, "{}")?;
    let body = body.to_str().context("a path in UTF-8")?;
    for method in [&["create", "-f", body][..], &["replace", "-f", body], &["delete"]] {
        let place = path("services/proxied:80/proxy/");
        let output = kubectl.output(&[method, &["--raw", place.as_str()]].concat())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("does not allow this method"), "{method:?}: {said}");
    }
    let refused = kubectl.output(&["get", "--raw", &path(&format!("pods/{}:9/proxy/", name(&pods[0])))])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("error trying to reach service") && said.contains("refused"), "{said}");
    Ok(())
}
