//! Artifacts of real producers, unpacked as the users of the producer expect.
//!
//! Every producer has a row in one of the tables, or a test through the operator. The producer's own program or library
//! pushes if it is available; otherwise the artifact is written by hand, and a comment names the source of its shape.
//! The files that `oras`, Helm, crane, imgpkg and GNU tar write are compared with ours.

mod archives;
mod defects;
mod flux;
mod helm;
mod images;
mod modes;
mod operator;
mod oras;
mod raw;
mod reference;
mod selection;
mod signatures;
mod table;
mod whiteouts;

use supercargo_e2e::files::Entry;

use crate::support::case::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        operator::tests(),
        oras::tests(),
        flux::tests(),
        helm::tests(),
        images::tests(),
        raw::tests(),
        archives::tests(),
        signatures::tests(),
        selection::tests(),
        modes::tests(),
        whiteouts::tests(),
        defects::tests(),
    ]
    .concat()
}

/// Annotation with the name of a layer's file or directory.
const TITLE: &str = "org.opencontainers.image.title";
/// Annotation that marks a layer as an archive of the directory that its title names.
const UNPACK: &str = "io.deis.oras.content.unpack";
/// Annotation with the digest of this archive before compression.
const CONTENT_DIGEST: &str = "io.deis.oras.content.digest";
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn file(content: &[u8]) -> Entry {
    Entry::File { content: content.to_vec(), executable: false }
}

fn executable(content: &str) -> Entry {
    Entry::File { content: content.as_bytes().to_vec(), executable: true }
}

fn link(target: &str) -> Entry {
    Entry::Link(target.to_owned())
}

/// Returns the name of a file for which its producer has none: twelve digits of its digest, and an extension by its
/// type.
fn by_digest(content: &[u8], end: &str) -> String {
    let digest = supercargo_e2e::hostile::artifact::digest(content);
    format!("{}{end}", digest.trim_start_matches("sha256:").get(..12).unwrap_or_default())
}
