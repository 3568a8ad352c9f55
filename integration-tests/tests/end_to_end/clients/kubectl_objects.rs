//! `kubectl` on what the API server alone answers: reading in every form, creating, applying,
//! changing, deleting, explaining, asking what one may do.

use anyhow::{Result, ensure};
use reeve_integration_tests::{
    bed::bed,
    follow::Follow,
    kubectl::{Kubectl, TIMEOUT, contains},
};

const MAP: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {set: one}}
data: {colour: red, size: '1'}
";

const SCALED: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: idle, labels: {app: idle}}
spec:
  replicas: 0
  selector: {matchLabels: {app: idle}}
  template:
    metadata: {labels: {app: idle}}
    spec:
      containers:
      - {name: main, image: 'reeve.local/demo:1', ports: [{containerPort: 8080}]}
      - {name: side, image: 'reeve.local/demo:1'}
";

#[test]
fn clients_kubectl_reads_in_every_form() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-reads")?;
    kubectl.feed(&["apply", "-f", "-"], MAP)?;
    kubectl.feed(&["apply", "-f", "-"], SCALED)?;
    contains(&kubectl.run(&["get", "deploy", "idle"])?, &["READY", "UP-TO-DATE", "0/0"])?;
    contains(&kubectl.run(&["get", "deploy", "idle", "-o", "wide"])?, &["CONTAINERS", "main,side", "app=idle"])?;
    contains(&kubectl.run(&["get", "deploy", "--show-labels", "--no-headers"])?, &["app=idle"])?;
    contains(&kubectl.run(&["get", "cm", "settings", "-o", "yaml"])?, &["kind: ConfigMap", "  colour: red"])?;
    assert_eq!(kubectl.json(&["get", "cm", "settings"])?["data"]["size"], "1");
    assert_eq!(kubectl.run(&["get", "cm,deploy", "-o", "name", "-l", "set=one"])?, "configmap/settings\n");
    let containers = "jsonpath={range .spec.template.spec.containers[*]}{.name}/{end}";
    assert_eq!(kubectl.run(&["get", "deploy", "idle", "-o", containers])?, "main/side/");
    assert_eq!(kubectl.run(&["get", "cm", "settings", "-o", "go-template={{.data.colour}}"])?, "red");
    let columns = kubectl.run(&["get", "cm", "settings", "-o", "custom-columns=N:.metadata.name,C:.data.colour"])?;
    assert_eq!(columns, "N          C\nsettings   red\n");
    let sorted = ["get", "cm", "--sort-by=.metadata.name", "-o", "name"];
    assert_eq!(kubectl.run(&sorted)?, "configmap/kube-root-ca.crt\nconfigmap/settings\n");
    let by_field = kubectl.run(&["get", "cm", "--field-selector=metadata.name!=kube-root-ca.crt", "-o", "name"])?;
    assert_eq!(by_field, "configmap/settings\n");
    contains(&kubectl.run(&["get", "all"])?, &["deployment.apps/idle", "replicaset.apps/idle-"])?;
    let chunked = kubectl.run(&["get", "clusterroles", "--chunk-size=7", "-o", "name"])?;
    assert_eq!(chunked, kubectl.run(&["get", "clusterroles", "--chunk-size=0", "-o", "name"])?);
    contains(&kubectl.run(&["get", "pods", "-A", "--no-headers"])?, &["web-"])?;
    let missing = kubectl.ends_with(1, &["get", "cm", "missing"])?;
    assert_eq!(missing, "Error from server (NotFound): configmaps \"missing\" not found\n");
    let unknown = kubectl.ends_with(1, &["get", "nothings"])?;
    assert_eq!(unknown, "error: the server doesn't have a resource type \"nothings\"\n");
    contains(&kubectl.run(&["describe", "deploy", "idle"])?, &["RollingUpdateStrategy:", "side:", "Selector:  "])?;
    contains(&kubectl.run(&["describe", "cm", "settings"])?, &["colour:\n----\nred"])?;
    // What tools ask for by path.
    contains(&kubectl.run(&["get", "--raw", "/readyz?verbose"])?, &["[+]ping ok", "readyz check passed"])?;
    contains(&kubectl.run(&["version"])?, &["Server Version: v1.36"])?;
    contains(&kubectl.run(&["cluster-info"])?, &["control plane", "is running at"])?;
    contains(&kubectl.run(&["api-versions"])?, &["apps/v1\n", "discovery.k8s.io/v1\n", "v1\n"])?;
    let resources = kubectl.run(&["api-resources", "--api-group=apps", "-o", "wide", "--no-headers"])?;
    contains(&resources, &["deployments", "deploy ", "Deployment", "patch,update,watch   all"])?;
    contains(&kubectl.run(&["api-resources", "--namespaced=false", "-o", "name"])?, &["nodes\n", "namespaces\n"])?;
    let completed = kubectl.run(&["__complete", "get", "cm", "sett"])?;
    ensure!(completed.starts_with("settings\n"), "completion knows the names: {completed}");
    Ok(())
}

