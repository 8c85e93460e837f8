//! Lines of each command: one that succeeds, and one for each class of failures.
//!
//! A line is split at spaces. Names in braces are those of [`super::world`]; `{new}` is a path that does not exist.

mod objects;

/// Cell of the table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell {
    /// Arguments that end in the class.
    Ends(&'static str),
    /// Arguments that end in the class, with a whole report on standard output.
    Reports(&'static str),
    /// Reason that the class cannot happen, or the test that has it.
    Never(&'static str),
}

/// Row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) command: &'static str,
    /// Arguments that succeed. The other failure, 1, is the same with a standard output that cannot be written.
    pub(super) good: Cell,
    /// 2, a usage error.
    pub(super) usage: Cell,
    /// 3, a temporary failure.
    pub(super) later: Cell,
    /// 4, credentials or files.
    pub(super) files: Cell,
    /// 5, not found.
    pub(super) missing: Cell,
    /// 6, verification refused.
    pub(super) unverified: Cell,
    /// 7, content refused.
    pub(super) content: Cell,
    /// 8, connection refused.
    pub(super) transport: Cell,
    /// Arguments of a command that writes to `{disk}`, which is full: 3.
    pub(super) on_full_disk: Option<&'static str>,
}

impl Row {
    /// Returns the exit codes and cells of the classes, without 1.
    pub(super) fn cells(&self) -> [(i32, Cell); 7] {
        let Self { usage, later, files, missing, unverified, content, transport, .. } = *self;
        [(2, usage), (3, later), (4, files), (5, missing), (6, unverified), (7, content), (8, transport)]
    }
}

use Cell::{Ends, Never};

const READS_NO_SIGNATURE: Cell = Never("no option requires a signature");
const SENDS_NO_REQUEST: Cell = Never("it sends no request");
const NO_LIMIT: Cell = Never("it sends no request and has no time limit; a full disk is another column");
const NO_INPUT: Cell = Never("it reads no file and no artifact");
const OPERATOR: Cell = Never("the operator reports objects in their status, and ends only on a signal");

/// Row of a command without input.
const NOTHING: Row = Row {
    command: "",
    good: NO_INPUT,
    usage: Ends("--no-such-option"),
    later: NO_LIMIT,
    files: NO_INPUT,
    missing: NO_INPUT,
    unverified: READS_NO_SIGNATURE,
    content: NO_INPUT,
    transport: SENDS_NO_REQUEST,
    on_full_disk: None,
};

pub(super) fn rows() -> Vec<Row> {
    [READING, WRITING, LOCAL, objects::FILES, objects::CLUSTER, OTHER].concat()
}

const READING: &[Row] = &[
    Row {
        command: "resolve",
        good: Ends("{image} --plain-http"),
        later: Ends("{closed} --plain-http --timeout 1s"),
        files: Ends("{image} --plain-http --docker-config {missing}"),
        missing: Ends("{absent} --plain-http"),
        content: Ends("{liar} --plain-http --platform linux/amd64"),
        transport: Ends("{image}"),
        ..NOTHING
    },
    Row {
        command: "verify",
        good: Ends("{image} --plain-http --key {key}.pub --transparency-log ignored"),
        later: Ends("{closed} --plain-http --key {key}.pub --timeout 1s"),
        files: Ends("{image} --plain-http --key {missing}"),
        missing: Ends("{absent} --plain-http --key {key}.pub"),
        unverified: Ends("{image} --plain-http --key {other}.pub --transparency-log ignored"),
        content: Ends("{liar} --plain-http --key {key}.pub"),
        transport: Ends("{image} --key {key}.pub"),
        ..NOTHING
    },
    Row {
        command: "pull",
        good: Ends("{image} --plain-http -o {new}"),
        later: Ends("{closed} --plain-http -o {new} --timeout 1s"),
        files: Ends("{image} --plain-http -o {new} --docker-config {missing}"),
        missing: Ends("{image} --plain-http -o {new} --sub-path nowhere"),
        unverified: Ends("{image} --plain-http -o {new} --key {other}.pub --transparency-log ignored"),
        content: Ends("{image} --plain-http -o {new} --artifact-type a/b"),
        transport: Ends("{image} -o {new}"),
        on_full_disk: Some("{image} --plain-http -o {disk}/out"),
        ..NOTHING
    },
    Row {
        command: "discover",
        good: Ends("{image} --plain-http"),
        later: Ends("{closed} --plain-http --timeout 1s"),
        files: Ends("{image} --plain-http --docker-config {missing}"),
        missing: Ends("{absent} --plain-http"),
        content: Ends("{liar} --plain-http"),
        transport: Ends("{image}"),
        ..NOTHING
    },
    Row {
        command: "pin",
        good: Ends("-f {pinnable} --plain-http"),
        later: Ends("-f {pin-closed} --plain-http --timeout 1s"),
        files: Ends("-f {missing} --plain-http"),
        missing: Ends("-f {pin-absent} --plain-http"),
        content: Never("a tag is resolved to a digest, and no content is read; a false digest is ReferenceNotFound"),
        transport: Ends("-f {pinnable}"),
        ..NOTHING
    },
];

const WRITING: &[Row] = &[
    Row {
        command: "push",
        good: Ends("{source} {place}:pushed --plain-http"),
        later: Ends("{source} {closed} --plain-http --timeout 1s"),
        files: Ends("{source} {place}:new --plain-http --sign-key {missing}"),
        missing: Ends("{absent} {place}:new --plain-http"),
        content: Ends("{evil} {place}:new --plain-http"),
        transport: Ends("{source} {place}:new"),
        on_full_disk: Some("{source} {place}:new --plain-http --cache-dir {disk}/cache"),
        ..NOTHING
    },
    Row {
        command: "helm-push",
        good: Ends("{chart} {place}/charts --plain-http"),
        later: Ends("{chart} {closed-repository} --plain-http --timeout 1s"),
        files: Ends("{missing} {place}/charts --plain-http"),
        missing: Never("a registry creates the repository; 404 to an upload is PublishRefused"),
        content: Ends("{evil-chart} {place}/charts --plain-http"),
        transport: Ends("{chart} {place}/charts"),
        on_full_disk: Some("{chart} {place}/charts --plain-http --cache-dir {disk}/cache"),
        ..NOTHING
    },
    Row {
        command: "promote",
        good: Ends("{image} {place}:promoted --plain-http"),
        later: Ends("{closed} {place}:new --plain-http --timeout 1s"),
        files: Ends("{image} {place}:new --plain-http --docker-config {missing}"),
        missing: Ends("{absent} {place}:new --plain-http"),
        content: Ends("{liar} {place}:new --plain-http"),
        transport: Ends("{image} {place}:new"),
        ..NOTHING
    },
    Row {
        command: "attach",
        good: Ends("{image} {file} --type a/b --plain-http"),
        later: Ends("{closed} {file} --type a/b --plain-http --timeout 1s"),
        files: Ends("{image} {missing} --type a/b --plain-http"),
        missing: Ends("{absent} {file} --type a/b --plain-http"),
        content: Ends("{liar} {file} --type a/b --plain-http"),
        transport: Ends("{image} {file} --type a/b"),
        ..NOTHING
    },
    Row {
        command: "sign",
        good: Ends("{image} --key {key}.key --plain-http"),
        later: Ends("{closed} --key {key}.key --plain-http --timeout 1s"),
        files: Ends("{image} --key {missing} --plain-http"),
        missing: Ends("{absent} --key {key}.key --plain-http"),
        content: Ends("{liar} --key {key}.key --plain-http"),
        transport: Ends("{image} --key {key}.key"),
        ..NOTHING
    },
    Row {
        command: "login",
        good: Ends("{host} --username u --password-stdin --docker-config {new} --plain-http"),
        later: Ends("{closed-host} --username u --password-stdin --docker-config {new} --plain-http --timeout 1s"),
        files: Ends("{host} --username u --password-stdin --docker-config {wrong} --plain-http"),
        missing: Never("it names no artifact"),
        content: Never("it reads no artifact"),
        transport: Ends("{host} --username u --password-stdin --docker-config {new}"),
        on_full_disk: Some("{host} --username u --password-stdin --docker-config {disk}/config.json --plain-http"),
        ..NOTHING
    },
];

const LOCAL: &[Row] = &[
    Row {
        command: "package",
        good: Ends("{source} -o {new}"),
        files: Ends("{source} -o {new} --annotation-file {missing}"),
        missing: Never("a directory that is missing is a file that is missing"),
        content: Ends("{evil} -o {new}"),
        on_full_disk: Some("{source} -o {disk}/layout"),
        ..NOTHING
    },
    Row {
        command: "unpackage",
        good: Ends("{image} {new}"),
        files: Ends("{image} {new} --key {missing}"),
        missing: Ends("{absent} {new}"),
        unverified: Ends("{image} {new} --key {other}.pub --transparency-log ignored"),
        content: Ends("{image} {new} --artifact-type a/b"),
        on_full_disk: Some("{image} {disk}/out"),
        ..NOTHING
    },
    Row {
        command: "unpack",
        good: Ends("{layer} -o {new}"),
        files: Ends("{missing} -o {new}"),
        missing: Ends("{layer} -o {new} --sub-path nowhere"),
        content: Ends("{wrong} -o {new}"),
        on_full_disk: Some("{layer} -o {disk}/out"),
        ..NOTHING
    },
    Row {
        command: "list",
        good: Ends(""),
        files: Ends("--root {missing}"),
        missing: Never("a cache without artifacts is an empty list"),
        content: Ends("--cache-dir {broken}"),
        ..NOTHING
    },
    Row {
        command: "export",
        good: Ends("{image} -o {new}"),
        files: Ends("{image} -o {new} --trusted-root {missing}"),
        missing: Ends("{absent} -o {new}"),
        unverified: Ends("{image} -o {new} --trusted-root {wrong}"),
        content: Ends("{image} -o {new} --cache-dir {broken}"),
        on_full_disk: Some("{image} -o {disk}/archive.tar"),
        ..NOTHING
    },
    Row {
        command: "import",
        good: Ends("{archive} --cache-dir {new}"),
        files: Ends("{missing} --cache-dir {new}"),
        missing: Never("an artifact of the archive that lacks content is ManifestInvalid or left out"),
        content: Ends("{wrong} --cache-dir {new}"),
        on_full_disk: Some("{archive} --cache-dir {disk}/cache"),
        ..NOTHING
    },
    Row {
        command: "cache prune",
        good: Ends(""),
        files: Never("it reads no file of an option"),
        missing: Never("a cache without artifacts has nothing to remove"),
        content: Ends("--cache-dir {broken}"),
        ..NOTHING
    },
    Row {
        command: "verify-bundle",
        good: Ends("{signed} --bundle {bundle} --key {bundle-key} --trusted-root {root}"),
        files: Ends("{signed} --bundle {missing} --key {bundle-key} --trusted-root {root}"),
        missing: Never("a file that is missing is a file of an option"),
        unverified: Ends("{signed} --bundle {bundle} --key {other}.pub --trusted-root {root}"),
        content: Never("a bundle that is invalid is no signature: verification refused"),
        ..NOTHING
    },
];

const OTHER: &[Row] = &[
    Row {
        command: "generate-key-pair",
        good: Ends("--output-key-prefix {new}"),
        files: Never("it reads no file; a password that is not UTF-8 text is FileInvalid"),
        on_full_disk: Some("--output-key-prefix {disk}/key"),
        ..NOTHING
    },
    Row {
        command: "logout",
        good: Ends("{host} --docker-config {config}"),
        files: Ends("{host} --docker-config {wrong}"),
        ..NOTHING
    },
    Row { command: "catalog create", good: Ends("{name}"), on_full_disk: None, ..NOTHING },
    Row {
        command: "catalog add",
        good: Ends("{name} --catalog {catalog}"),
        files: Ends("service --catalog {missing}"),
        content: Never("a Catalog.yaml that is invalid is a file"),
        ..NOTHING
    },
    Row { command: "crd", good: Ends(""), on_full_disk: Some("--out-dir {disk}"), ..NOTHING },
    Row { command: "man", good: Ends("--out-dir {directory}"), on_full_disk: Some("--out-dir {disk}"), ..NOTHING },
    Row { command: "completion", good: Ends("bash"), ..NOTHING },
    Row { command: "version", good: Ends(""), ..NOTHING },
    Row {
        command: "controller",
        good: OPERATOR,
        later: OPERATOR,
        files: OPERATOR,
        missing: OPERATOR,
        unverified: OPERATOR,
        content: OPERATOR,
        transport: OPERATOR,
        ..NOTHING
    },
];
