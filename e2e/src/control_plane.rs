//! Kubernetes control plane without nodes: etcd, kube-apiserver and kube-controller-manager on loopback.
//!
//! RBAC and the default admission plugins are enabled. The controller manager creates `ServiceAccounts` and runs garbage
//! collection of owned objects as in any cluster; only pods never run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;

use crate::http;
use crate::kubeconfig::Access;
use crate::pki::Pki;
use crate::ports;
use crate::run::{Run, Service};
use crate::tools::Tools;
use crate::wait;

const START: Duration = Duration::from_secs(90);

/// Running control plane; dropping it ends its programs.
pub struct ControlPlane {
    pub admin: Access,
    /// Kubeconfig with administrator rights, for kubectl and helm.
    pub kubeconfig: PathBuf,
    pub client: kube::Client,
    etcd_address: String,
    services: Vec<Service>,
}

impl ControlPlane {
    /// Starts a control plane. Its directory and logs carry the name, which must be unique in the run.
    pub async fn start(run: &Run, tools: &Tools, name: &str) -> Result<Self> {
        let directory = run.subdirectory(name)?;
        let pki = Pki::create(&directory)?;
        let (etcd, etcd_address) = start_etcd(run, tools, name, &directory).await?;
        let apiserver_port = ports::free()?;
        let access = |token: String| Access {
            server: format!("https://127.0.0.1:{apiserver_port}"),
            authority: pki.authority.clone(),
            token,
            namespace: "default".to_owned(),
        };
        let (admin, manager) = (access(secret()?), access(secret()?));
        let tokens = format!(
            "{},admin,admin,system:masters\n{},system:kube-controller-manager,kcm\n",
            admin.token, manager.token
        );
        fs_err::write(directory.join("tokens.csv"), tokens)?;

        let arguments = apiserver_arguments(&directory, &pki, &etcd_address, apiserver_port);
        let apiserver = run.service(&format!("{name}-kube-apiserver"), &tools.kube_apiserver, &arguments, &[]).await?;
        let client = admin.client().await?;
        wait::until(START, "kube-apiserver to be ready", || ready(&client, &apiserver)).await?;

        let manager_kubeconfig = directory.join("controller-manager.kubeconfig");
        manager.write(&manager_kubeconfig)?;
        let arguments = manager_arguments(&pki, &manager_kubeconfig);
        let service = format!("{name}-kube-controller-manager");
        let manager = run.service(&service, &tools.kube_controller_manager, &arguments, &[]).await?;
        wait::until(START, "kube-controller-manager to work", || working(&client, &manager)).await?;

        let kubeconfig = directory.join("admin.kubeconfig");
        admin.write(&kubeconfig)?;
        // In the order in which they must end.
        Ok(Self { admin, kubeconfig, client, etcd_address, services: vec![manager, apiserver, etcd] })
    }

    /// Reads a stored object from etcd, bypassing the API server.
    pub async fn stored(&self, key: &str) -> Result<serde_json::Value> {
        let question = serde_json::json!({"key": STANDARD.encode(key)});
        let answer = http::post_json(&self.etcd_address, "/v3/kv/range", &question.to_string()).await?;
        let answer: serde_json::Value = serde_json::from_str(&answer.body)?;
        let value = answer.pointer("/kvs/0/value").and_then(|value| value.as_str());
        let value = value.with_context(|| format!("etcd has no {key}"))?;
        Ok(serde_json::from_slice(&STANDARD.decode(value)?)?)
    }

    /// Replaces a stored object in etcd, bypassing admission.
    pub async fn store(&self, key: &str, value: &serde_json::Value) -> Result<()> {
        let order = serde_json::json!({"key": STANDARD.encode(key), "value": STANDARD.encode(value.to_string())});
        let answer = http::post_json(&self.etcd_address, "/v3/kv/put", &order.to_string()).await?;
        ensure!(answer.status == 200, "etcd refused to store {key}: {}", answer.body);
        Ok(())
    }

    /// Returns an error if one of the programs has ended.
    pub fn check_running(&self) -> Result<()> {
        self.services.iter().try_for_each(Service::check_running)
    }
}

async fn start_etcd(run: &Run, tools: &Tools, name: &str, directory: &Path) -> Result<(Service, String)> {
    let (client, peer) = (ports::free()?, ports::free()?);
    let arguments = [
        format!("--data-dir={}", directory.join("etcd").display()),
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
        // The data does not outlive the run, so it need not survive a power failure.
        "--unsafe-no-fsync".to_owned(),
    ];
    let etcd = run.service(&format!("{name}-etcd"), &tools.etcd, &arguments, &[]).await?;
    let address = format!("127.0.0.1:{client}");
    wait::until(START, "etcd to be healthy", || async {
        etcd.check_running()?;
        let answer = http::get(&address, "/health").await?;
        Ok((answer.status == 200).then_some(()))
    })
    .await?;
    Ok((etcd, address))
}

fn apiserver_arguments(directory: &Path, pki: &Pki, etcd_address: &str, port: u16) -> Vec<String> {
    vec![
        format!("--etcd-servers=http://{etcd_address}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", pki.server.certificate.display()),
        format!("--tls-private-key-file={}", pki.server.key.display()),
        format!("--service-account-key-file={}", pki.service_account_public_key.display()),
        format!("--service-account-signing-key-file={}", pki.service_account_key.display()),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--token-auth-file={}", directory.join("tokens.csv").display()),
        "--authorization-mode=RBAC".to_owned(),
        "--service-cluster-ip-range=10.98.0.0/24".to_owned(),
        "--allow-privileged=true".to_owned(),
    ]
}

fn manager_arguments(pki: &Pki, kubeconfig: &Path) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--service-account-private-key-file={}", pki.service_account_key.display()),
        format!("--root-ca-file={}", pki.authority.display()),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        // With the default limits the ServiceAccounts of a new cluster take five seconds to appear.
        "--kube-api-qps=300".to_owned(),
        "--kube-api-burst=600".to_owned(),
        "--controllers=*,-node-ipam-controller,-cloud-node-lifecycle-controller".to_owned(),
    ]
}

async fn ready(client: &kube::Client, apiserver: &Service) -> Result<Option<()>> {
    apiserver.check_running()?;
    let request = ::http::Request::get("/readyz").body(Vec::new())?;
    let answer = client.request_text(request).await?;
    Ok((answer == "ok").then_some(()))
}

/// Checks that the controller manager has created the ServiceAccount `default` of the namespace `default`.
async fn working(client: &kube::Client, manager: &Service) -> Result<Option<()>> {
    manager.check_running()?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    Ok(accounts.get_opt("default").await?.map(drop))
}

/// Returns a random bearer token for this run.
fn secret() -> Result<String> {
    let mut random = [0_u8; 24];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}
