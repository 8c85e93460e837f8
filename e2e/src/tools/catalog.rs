//! Programs, their pinned versions, and the accepted versions of installed programs.

use std::ops::RangeInclusive;

/// Program and its source.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    /// Version pinned in `e2e/tools/<module>/go.mod`; shown, and part of the path in the cache.
    pub(super) version: &'static str,
    pub(super) module: &'static str,
    pub(super) package: &'static str,
    /// Linker flags in addition to those of every program.
    pub(super) ldflags: &'static str,
    pub(super) found: Option<Found>,
}

impl Tool {
    /// Returns the name for progress lines.
    pub(super) fn label(&self) -> String {
        format!("tool {:<24} {:<8}", self.name, self.version)
    }
}

/// Acceptance of an installed program.
#[derive(Debug)]
pub(super) struct Found {
    /// True if `KUBEBUILDER_ASSETS` contains this program.
    pub(super) in_assets: bool,
    /// Arguments to print the version; the first `x.y` in the output counts.
    pub(super) version_args: &'static [&'static str],
    pub(super) major: u32,
    pub(super) minors: RangeInclusive<u32>,
}

/// Version stamp: without it the API server reports v0.0.0 and Helm refuses charts with a `kubeVersion`.
const KUBERNETES_STAMP: &str = "-X k8s.io/component-base/version.gitVersion=v1.36.3 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 \
     -X k8s.io/component-base/version.gitTreeState=clean";

/// Storage of the API server, in versions that all accepted API servers support.
pub(super) const ETCD: Tool = Tool {
    name: "etcd",
    version: "v3.7",
    module: "etcd",
    package: ".",
    ldflags: "",
    found: Some(Found { in_assets: true, version_args: &["--version"], major: 3, minors: 6..=8 }),
};

/// API server: old enough to be common, new enough for every CEL function in the CRD.
pub(super) const KUBE_APISERVER: Tool = Tool {
    name: "kube-apiserver",
    version: "v1.36.3",
    module: "kubernetes",
    package: "k8s.io/kubernetes/cmd/kube-apiserver",
    ldflags: KUBERNETES_STAMP,
    found: Some(Found { in_assets: true, version_args: &["--version"], major: 1, minors: 35..=37 }),
};

pub(super) const KUBE_CONTROLLER_MANAGER: Tool = Tool {
    name: "kube-controller-manager",
    version: "v1.36.3",
    module: "kubernetes",
    package: "k8s.io/kubernetes/cmd/kube-controller-manager",
    ldflags: KUBERNETES_STAMP,
    found: Some(Found { in_assets: false, version_args: &["--version"], major: 1, minors: 35..=37 }),
};

/// Kubernetes supports a client one minor version away from its server.
pub(super) const KUBECTL: Tool = Tool {
    name: "kubectl",
    version: "v1.36.3",
    module: "kubernetes",
    package: "k8s.io/kubernetes/cmd/kubectl",
    ldflags: KUBERNETES_STAMP,
    found: Some(Found { in_assets: true, version_args: &["version", "--client"], major: 1, minors: 35..=37 }),
};

/// 3.14 is the first version with `--plain-http` for `helm push`; version 4 has not been tested.
pub(super) const HELM: Tool = Tool {
    name: "helm",
    version: "v3.22.0",
    module: "oci",
    package: "helm.sh/helm/v3/cmd/helm",
    ldflags: "-X helm.sh/helm/v3/internal/version.version=v3.22.0",
    found: Some(Found { in_assets: false, version_args: &["version", "--short"], major: 3, minors: 14..=99 }),
};

/// Reference client of the artifacts that it pushes; 1.3 is the first version that makes indexes and sets platforms.
pub(super) const ORAS: Tool = Tool {
    name: "oras",
    version: "v1.3.3",
    module: "oras",
    package: "oras.land/oras/cmd/oras",
    ldflags: "",
    found: Some(Found { in_assets: false, version_args: &["version"], major: 1, minors: 3..=99 }),
};

/// Tests read its access log, whose format is the same in all of version 3.
pub(super) const REGISTRY: Tool = Tool {
    name: "registry",
    version: "v3.1.2",
    module: "oci",
    package: "github.com/distribution/distribution/v3/cmd/registry",
    ldflags: "-X github.com/distribution/distribution/v3/version.version=v3.1.2",
    found: Some(Found { in_assets: false, version_args: &["--version"], major: 3, minors: 0..=99 }),
};

/// Program of this repository on in-memory registry libraries: distribution has no referrers API.
pub(super) const REGISTRY_REFERRERS: Tool = Tool {
    name: "registry-referrers",
    version: "v0.3.0",
    module: "registry-referrers",
    package: ".",
    ldflags: "",
    found: None,
};

/// Program of this repository on the producers' client libraries.
pub(super) const PUBLISH: Tool =
    Tool { name: "publish", version: "v0.2.0", module: "push", package: ".", ldflags: "", found: None };

/// Reference client of Sigstore: tests verify its signatures, and compare the operator's verdicts with its verdicts.
pub(super) const COSIGN: Tool = Tool {
    name: "cosign",
    version: "v3.1.3",
    module: "sigstore",
    package: "github.com/sigstore/cosign/v3/cmd/cosign",
    ldflags: "-X sigs.k8s.io/release-utils/version.gitVersion=v3.1.3",
    found: None,
};

/// Sigstore's certificate authority.
pub(super) const FULCIO: Tool = Tool {
    name: "fulcio",
    version: "v1.8.8",
    module: "sigstore",
    package: "github.com/sigstore/fulcio",
    ldflags: "",
    found: None,
};

/// Sigstore's transparency log, version 2, on a file system.
pub(super) const REKOR: Tool = Tool {
    name: "rekor-server-posix",
    version: "v2.3.0",
    module: "sigstore",
    package: "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix",
    ldflags: "",
    found: None,
};

/// Program of this repository on the library of Sigstore's timestamp authority.
pub(super) const TIMESTAMP_SERVER: Tool =
    Tool { name: "timestamp-server", version: "v2.1.3", module: "sigstore", package: ".", ldflags: "", found: None };

/// Program of this repository on the Lua interpreter of Argo CD, for the scripts in `config/argocd`.
pub(super) const LUA: Tool =
    Tool { name: "lua", version: "v1.1.1", module: "lua", package: ".", ldflags: "", found: None };

/// Client of go-containerregistry, which writes and reads image layouts.
pub(super) const CRANE: Tool = Tool {
    name: "crane",
    version: "v0.22.1",
    module: "crane",
    package: "github.com/google/go-containerregistry/cmd/crane",
    ldflags: "",
    found: None,
};

/// Program of this repository on skopeo's library.
pub(super) const CONTAINERS_COPY: Tool =
    Tool { name: "containers-copy", version: "v5.42.1", module: "containers", package: ".", ldflags: "", found: None };