#[test]
fn clients_kubectl_watches() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-watches")?;
    kubectl.feed(&["create", "-f", "-"], &MAP.replace("set: one", "watched: 'yes'"))?;
    let watch = ["get", "cm", "-l", "watched=yes", "--watch", "--output-watch-events", "--no-headers"];
    let mut changes = Follow::start(kubectl.command(&watch))?;
    let mut wait_for = |what: &str, event: &str, data: &str| {
        let wanted = [event, "settings", data];
        changes.wait_for(what, |line| line.split_whitespace().take(3).eq(wanted))
    };
    wait_for("the object that is there", "ADDED", "2")?;
    kubectl.run(&["patch", "cm", "settings", "--type=merge", "-p", r#"{"data": {"n": "1"}}"#])?;
    wait_for("its change", "MODIFIED", "3")?;
    // It leaves the selection: for who watches, that is its end.
    kubectl.run(&["label", "cm", "settings", "watched-"])?;
    wait_for("its leaving", "DELETED", "3")?;
    kubectl.run(&["label", "cm", "settings", "watched=yes"])?;
    wait_for("its coming back", "ADDED", "3")?;
    Ok(())
}

#[test]
fn clients_kubectl_creates_with_every_sub_command() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-creates")?;
    kubectl.file("words.txt", "from a file\n")?;
    let create = |line: &str| -> Result<String> {
        kubectl.run(&std::iter::once("create").chain(line.split(' ')).collect::<Vec<_>>())
    };
    create("configmap words --from-literal=a=b --from-file=words.txt")?;
    assert_eq!(kubectl.json(&["get", "cm", "words"])?["data"]["words.txt"], "from a file\n");
    create("secret generic keys --from-literal=word=open")?;
    assert_eq!(kubectl.run(&["get", "secret", "keys", "-o", "go-template={{.data.word | base64decode}}"])?, "open");
    create("secret docker-registry pulls --docker-username=u --docker-password=p")?;
    assert_eq!(kubectl.json(&["get", "secret", "pulls"])?["type"], "kubernetes.io/dockerconfigjson");
    create("deployment none --image=reeve.local/demo:1 --replicas=0 --port=8080")?;
    kubectl.run(&["expose", "deployment", "none", "--port=80", "--target-port=8080", "--name=exposed"])?;
    assert_eq!(kubectl.json(&["get", "svc", "exposed"])?["spec"]["selector"]["app"], "none");
    create("service clusterip inside --tcp=80:8080")?;
    create("service nodeport outside --tcp=80")?;
    create("service externalname elsewhere --external-name=example.com")?;
    contains(&kubectl.run(&["get", "svc"])?, &["ExternalName   <none>", "NodePort ", "80/TCP"])?;
    let broken = ["create", "cronjob", "never", "--image=reeve.local/demo:1", "--schedule=now"];
    contains(&kubectl.ends_with(1, &broken)?, &["spec.schedule: Invalid value: \"now\""])?;
    kubectl.run(&["create", "cronjob", "never", "--image=reeve.local/demo:1", "--schedule=0 0 31 2 *"])?;
    create("role reader --verb=get,list --resource=pods,deployments.apps")?;
    create("rolebinding readers --role=reader --serviceaccount=kubectl-creates:default")?;
    create("serviceaccount worker")?;
    let token = create("token worker --duration=10m")?;
    assert_eq!(token.trim().split('.').count(), 3, "a token has three parts");
    create("quota limits --hard=configmaps=3,pods=2")?;
    create("poddisruptionbudget keep --selector=app=none --min-available=1")?;
    create("ingress way --rule=a.example.com/*=inside:80")?;
    contains(
        &kubectl.run(&["get", "ingress,pdb,rolebinding,cronjob"])?,
        &["a.example.com", "Role/reader", "0 0 31 2 *"],
    )?;
    contains(&kubectl.run(&["describe", "ingress", "way"])?, &["a.example.com", "inside:80"])?;
    kubectl.run(&["autoscale", "deployment", "none", "--min=1", "--max=3", "--cpu=50%"])?;
    contains(&kubectl.run(&["get", "hpa"])?, &["Deployment/none", "50%"])?;
    contains(&kubectl.ends_with(1, &["create", "configmap", "words"])?, &["configmaps \"words\" already exists"])?;
    let tried = kubectl.run(&["create", "configmap", "tried", "--dry-run=server", "-o", "name"])?;
    assert_eq!(tried, "configmap/tried\n");
    kubectl.ends_with(1, &["get", "configmap", "tried"])?;
    // The quota counts: one map is its own, two are the tests'.
    kubectl.run(&["create", "configmap", "third"])?;
    kubectl.run(&["wait", "--for=jsonpath={.status.used.configmaps}=3", "quota/limits", TIMEOUT])?;
    contains(
        &kubectl.ends_with(1, &["create", "configmap", "fourth"])?,
        &["exceeded quota: limits", "limited: configmaps=3"],
    )?;
    Ok(())
}

