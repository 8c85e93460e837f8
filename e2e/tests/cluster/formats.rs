//! What producers push comes out as their users expect it.
//!
//! Every producer has a row in one of the tables, or a test through the operator. Where its own program or library can be
//! had, that pushes; else the artifact is written down by hand, and a comment says from where its shape is known. `oras`,
//! Helm, crane, imgpkg and GNU tar are asked too, and their files compared with ours.

mod archives;
mod defects;
mod flux;
mod helm;
mod images;
mod modes;
mod operator;
mod oras;
mod raw;
mod selection;
mod signatures;
mod table;
mod whiteouts;

use supercargo_e2e::files::Entry;

use crate::case::Test;

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

/// What a layer's file or directory is called.
const TITLE: &str = "org.opencontainers.image.title";
/// That a layer is an archive of the directory that its title names.
const UNPACK: &str = "io.deis.oras.content.unpack";
/// The digest of that archive before it was compressed.
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

/// The name of a file for which its producer has none: twelve digits of its digest, and an end by its type.
fn by_digest(content: &[u8], end: &str) -> String {
    let digest = supercargo_e2e::hostile::artifact::digest(content);
    format!("{}{end}", digest.trim_start_matches("sha256:").get(..12).unwrap_or_default())
}
