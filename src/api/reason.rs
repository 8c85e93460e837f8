//! Reasons of conditions and Events. They are API: CamelCase and stable, each with its meaning and its remedy.

macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $name:ident: $remedy:literal,)+) => {
        /// Reason of an object's conditions and Events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $meaning])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Returns the stable text.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Returns the reason with this text, as stored in status.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
            }

            /// Returns the meaning, one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($meaning),+).trim_ascii(),)+ }
            }

            /// Returns the remedy, one sentence.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

reasons! {
    /// Every output holds the digest that spec.image resolves to.
    Succeeded: "Nothing to do.",
    /// A pass is in progress.
    Progressing: "Wait; the message names the current step.",
    /// `spec.suspend` is set; nothing is resolved or fetched.
    Suspended: "Set spec.suspend to false to resume.",
    /// The spec is invalid, or its fields contradict each other.
    InvalidSpec: "Correct the field that the message names.",
    /// A Secret, ConfigMap or ServiceAccount that the spec names, or a key in it, does not exist.
    SecretNotFound: "Create the Secret, ConfigMap, ServiceAccount or key that the message names, or grant the operator get on it if it is forbidden; the operator reads it again every few seconds.",
    /// A Secret or ConfigMap that the spec names does not have the expected content.
    SecretInvalid: "Correct the Secret or ConfigMap that the message names; a kubernetes.io/basic-auth Secret requires the annotation supercargo.dev/registry with its host.",
    /// A file that an option of a command names does not exist. Only commands report it.
    FileNotFound: "Correct the path that the message names.",
    /// A file that an option of a command names, or its standard input, cannot be read or does not have the expected
    /// content. Only commands report it.
    FileInvalid: "Name a readable file with the content that the option requires; --help shows its form.",
    /// The registry has no such repository, tag or digest, or hides it from these credentials.
    ReferenceNotFound: "Check spec.image and the pull secret: some registries hide repositories that the credentials may not read. If the tag is not pushed yet, push it; the operator retries.",
    /// No tag of the repository matches spec.semver.
    NoMatchingTag: "Correct spec.semver, or push a tag with a version in its range; the operator retries.",
    /// The registry refused the credentials, or requires credentials.
    Unauthorized: "Name a pull secret with the right user and password in spec.registry.pullSecrets.",
    /// The registry accepts the credentials but does not allow the access to the repository.
    Forbidden: "Give the user of the pull secret read access to the repository.",
    /// The registry cannot be reached, or responds with an error of its own.
    RegistryUnavailable: "Check the registry and the network; the operator retries.",
    /// The registry limits the rate of requests.
    RateLimited: "Wait, use longer intervals, or log in with a pull secret for a higher limit.",
    /// The registry, or a host that it refers to, has an address that the operator does not connect to, or may not be
    /// contacted without TLS.
    AddressDenied: "Check spec.image. If the message names a flag of the operator, an administrator can set it; --plain-http-host allows HTTP.",
    /// The TLS connection to the registry failed.
    TLSFailed: "Check the registry's certificate and its expiry; set a private authority in spec.registry.caRef, and a required client certificate in spec.registry.clientCertificateRef.",
    /// The manifest is malformed, or contradicts itself.
    ManifestInvalid: "Push the artifact again with a current client.",
    /// The index has no manifest for spec.platform, or several and spec.platform is not set.
    PlatformNotFound: "Set spec.platform to a platform that the message names.",
    /// The artifact's type is not in spec.artifactTypes.
    UnexpectedArtifactType: "Correct spec.image, or add the type that the message names to spec.artifactTypes.",
    /// No layer of the artifact is selected by spec.layers.
    NoMatchingLayer: "Correct spec.layers or the image; the message names the layers of the artifact.",
    /// A layer is neither tar, tar+gzip, tar+zstd nor zip, and is not published as a plain file.
    UnsupportedFormat: "Push the content as tar, tar+gzip, tar+zstd, zip or plain file layers, or set spec.layers.mode to File.",
    /// Content does not match its digest or size.
    DigestMismatch: "Look for a broken or hostile registry, mirror or proxy, or for another writer of the volume, ConfigMap or Secret that the message names.",
    /// The artifact exceeds a limit.
    LimitExceeded: "Make the artifact smaller, or raise the limit that the message names; for the limit of a namespace, delete objects in it.",
    /// An archive is corrupt or ambiguous, or has an entry that could leave its directory or is not a regular file,
    /// directory or safe link.
    UnsafeArchive: "If the message names an entry, push the artifact without it; otherwise build the archive again, and push it.",
    /// Two layers have different content for the same path.
    LayerConflict: "Push the artifact with each path in one layer only, or set spec.layers.onConflict to LastWins.",
    /// The artifact has no directory spec.files.subPath, or include and exclude leave no file.
    SubPathNotFound: "Correct spec.files, or the output's include and exclude; the message lists what the artifact contains.",
    /// No signature of an accepted format and type was found for the digest.
    SignatureMissing: "Sign the digest that the message names; the operator retries.",
    /// A signature was found, but it does not verify, is malformed, is for another digest, or is not in the log.
    SignatureInvalid: "If its key signs without a log, set transparencyLog: Ignored in the entry; if it is yours, check that the trusted root contains its log and certificate authority; otherwise sign the digest again, and check which key signed it.",
    /// The digest is signed, but not by an accepted signer.
    IdentityMismatch: "If this signer may sign, add it to the entry: NAME is in spec.verify, POLICY/NAME in that OCIArtifactPolicy; otherwise push a revision that an accepted signer signed.",
    /// A policy of the cluster refuses the artifact, regardless of its signatures.
    PolicyDenied: "Contact the administrator of the OCIArtifactPolicy that the message names, or, if it names none, request a policy that allows this repository; or use another artifact.",
    /// A trusted root is invalid, or has expired.
    TrustRootInvalid: "Replace the trusted_root.json of the entry that the message names (trustedRootRef) with a current one; if the entry has none, upgrade the operator, or run it with --refresh-trusted-root.",
    /// The volume is full.
    StorageFull: "Free or add space on the volume that the message names (--work-dir: scratch.sizeLimit, --secret-work-dir: secretWork.sizeLimit); the operator retries.",
    /// A write to a volume failed, or the API server refused a write of a ConfigMap, Secret or status.
    StorageFailed: "For a volume that does not respond, check the server of the share; for another fault of a volume, its mount and ownership; for the API server, the quota, policy or right that the message names.",
    /// The output's place holds something that this object does not own, or file names do not fit the output.
    OutputConflict: "If the message names a removal in progress, wait; otherwise remove or rename the object or directory that the message names, or choose another name or separator for the output.",
    /// The files exceed the size limit of the output.
    OutputTooLarge: "Publish less with spec.files.subPath or the output's include, or use a volume output for content that is not secret.",
    /// The pass took longer than spec.timeout.
    Timeout: "Raise spec.timeout, or check the slow step that the message names.",
    /// A tag at the destination refers to another digest and is not replaced. Only commands report it.
    TagExists: "Publish under another tag, or replace the tag with --force.",
    /// The registry refuses what a command publishes. Only commands report it.
    PublishRefused: "Check the rules of the registry: accepted media types, immutable tags, quotas and sizes.",
    /// The cluster has no such object, or does not know its kind. Only commands report it.
    ObjectNotFound: "Check the name, --namespace and --context; if the message names the kind, install supercargo.",
    /// The API server cannot be reached, or does not complete a request. Only commands report it.
    ClusterUnavailable: "Check --context and the network, and try again.",
    /// An internal error of supercargo.
    Internal: "Report it as a bug, with the output of supercargo version and the operator's log around this time.",
}

impl Reason {
    /// Returns true for reasons that concern signatures, policies or trusted roots.
    pub fn is_of_trust(self) -> bool {
        matches!(
            self,
            Self::SignatureMissing
                | Self::SignatureInvalid
                | Self::IdentityMismatch
                | Self::PolicyDenied
                | Self::TrustRootInvalid
        )
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