#[test]
fn clients_kubectl_applies_prunes_diffs_and_edits() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-applies")?;
    let apply = |text: &str, more: &[&str]| kubectl.feed(&[&["apply", "-f", "-"], more].concat(), text);
    assert_eq!(apply(MAP, &[])?, "configmap/settings created\n");
    assert_eq!(apply(MAP, &[])?, "configmap/settings unchanged\n");
    let changed = MAP.replace("colour: red, ", "");
    let file = kubectl.file("changed.yaml", &changed)?;
    contains(&kubectl.ends_with(1, &["diff", "-f", file])?, &["-  colour: red\n"])?;
    assert_eq!(apply(&changed, &[])?, "configmap/settings configured\n");
    assert_eq!(kubectl.run(&["get", "cm", "settings", "-o", "jsonpath={.data}"])?, r#"{"size":"1"}"#);
    kubectl.run(&["diff", "-f", file])?;
    // Containers are merged by name: what another wrote stays.
    apply(SCALED, &[])?;
    kubectl.run(&["set", "env", "deployment/idle", "-c", "side", "BY=hand"])?;
    apply(&SCALED.replace("containerPort: 8080", "containerPort: 9090"), &[])?;
    let idle = kubectl.json(&["get", "deployment", "idle"])?;
    let containers = &idle["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers[0]["ports"], serde_json::json!([{"containerPort": 9090, "protocol": "TCP"}]));
    assert_eq!(containers[1]["env"][0]["value"], "hand");
    // What is not in the set any more goes.
    let second = MAP.replace("settings", "second");
    apply(&format!("{MAP}---{second}"), &[])?;
    let pruned = apply(MAP, &["--prune", "-l", "set=one", "--prune-allowlist=core/v1/ConfigMap"])?;
    contains(&pruned, &["configmap/settings unchanged\n", "configmap/second pruned\n"])?;
    // Server-side: conflicts name who owns what, and force takes it.
    let sided = "{apiVersion: v1, kind: ConfigMap, metadata: {name: sided}, data: {a: '1', b: '1'}}";
    assert_eq!(apply(sided, &["--server-side"])?, "configmap/sided serverside-applied\n");
    let other = kubectl.file("other.yaml", &sided.replace("a: '1', b: '1'", "a: '2'"))?;
    let as_other = ["apply", "--server-side", "--field-manager=other", "-f", other];
    contains(
        &kubectl.ends_with(1, &as_other)?,
        &["1 conflict: conflict with \"kubectl\": .data.a", "--force-conflicts"],
    )?;
    kubectl.run(&[&as_other[..], &["--force-conflicts"]].concat())?;
    apply(&sided.replace("a: '1', b: '1'", "c: '1'"), &["--server-side"])?;
    assert_eq!(kubectl.run(&["get", "cm", "sided", "-o", "jsonpath={.data}"])?, r#"{"a":"2","c":"1"}"#);
    // From client-side to server-side: ownership migrates, so that what is left out goes.
    apply(&MAP.replace(", size: '1'", ""), &["--server-side"])?;
    assert_eq!(kubectl.run(&["get", "cm", "settings", "-o", "jsonpath={.data}"])?, r#"{"colour":"red"}"#);
    contains(&kubectl.run(&["apply", "view-last-applied", "cm/settings"])?, &["ConfigMap"])?;
    // An editor that changes, one that does not, one that breaks the object.
    let edit = |script: &str| {
        let mut edit = kubectl.command(&["edit", "configmap", "settings"]);
        xtask::command::run(edit.env("KUBE_EDITOR", format!("sed -i {script}")))
    };
    assert_eq!(edit("s/colour:\\ red/colour:\\ blue/")?, "configmap/settings edited\n");
    assert_eq!(kubectl.run(&["get", "cm", "settings", "-o", "jsonpath={.data.colour}"])?, "blue");
    edit("s/none-such/x/")?;
    // A typing error is told of, by the server's validation.
    let wrong = kubectl.file("wrong.yaml", &MAP.replace("\ndata:", "\ndta:"))?;
    contains(&kubectl.ends_with(1, &["apply", "-f", wrong])?, &["strict decoding error: unknown field \"dta\""])?;
    contains(&kubectl.ends_with(1, &["apply", "-f", wrong, "--server-side"])?, &["dta"])?;
    Ok(())
}

#[test]
fn clients_kubectl_changes_and_deletes() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-changes")?;
    kubectl.feed(&["create", "-f", "-"], MAP)?;
    kubectl.feed(&["create", "-f", "-"], SCALED)?;
    assert_eq!(kubectl.run(&["label", "cm", "settings", "tier=a"])?, "configmap/settings labeled\n");
    contains(&kubectl.ends_with(1, &["label", "cm", "settings", "tier=b"])?, &["'tier' already has a value (a)"])?;
    kubectl.run(&["label", "cm", "settings", "tier=b", "--overwrite"])?;
    assert_eq!(kubectl.run(&["label", "cm", "settings", "tier-"])?, "configmap/settings unlabeled\n");
    kubectl.run(&["annotate", "cm", "--all", "note=x"])?;
    assert_eq!(kubectl.run(&["get", "cm", "settings", "-o", "jsonpath={.metadata.annotations.note}"])?, "x");
    let patch = |kind: &str, patch: &str| kubectl.run(&["patch", "deployment", "idle", "--type", kind, "-p", patch]);
    patch("strategic", r#"{"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}"#)?;
    patch("json", r#"[{"op": "add", "path": "/metadata/labels/added", "value": "yes"}]"#)?;
    patch("merge", r#"{"metadata": {"labels": {"app": null}}, "spec": {"paused": true}}"#)?;
    let idle = kubectl.json(&["get", "deployment", "idle"])?;
    assert_eq!(idle["metadata"]["labels"], serde_json::json!({"added": "yes"}));
    assert_eq!(idle["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len), Some(1));
    contains(&patch("merge", r#"{"spec": {"paused": true}}"#)?, &["patched (no change)"])?;
    kubectl.run(&[
        "patch",
        "deployment",
        "idle",
        "--subresource=scale",
        "--type=merge",
        "-p",
        r#"{"spec":{"replicas":0}}"#,
    ])?;
    let invalid = kubectl.output(&["patch", "deployment", "idle", "-p", r#"{"spec":{"replicas":-1}}"#])?;
    let told = String::from_utf8_lossy(&invalid.stderr);
    contains(
        &told,
        &["The Deployment \"idle\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
    )?;
    // To replace needs what is there; a stale version is refused.
    let mut stored = kubectl.json(&["get", "cm", "settings"])?;
    kubectl.run(&["label", "cm", "settings", "newer=yes"])?;
    stored["data"] = serde_json::json!({"a": "replaced"});
    let file = kubectl.file("stale.json", &stored.to_string())?;
    contains(&kubectl.ends_with(1, &["replace", "-f", file])?, &["(Conflict)", "the object has been modified"])?;
    kubectl.feed(&["replace", "-f", "-"], &MAP.replace("red", "green"))?;
    kubectl.feed(&["replace", "--force", "-f", "-"], &MAP.replace("red", "black"))?;
    assert_eq!(kubectl.run(&["get", "cm", "settings", "-o", "jsonpath={.data.colour}"])?, "black");
    // Deletion waits for finalizers, and so does `wait`.
    kubectl.run(&["patch", "cm", "settings", "-p", r#"{"metadata": {"finalizers": ["example.com/hold"]}}"#])?;
    kubectl.run(&["delete", "cm", "settings", "--wait=false"])?;
    let waits = kubectl.ends_with(1, &["wait", "--for=delete", "cm/settings", "--timeout=1s"])?;
    contains(&waits, &["timed out waiting for the condition on configmaps/settings"])?;
    kubectl.run(&["patch", "cm", "settings", "-p", r#"{"metadata": {"finalizers": null}}"#])?;
    kubectl.run(&["wait", "--for=delete", "cm/settings", TIMEOUT])?;
    // A Deployment without its ReplicaSet, and then the rest by label.
    let replica_set = kubectl.run(&["get", "rs", "-o", "name"])?;
    kubectl.run(&["delete", "deployment", "idle", "--cascade=orphan"])?;
    assert_eq!(kubectl.run(&["get", "rs", "-o", "name"])?, replica_set);
    kubectl.run(&["delete", "rs", "-l", "app=idle"])?;
    assert_eq!(kubectl.run(&["delete", "cm", "none", "--ignore-not-found"])?, "");
    contains(&kubectl.ends_with(1, &["delete", "cm", "none"])?, &["(NotFound)"])?;
    Ok(())
}

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.kubectl.example.com}
spec:
  group: kubectl.example.com
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget, shortNames: [gd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.count, statusReplicasPath: .status.count}
    additionalPrinterColumns: [{name: Count, type: integer, jsonPath: .spec.count}]
    schema:
      openAPIV3Schema:
        type: object
        description: A thing that is useful.
        properties:
          spec:
            type: object
            properties:
              count: {type: integer, minimum: 0, description: How many there are., default: 1}
              parts: {type: array, items: {type: object, properties: {name: {type: string}}}}
          status: {type: object, properties: {count: {type: integer}, ready: {type: boolean}}}
";

#[test]
fn clients_kubectl_explains_and_knows_custom_kinds() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-explains")?;
    let strategy = kubectl.run(&["explain", "deployment.spec.strategy"])?;
    contains(
        &strategy,
        &["GROUP:      apps", "FIELD: strategy <DeploymentStrategy>", "rollingUpdate\t<RollingUpdateDeployment>"],
    )?;
    let recursive = kubectl.run(&["explain", "pod.spec.containers", "--recursive"])?;
    contains(&recursive, &["  name\t<string> -required-", "    containerPort\t<integer> -required-"])?;
    contains(&kubectl.ends_with(1, &["explain", "pod.spec.none"])?, &["field \"none\" does not exist"])?;

    kubectl.feed(&["apply", "-f", "-"], DEFINITION)?;
    let removed = Definition(&kubectl);
    kubectl.run(&["wait", "--for=condition=Established", "crd/gadgets.kubectl.example.com", TIMEOUT])?;
    contains(&kubectl.run(&["explain", "gadget.spec.count"])?, &["FIELD: count <integer>", "How many there are."])?;
    contains(&kubectl.run(&["explain", "gadgets", "--recursive"])?, &["A thing that is useful.", "parts\t<[]Object>"])?;
    contains(
        &kubectl.run(&["api-resources", "--api-group=kubectl.example.com"])?,
        &["gd", "kubectl.example.com/v1", "Gadget"],
    )?;
    kubectl.feed(
        &["apply", "-f", "-"],
        "{apiVersion: kubectl.example.com/v1, kind: Gadget, metadata: {name: g}, spec: {}}",
    )?;
    let table = kubectl.run(&["get", "gd"])?;
    ensure!(table.starts_with("NAME   COUNT\ng      1"), "the definition's columns, and its default: {table}");
    contains(&kubectl.run(&["get", "all"])?, &["gadget.kubectl.example.com/g"])?;
    kubectl.run(&["scale", "gadget", "g", "--replicas=3"])?;
    let status =
        ["patch", "gadget", "g", "--subresource=status", "--type=merge", "-p", r#"{"status": {"ready": true}}"#];
    kubectl.run(&status)?;
    kubectl.run(&["wait", "--for=jsonpath={.status.ready}=true", "gadget/g", TIMEOUT])?;
    assert_eq!(kubectl.run(&["get", "gadget", "g", "-o", "jsonpath={.spec.count}"])?, "3");
    let negative = kubectl.output(&["patch", "gadget", "g", "--type=merge", "-p", r#"{"spec": {"count": -1}}"#])?;
    contains(&String::from_utf8_lossy(&negative.stderr), &["spec.count in body should be greater than or equal to 0"])?;
    contains(&kubectl.run(&["describe", "gadget", "g"])?, &["Kind:         Gadget", "Ready:  true"])?;
    drop(removed);
    kubectl.ends_with(1, &["get", "gadgets"])?;
    Ok(())
}

/// The definition of the test's own kind, removed with its objects.
struct Definition<'a>(&'a Kubectl);

impl Drop for Definition<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.run(&["delete", "crd", "gadgets.kubectl.example.com"]) {
            eprintln!("clean-up: {error:#}");
        }
    }
}

#[test]
fn clients_kubectl_asks_who_may_do_what() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-access")?;
    let account = "system:serviceaccount:kubectl-access:default";
    let may = |code: i32, question: &[&str]| {
        kubectl.ends_with(code, &[&["auth", "can-i", "--as", account], question].concat())
    };
    assert_eq!(kubectl.run(&["auth", "can-i", "*", "*"])?, "yes\n");
    assert_eq!(may(1, &["list", "pods"])?, "no\n");
    kubectl.run(&[
        "create",
        "rolebinding",
        "viewers",
        "--clusterrole=view",
        "--serviceaccount=kubectl-access:default",
    ])?;
    // The rights come with a watch of the API server's own: the question is asked until they are there.
    let mut answers = Follow::start(kubectl.command(&["get", "rolebinding", "viewers", "--watch", "-o", "name"]))?;
    answers.wait_for("the binding", |line| line.ends_with("/viewers"))?;
    assert_eq!(may(0, &["list", "pods"])?, "yes\n");
    assert_eq!(may(0, &["get", "pods", "--subresource=log"])?, "yes\n");
    assert_eq!(may(1, &["list", "secrets"])?, "no\n");
    assert_eq!(may(1, &["list", "pods", "-A"])?, "no\n");
    contains(&may(0, &["--list"])?, &["pods ", "[get list watch]", "[/readyz]"])?;
    contains(&kubectl.run(&["auth", "whoami", "--as", account])?, &[account, "system:serviceaccounts"])?;
    let refused = kubectl.ends_with(1, &["get", "secrets", "--as", account])?;
    contains(
        &refused,
        &["(Forbidden)", "cannot list resource \"secrets\" in API group \"\" in the namespace \"kubectl-access\""],
    )?;
    Ok(())
}
