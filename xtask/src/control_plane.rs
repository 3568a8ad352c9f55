//! The API server, the scheduler and the controller manager, with the flags that they run with.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    etcd,
    instance::{Instance, POD_CIDR, SERVICE_CIDR},
    join, kubeconfig,
    pki::Pki,
    processes::{Daemon, Daemons, Readiness},
};

/// Writes the kubeconfigs of the administrator and the components.
///
/// # Errors
/// A file cannot be written.
pub fn write_kubeconfigs(instance: &Instance, pki: &Pki) -> Result<()> {
    let server = instance.api_url();
    kubeconfig::write(&server, pki, "admin", "kubernetes-admin", &instance.admin_kubeconfig())?;
    join::write_kubeconfig(instance, pki)?;
    for (identity, user) in [
        ("scheduler", "system:kube-scheduler"),
        ("controller-manager", "system:kube-controller-manager"),
        ("proxy", "system:kube-proxy"),
    ] {
        kubeconfig::write(&server, pki, identity, user, &component_kubeconfig(instance, identity))?;
    }
    Ok(())
}

/// The kubeconfig of a component.
pub fn component_kubeconfig(instance: &Instance, component: &str) -> PathBuf {
    instance.path("kubeconfigs").join(format!("{component}.kubeconfig"))
}

/// Starts the API server and waits until it takes connections.
///
/// # Errors
/// It does not come up.
pub fn start_apiserver(instance: &Instance, pki: &Pki, programs: &Path, daemons: &Daemons) -> Result<()> {
    daemons.ensure(&apiserver(instance, pki, programs))
}

/// Starts what works on the API server.
///
/// # Errors
/// A program cannot be started.
pub fn start_workers(instance: &Instance, pki: &Pki, programs: &Path, daemons: &Daemons) -> Result<()> {
    daemons.ensure(&scheduler(instance, programs))?;
    daemons.ensure(&controller_manager(instance, pki, programs))
}

/// The API server's process.
pub fn apiserver(instance: &Instance, pki: &Pki, programs: &Path) -> Daemon {
    let address = instance.host_address();
    let (etcd_client, serving) = (pki.pair("apiserver-etcd-client"), pki.pair("apiserver"));
    let kubelet_client = pki.pair("apiserver-kubelet-client");
    let authority = pki.pair("ca").certificate;
    let arguments = vec![
        format!("--etcd-servers={}", etcd::client_url(instance)),
        format!("--etcd-cafile={}", pki.pair("etcd-ca").certificate.display()),
        format!("--etcd-certfile={}", etcd_client.certificate.display()),
        format!("--etcd-keyfile={}", etcd_client.key.display()),
        format!("--secure-port={}", instance.settings.api_port),
        format!("--bind-address={address}"),
        format!("--advertise-address={address}"),
        format!("--client-ca-file={}", authority.display()),
        format!("--tls-cert-file={}", serving.certificate.display()),
        format!("--tls-private-key-file={}", serving.key.display()),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--service-node-port-range=30000-32767".to_owned(),
        format!("--service-account-key-file={}", pki.service_account_public_key().display()),
        format!("--service-account-signing-key-file={}", pki.service_account_key().display()),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-bootstrap-token-auth".to_owned(),
        format!("--kubelet-client-certificate={}", kubelet_client.certificate.display()),
        format!("--kubelet-client-key={}", kubelet_client.key.display()),
        format!("--kubelet-certificate-authority={}", authority.display()),
    ];
    let port = SocketAddr::from((address, instance.settings.api_port));
    component("apiserver", programs, arguments, Readiness::NotifyOrPort(port))
}

/// The scheduler's process.
pub fn scheduler(instance: &Instance, programs: &Path) -> Daemon {
    let kubeconfig = component_kubeconfig(instance, "scheduler");
    let arguments = vec![format!("--kubeconfig={}", kubeconfig.display()), "--leader-elect=true".to_owned()];
    component("scheduler", programs, arguments, Readiness::SeenByOthers)
}

/// The controller manager's process.
pub fn controller_manager(instance: &Instance, pki: &Pki, programs: &Path) -> Daemon {
    let authority = pki.pair("ca");
    let mut arguments = vec![
        format!("--kubeconfig={}", component_kubeconfig(instance, "controller-manager").display()),
        "--leader-elect=true".to_owned(),
        "--allocate-node-cidrs=true".to_owned(),
        "--controllers=*,bootstrap-signer-controller,token-cleaner-controller".to_owned(),
        format!("--cluster-cidr={POD_CIDR}"),
        format!("--cluster-signing-cert-file={}", authority.certificate.display()),
        format!("--cluster-signing-key-file={}", authority.key.display()),
        format!("--root-ca-file={}", authority.certificate.display()),
        format!("--service-account-private-key-file={}", pki.service_account_key().display()),
    ];
    arguments.extend(instance.load_balancer_addresses().map(|pool| format!("--load-balancer-addresses={pool}")));
    arguments.extend(instance.settings.controller_manager_flags.iter().cloned());
    component("controller-manager", programs, arguments, Readiness::SeenByOthers)
}

fn component(name: &str, programs: &Path, arguments: Vec<String>, readiness: Readiness) -> Daemon {
    Daemon {
        name: name.to_owned(),
        program: programs.join(name),
        arguments,
        environment: Vec::new(),
        enter: Vec::new(),
        group: "control-plane".to_owned(),
        readiness,
    }
}
