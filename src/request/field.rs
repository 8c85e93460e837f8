//! Fields of a spec in messages, with the option of the command line that sets the same value.
//!
//! An error carries the field, not its name: the same pass runs for objects and for commands, and only the reporter
//! knows its reader. A name in the text of a user or of an artifact is never a [`Field`], so it stays as it is.

/// Reader of a message, which decides the names of fields in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Author of an object: fields have their path, such as `spec.files.subPath`.
    Object,
    /// Author of an entry of an `ArtifactSet`: fields have their path below the entry, such as `files.subPath`.
    Entry,
    /// User of a command: fields are options, such as `--sub-path`.
    Command,
}

/// Beginning of each path.
const SPEC: &str = "spec.";

macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $field:ident: $path:literal, $option:literal;)+) => {
        /// Field of a spec, or of a policy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $($(#[doc = $doc])+ $field,)+
        }

        impl Field {
            /// Every field that a message can name.
            pub const ALL: &'static [Self] = &[$(Self::$field),+];

            /// Returns the path in an object, and the option; the option is empty if no command has one.
            const fn names(self) -> (&'static str, &'static str) {
                match self { $(Self::$field => ($path, $option),)+ }
            }
        }
    };
}

fields! {
    /// Reference of the artifact.
    Image: "spec.image", "IMAGE";
    /// Selection of the tag.
    Semver: "spec.semver", "--semver";
    /// Range of versions.
    SemverRange: "spec.semver.range", "--semver";
    /// Filter of tags.
    SemverFilter: "spec.semver.filter", "--semver-filter";
    /// Platform of the manifest.
    Platform: "spec.platform", "--platform";
    /// Time between two polls.
    Interval: "spec.interval", "";
    /// Time limit of a pass.
    Timeout: "spec.timeout", "--timeout";
    /// Accepted artifact types.
    ArtifactTypes: "spec.artifactTypes", "--artifact-type";
    /// Selection of layers.
    Layers: "spec.layers", "--layer-media-type or --layer-title";
    /// Selection of layers by media type.
    LayerMediaTypes: "spec.layers.mediaTypes", "--layer-media-type";
    /// Selection of layers by title.
    LayerTitles: "spec.layers.titles", "--layer-title";
    /// Directory whose content is published.
    SubPath: "spec.files.subPath", "--sub-path";
    /// Patterns for files to publish.
    Include: "spec.files.include", "--include";
    /// Patterns for files to leave out.
    Exclude: "spec.files.exclude", "--exclude";
    /// Rule for symbolic links.
    Symlinks: "spec.files.symlinks", "--symlinks";
    /// Patterns for the files of one output.
    OutputInclude: "spec.outputs.include", "";
    /// Patterns for files to leave out of one output.
    OutputExclude: "spec.outputs.exclude", "";
    /// HTTP without TLS.
    PlainHttp: "spec.registry.plainHTTP", "--plain-http";
    /// Acceptance of any certificate.
    SkipVerify: "spec.registry.insecureSkipVerify", "--insecure-skip-verify";
    /// Certificate authorities.
    CaRef: "spec.registry.caRef", "--ca-file";
    /// Client certificate with its key.
    ClientCertificateRef: "spec.registry.clientCertificateRef", "--client-certificate and --client-key";
    /// Number of layers.
    LimitLayers: "spec.limits.layers", "--max-layers";
    /// Bytes of one layer.
    LimitLayerBytes: "spec.limits.layerBytes", "--max-layer-bytes";
    /// Bytes of all files.
    LimitExtractedBytes: "spec.limits.extractedBytes", "--max-extracted-bytes";
    /// Bytes of one file.
    LimitFileBytes: "spec.limits.fileBytes", "--max-file-bytes";
    /// Number of entries.
    LimitFiles: "spec.limits.files", "--max-entries";
    /// Levels in a path.
    LimitDepth: "spec.limits.depth", "--max-depth";
    /// Ratio of compression.
    LimitRatio: "spec.limits.ratio", "--max-ratio";
    /// Accepted identities.
    Keyless: "spec.verify.cosign.keyless", "--issuer";
    /// Accepted subject.
    Subject: "spec.verify.cosign.keyless.subject", "--subject";
    /// Pattern for accepted subjects.
    SubjectRegExp: "spec.verify.cosign.keyless.subjectRegExp", "--subject-regexp";
    /// Accepted public keys.
    Keys: "spec.verify.cosign.keys", "--key";
    /// Public key in the spec itself.
    InlineKey: "spec.verify.cosign.keys.inline", "--key";
    /// Trusted root.
    TrustedRootRef: "spec.verify.cosign.trustedRootRef", "--trusted-root";
    /// Rule for the transparency log.
    TransparencyLog: "spec.verify.cosign.transparencyLog", "--transparency-log";
    /// Accepted types of statements.
    PredicateTypes: "spec.verify.cosign.predicateTypes", "--predicate-type";
    /// Accepted storage formats of signatures.
    Formats: "spec.verify.cosign.formats", "--signature-format";
    /// Repositories that a policy matches.
    PolicyImages: "spec.images", "";
    /// Action of a policy.
    PolicyAction: "spec.action", "";
}

impl Field {
    /// Returns the name for a reader. A field without an option has its path for both readers: a command reads it from
    /// a file.
    pub const fn name(self, spelling: Spelling) -> &'static str {
        let (path, option) = self.names();
        match spelling {
            Spelling::Object => path,
            Spelling::Entry => match path.split_at_checked(SPEC.len()) {
                Some((_, below)) => below,
                None => path,
            },
            Spelling::Command if option.is_empty() => path,
            Spelling::Command => option,
        }
    }

    /// Returns true if a command has an option for the field.
    pub const fn has_option(self) -> bool {
        !self.names().1.is_empty()
    }
}
