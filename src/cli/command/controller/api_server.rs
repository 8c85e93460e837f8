//! Addresses of the API server, which are inside the private networks and never a registry.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;

use crate::failure::causes;
use crate::registry::address::is_closed_port;

/// Maximum number of addresses that are closed.
const MAX_ADDRESSES: usize = 64;

/// Returns the address of the API server's Service, and those of its endpoints if the operator may read them.
pub(crate) async fn addresses(client: &kube::Client) -> Vec<IpAddr> {
    let service = std::env::var("KUBERNETES_SERVICE_HOST").ok().and_then(|text| text.parse().ok());
    // The API server writes its own endpoints under this name.
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let endpoints = match slices.get("kubernetes").await {
        Ok(slice) => own(&slice),
        Err(error) => {
            tracing::warn!(
                error = causes(&error),
                "the API server's endpoints cannot be read, so they are not closed to registries. Grant get on the \
                 EndpointSlice default/kubernetes, or name their network in --deny-cidr"
            );
            Vec::new()
        }
    };
    service.into_iter().chain(endpoints).collect()
}

/// Returns the endpoint addresses that are closed on every port: none if all ports of the endpoints are closed anyway.
/// On small clusters a registry is on the same node, at another port.
fn own(slice: &EndpointSlice) -> Vec<IpAddr> {
    let ports = slice.ports.iter().flatten().filter_map(|port| u16::try_from(port.port?).ok());
    if ports.into_iter().all(is_closed_port) {
        return Vec::new();
    }
    let addresses =
        slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).filter_map(|text| text.parse().ok());
    // Loopback is closed unless the operator opens a network inside it, which is then intended.
    addresses.filter(|address: &IpAddr| !address.is_loopback()).take(MAX_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_are_closed_unless_their_port_is() {
        let slice = |ports: &[u16], addresses: &[&str]| -> EndpointSlice {
            let ports: Vec<_> = ports.iter().map(|port| json!({"name": "https", "port": port})).collect();
            serde_json::from_value(json!({
                "addressType": "IPv4", "metadata": {"name": "kubernetes"}, "ports": ports,
                "endpoints": [{"addresses": addresses}],
            }))
            .unwrap()
        };
        let rows: [(&[u16], &[&str], &[&str]); 5] = [
            (&[443], &["10.0.7.1", "10.0.8.1"], &["10.0.7.1", "10.0.8.1"]),
            (&[6443], &["192.168.1.10"], &[]),
            (&[6443, 443], &["192.168.1.10"], &["192.168.1.10"]),
            (&[8443], &["127.0.0.1", "fd12::1"], &["fd12::1"]),
            (&[443], &["no address"], &[]),
        ];
        for (ports, addresses, want) in rows {
            let want: Vec<IpAddr> = want.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(own(&slice(ports, addresses)), want, "{ports:?} {addresses:?}");
        }
    }
}
