//! Lines of the commands about files of objects and policies, and about the objects of a cluster.

use super::Cell::{Ends, Never, Reports};
use super::{Cell, NOTHING, Row, SENDS_NO_REQUEST};

const PARSED: Cell = Never("a file that does not parse is FileInvalid, of class 4");
const NAMES_NO_ARTIFACT: Cell = Never("it resolves no artifact");
const NO_CONTENT: Cell = Never("it reads no content of an artifact");
const ON_ITS_SERVER: Cell = Never("a server that refuses the connection is ClusterUnavailable, of class 3");

pub(super) const FILES: &[Row] = &[
    Row {
        command: "sync",
        good: Ends("-f {object} --root {new}"),
        later: Reports("-f {object-closed} --root {new}"),
        files: Ends("-f {missing} --root {new}"),
        missing: Reports("-f {object-absent} --root {new}"),
        unverified: Reports("-f {object-unverified} --root {new}"),
        content: Reports("-f {object-refused} --root {new}"),
        transport: Reports("-f {object-tls} --root {new}"),
        on_full_disk: Some("-f {object} --root {disk}/root"),
        ..NOTHING
    },
    Row {
        command: "lock",
        good: Ends("-f {object} -o {new}"),
        later: Ends("-f {object-closed} -o {new}"),
        files: Ends("-f {missing} -o {new}"),
        missing: Ends("-f {object-absent} -o {new}"),
        unverified: Ends("-f {object-unverified} -o {new}"),
        content: Ends("-f {object-refused} -o {new}"),
        transport: Ends("-f {object-tls} -o {new}"),
        on_full_disk: Some("-f {object} -o {disk}/lock.yaml"),
        ..NOTHING
    },
    Row {
        command: "diff",
        good: Ends("{image} {image} --plain-http"),
        later: Ends("{closed} {image} --plain-http --timeout 1s"),
        files: Ends("{missing} {image} --plain-http"),
        missing: Ends("{image} {absent} --plain-http"),
        content: Ends("{image} {liar} --plain-http"),
        transport: Ends("{image} {source}"),
        ..NOTHING
    },
    Row { command: "import vendir", good: Ends("{vendir}"), on_full_disk: Some("{vendir} -o {disk}/o"), ..TRANSLATION },
    Row {
        command: "import kapitan",
        good: Ends("{kapitan}"),
        on_full_disk: Some("{kapitan} -o {disk}/o"),
        ..TRANSLATION
    },
    Row { command: "import flux", good: Ends("{flux}"), on_full_disk: Some("{flux} -o {disk}/o"), ..TRANSLATION },
    Row {
        command: "policy test",
        good: Ends("{policy-test}"),
        files: Ends("{missing}"),
        missing: NAMES_NO_ARTIFACT,
        unverified: Never("a verdict is the result; one that differs from the expected one ends with 1"),
        content: PARSED,
        ..NOTHING
    },
    Row {
        command: "policy record",
        good: Ends("{image} --plain-http -o {new}"),
        later: Ends("{closed} --plain-http -o {new} --timeout 1s"),
        files: Ends("{image} --plain-http -o {new} --docker-config {missing}"),
        missing: Ends("{absent} --plain-http -o {new}"),
        unverified: Ends("{large} --plain-http -o {new}"),
        content: Ends("{liar} --plain-http -o {new}"),
        transport: Ends("{image} -o {new}"),
        on_full_disk: Some("{image} --plain-http -o {disk}/recorded"),
        ..NOTHING
    },
];

const TRANSLATION: Row = Row {
    files: Ends("{missing}"),
    missing: NAMES_NO_ARTIFACT,
    content: PARSED,
    transport: SENDS_NO_REQUEST,
    ..NOTHING
};

pub(super) const CLUSTER: &[Row] = &[
    Row {
        command: "ociartifact tree",
        good: Ends("app --kubeconfig {kubeconfig} -n {namespace}"),
        later: Ends("--kubeconfig {unreachable} --timeout 5s"),
        files: Ends("--kubeconfig {missing}"),
        missing: Ends("absent --kubeconfig {kubeconfig} -n {namespace}"),
        ..OF_CLUSTER
    },
    Row { command: "ociartifact why", good: Ends("app --kubeconfig {kubeconfig} -n {namespace}"), ..OF_CLUSTER },
    Row {
        command: "ociartifact reconcile",
        good: Ends("app --wait --kubeconfig {kubeconfig} -n {namespace}"),
        ..OF_CLUSTER
    },
    Row { command: "ociartifact suspend", good: Ends("other --kubeconfig {kubeconfig} -n {namespace}"), ..OF_CLUSTER },
    Row { command: "ociartifact resume", good: Ends("other --kubeconfig {kubeconfig} -n {namespace}"), ..OF_CLUSTER },
    Row {
        command: "ociartifact diff",
        good: Ends("app --kubeconfig {kubeconfig} -n {namespace}"),
        content: Never("a tag is resolved to a digest, and no content is read"),
        transport: Never("the test of resolve has it: the registry is asked by the same code"),
        ..OF_CLUSTER
    },
    Row {
        command: "ociartifact verify",
        good: Ends("app --kubeconfig {kubeconfig} -n {namespace}"),
        unverified: Never("the test of verify has it: the signatures are judged by the same code"),
        content: Never("the test of verify has it"),
        transport: Never("the test of verify has it"),
        ..OF_CLUSTER
    },
];

const OF_CLUSTER: Row = Row {
    later: Ends("app --kubeconfig {unreachable} --timeout 5s"),
    files: Ends("app --kubeconfig {missing}"),
    missing: Ends("absent --kubeconfig {kubeconfig} -n {namespace}"),
    content: NO_CONTENT,
    transport: ON_ITS_SERVER,
    ..NOTHING
};
