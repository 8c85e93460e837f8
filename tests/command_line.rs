//! The command line as a user meets it: the program runs, and errors name the option, file and field that mend them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test over our own program"
)]

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

/// Result of a command.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the program in a directory, which is also its home.
fn run(dir: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    command.args(arguments).current_dir(dir).env_clear().env("HOME", dir);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Asserts the exit code of a command, and nouns of its error.
fn refused(ran: &Ran, code: i32, nouns: &[&str]) {
    let missing: Vec<_> = nouns.iter().filter(|noun| !ran.stderr.contains(**noun)).collect();
    assert!(ran.code == Some(code) && missing.is_empty(), "no {missing:?} in {ran:?}");
}

/// Starts a server that sends an answer to each connection and never closes it.
fn serve(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // The client may have gone already.
            let _ = stream.write_all(answer);
            open.push(stream);
        }
    });
    address
}

/// Writes a set with one artifact.
fn set(dir: &Path, registry: SocketAddr, more: &str) {
    let text = format!(
        "apiVersion: supercargo.dev/v1alpha1\nkind: ArtifactSet\nartifacts:\n- directory: vendor/a\n  \
         image: {registry}/a/b:1\n{more}"
    );
    std::fs::write(dir.join("set.yaml"), text).unwrap();
}

/// Both commands about the artifacts of files.
const COMMANDS: [&str; 2] = ["lock", "sync"];

#[test]
fn a_time_limit_is_that_of_the_option_or_of_the_file() {
    let (dir, silent) = (tempfile::tempdir().unwrap(), serve(b""));
    for command in COMMANDS {
        set(dir.path(), silent, "  registry: {plainHTTP: true}\n");
        let ran = run(dir.path(), &[command, "-f", "set.yaml", "--timeout", "1s"]);
        refused(&ran, 3, &["Timeout: ", "vendor/a", "--timeout of 1s", "Raise --timeout"]);
        set(dir.path(), silent, "  timeout: 1s\n  registry: {plainHTTP: true}\n");
        let ran = run(dir.path(), &[command, "-f", "set.yaml"]);
        refused(&ran, 3, &["Timeout: ", "artifacts[0]: timeout of 1s", "timeout in the object or entry", "--timeout"]);
        refused(&run(dir.path(), &[command, "-f", "set.yaml", "--timeout", "soon"]), 2, &["--timeout", "duration"]);
    }
}

#[test]
fn a_registry_without_tls_is_named_in_the_file() {
    let (dir, plain) = (tempfile::tempdir().unwrap(), serve(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
    set(dir.path(), plain, "");
    for command in COMMANDS {
        let ran = run(dir.path(), &[command, "-f", "set.yaml"]);
        refused(&ran, 8, &["TLSFailed: ", "vendor/a", "registry.plainHTTP: true", "registry.caRef"]);
        assert!(!ran.stderr.contains("--plain-http"), "the option does not exist here: {ran:?}");
    }
}

#[test]
fn a_lock_file_has_one_option_in_all_commands() {
    let (dir, silent) = (tempfile::tempdir().unwrap(), serve(b""));
    set(dir.path(), silent, "  registry: {plainHTTP: true}\n");
    let broken = "apiVersion: supercargo.dev/v1alpha1\nkind: ArtifactLock\nartifacts: 7\n";
    std::fs::write(dir.path().join("team.lock.yaml"), broken).unwrap();
    let all = ["--lock", "--output", "-o"];
    // -o is a place to write to, and no option of a command that reads the lock.
    for (command, options) in
        [(&["lock"] as &[&str], all.as_slice()), (&["lock", "--check"], &all), (&["sync", "--locked"], &all[..1])]
    {
        for option in options {
            let ran = run(dir.path(), &[command, &["-f", "set.yaml", option, "team.lock.yaml"]].concat());
            refused(&ran, 4, &["FileInvalid: team.lock.yaml: "]);
        }
    }
    refused(&run(dir.path(), &["sync", "-f", "set.yaml", "-o", "json"]), 2, &["InvalidSpec: ", "-o"]);
    let ran = run(dir.path(), &["lock", "-f", "set.yaml", "--check", "--update", "vendor/a"]);
    refused(&ran, 2, &["InvalidSpec: ", "'--check' cannot be used with '--update <NAME>'"]);
}

/// Returns the line of an option in the long help of a command, with its default.
fn described(command: &[&str], option: &str) -> String {
    let help = run(Path::new("/"), &[command, &["--help"]].concat()).stdout;
    let mut lines = help.lines().skip_while(|line| !line.trim_start().starts_with(&format!("{option} ")));
    let first = lines.next().unwrap_or_else(|| panic!("{command:?} has no {option}"));
    let own = lines.take_while(|line| line.starts_with("          ") || line.is_empty());
    std::iter::once(first).chain(own).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_namespace_of_policies_has_one_option_and_one_default() {
    let commands: [&[&str]; 4] = [&["verify"], &["sync"], &["lock"], &["ociartifact", "verify"]];
    let texts = commands.map(|command| described(command, "--policy-namespace"));
    assert!(texts.iter().all(|text| text.contains("[default: supercargo-system]") && *text == texts[0]), "{texts:?}");
}

#[test]
fn errors_of_files_name_place_problem_and_expectation() {
    let (dir, nowhere) = (tempfile::tempdir().unwrap(), SocketAddr::from(([127, 0, 0, 1], 1)));
    let fields = ["docs/reference", "kubectl explain ociartifact.spec"];
    let rows = [
        (
            "  file: {}\n",
            "set.yaml: ArtifactSet: vendor/a: unknown field artifacts[0].file; the nearest accepted field is files.",
        ),
        ("  files: {subPth: a}\n", "unknown field artifacts[0].files.subPth; the nearest accepted field is subPath."),
        (
            "  verify: [{name: a, cosign: {kys: []}}]\n",
            "artifacts[0].verify[0].cosign.kys; the nearest accepted field is keys.",
        ),
        ("  files: {zzz: a}\n", "unknown field artifacts[0].files.zzz; expected one of exclude, include, "),
        ("  outputs: []\n", "unknown field artifacts[0].outputs; expected one of directory, image, "),
    ];
    for (more, want) in rows {
        set(dir.path(), nowhere, more);
        for command in COMMANDS {
            refused(&run(dir.path(), &[command, "-f", "set.yaml"]), 4, &["FileInvalid: ", want, fields[0], fields[1]]);
        }
    }
    let test = "apiVersion: supercargo.dev/v1alpha1\nkind: PolicyTest\npolicies: [p]\ncases:\n- name: a\n  image: ghcr.io/a/b:1\n";
    let rows = [
        (
            "  expects: Allowed\n",
            "test.yaml: line 7, column 3: unknown field expects; the nearest accepted field is expect.",
        ),
        (
            "  expect: Allow\n",
            "test.yaml: line 7, column 11: unknown value Allow; expected one of Allowed, Warned, Denied.",
        ),
        ("", "field expect is missing."),
    ];
    for (more, want) in rows {
        std::fs::write(dir.path().join("test.yaml"), format!("{test}{more}")).unwrap();
        let ran = run(dir.path(), &["policy", "test", "test.yaml"]);
        refused(&ran, 4, &["FileInvalid: ", want, "docs/guides/policy-tests.md"]);
        assert!(!ran.stderr.contains("-->"), "no lines of the file: {ran:?}");
    }
    std::fs::write(dir.path().join("kubeconfig"), "apiVersion: v1\nkind: Config\nclusters: 7\n").unwrap();
    let ran = run(dir.path(), &["ociartifact", "tree", "--kubeconfig", "kubeconfig"]);
    refused(&ran, 4, &["FileInvalid: invalid kubeconfig: --kubeconfig kubeconfig: line 3, column 11: "]);
    assert!(!ran.stderr.contains("-->"), "{ran:?}");
}

#[test]
fn a_missing_file_is_named_without_the_system_call() {
    let dir = tempfile::tempdir().unwrap();
    let rows: [(&[&str], &str); 5] = [
        (&["lock", "-f", "gone.yaml"], "FileNotFound: --filename: gone.yaml does not exist."),
        (&["sync", "-f", "gone.yaml"], "FileNotFound: --filename: gone.yaml does not exist."),
        (&["verify", "a.example/b:1", "--policy", "gone"], "FileNotFound: --policy: gone does not exist."),
        (&["policy", "test", "gone.yaml"], "FileNotFound: FILE: gone.yaml does not exist."),
        (&["ociartifact", "tree", "--kubeconfig", "gone"], "FileNotFound: --kubeconfig: gone does not exist."),
    ];
    for (command, want) in rows {
        refused(&run(dir.path(), command), 4, &[want]);
    }
}

#[test]
fn commands_about_objects_say_how_to_select_them() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["reconcile", "suspend", "resume"] {
        refused(&run(dir.path(), &["ociartifact", command]), 2, &["InvalidSpec: no NAME; expected ", "--all"]);
        refused(&run(dir.path(), &["ociartifact", command, "a", "--all"]), 2, &["NAME", "cannot be used with '--all'"]);
        let help = run(dir.path(), &["ociartifact", command, "-h"]).stdout;
        assert!(help.contains(&format!("Example: kubectl ociartifact {command} rules")), "{help}");
    }
}

#[test]
fn a_file_that_is_no_input_is_named_with_its_kind() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [
        ("lock.yaml", "apiVersion: supercargo.dev/v1alpha1\nkind: ArtifactLock\nartifacts: []\n", "is an ArtifactLock"),
        ("values.yaml", "image: {tag: '1'}\n", "has no kind"),
        ("deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\n", "is a Deployment"),
        ("empty.yaml", "", "is empty"),
    ];
    for (file, text, kind) in rows {
        std::fs::write(dir.path().join(file), text).unwrap();
        for command in COMMANDS {
            refused(
                &run(dir.path(), &[command, "-f", file]),
                4,
                &["FileInvalid", &format!("{file} {kind}"), "OCIArtifact"],
            );
        }
    }
}

#[test]
fn an_invalid_field_of_an_entry_is_an_error_of_the_file() {
    let (dir, silent) = (tempfile::tempdir().unwrap(), serve(b""));
    set(dir.path(), silent, "  semver: {range: '*'}\n  registry: {plainHTTP: true}\n");
    for command in COMMANDS {
        let ran = run(dir.path(), &[command, "-f", "set.yaml"]);
        refused(&ran, 4, &["FileInvalid: ", "vendor/a: artifacts[0]: semver selects", "image must"]);
        assert!(!ran.stderr.contains("spec."), "{ran:?}");
    }
}

#[test]
fn options_of_other_tools_lead_to_ours() {
    let dir = tempfile::tempdir().unwrap();
    let rows: [(&[&str], &[&str]); 14] = [
        (
            &["verify", "r.example/a", "--insecure-ignore-tlog"],
            &["use --transparency-log ignored", "supercargo verify --help"],
        ),
        (&["login", "r.example", "-u", "a", "-p", "b"], &["'-p'", "use --password-stdin", "supercargo login --help"]),
        (&["pull", "r.example/a", "--password", "b"], &["use --password-stdin"]),
        (&["resolve", "r.example/a", "-o", "json"], &["use --format json", "supercargo resolve --help"]),
        (&["list", "-ojson"], &["use --format json"]),
        (&["list", "--output=yaml"], &["use --format json"]),
        (&["lock", "a.yaml"], &["'a.yaml'", "name files with -f", "supercargo lock --help"]),
        (&["sync", "a.yaml"], &["name files with -f"]),
        (&["pin", "a.yaml"], &["name files with -f"]),
        (&["pull", "r.example/a", "dir"], &["'dir'", "name the directory with -o"]),
        (&["sync", "--format", "xml", "-f", "a"], &["'xml'", "Run supercargo sync --help"]),
        (&["sync", "-f"], &["Run supercargo sync --help"]),
        (&["--log-level", "debug", "cache", "prun"], &["'prune'", "Run supercargo cache --help"]),
        (&["diff", "a.yaml"], &["name files with -f"]),
    ];
    for (arguments, nouns) in rows {
        let ran = run(dir.path(), arguments);
        refused(&ran, 2, &[&["error: InvalidSpec: "], nouns].concat());
        assert!(!ran.stderr.contains("--insecure-skip-verify"), "{ran:?}");
    }
    let hidden = run(dir.path(), &["ociartifact", "completions"]);
    refused(&hidden, 2, &["'completions'", "Run supercargo ociartifact --help"]);
    assert!(!hidden.stderr.contains("'complete'"), "{hidden:?}");
}

#[test]
fn help_in_place_of_a_command_ends_with_an_error() {
    for command in [&[] as &[&str], &["policy"], &["cache"], &["catalog"], &["ociartifact"]] {
        let ran = run(Path::new("/"), command);
        refused(&ran, 2, &["Usage: ", "Commands:", "error: InvalidSpec: no command given. "]);
        assert!(ran.stderr.lines().last().unwrap_or_default().starts_with("error: "), "{ran:?}");
    }
}

#[test]
fn an_import_lists_fields_and_replaces_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(dir.path().join("vendir.yml"), text).unwrap();
    let import = ["import", "vendir", "vendir.yml", "-o", "out.yaml"];
    let head = "apiVersion: vendir.k14s.io/v1alpha1\nkind: Config\ndirectories:\n- path: a\n  contents:\n  - path: b\n";
    write(&format!("{head}    lazy: true\n    git: {{url: x}}\n"));
    let ran = run(dir.path(), &import);
    refused(
        &ran,
        4,
        &["\"git\" sources are not supported", "lazy is not supported", "2 fields cannot be translated", "vendir.yml"],
    );
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(
        lines.len() == 3 && lines[..2].iter().all(|line| line.starts_with("  ")) && lines[2].starts_with("error: ")
    );
    write("directories: []\n");
    let ran = run(dir.path(), &import);
    refused(&ran, 4, &["apiVersion and kind are missing; expected vendir.k14s.io/v1alpha1 and Config"]);
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    write(&format!("{head}    image: {{url: 'r.example/a:1'}}\n"));
    assert_eq!(run(dir.path(), &import).code, Some(0));
    refused(&run(dir.path(), &import), 1, &["OutputConflict: ", "out.yaml", "--force"]);
    assert_eq!(run(dir.path(), &[&import[..], &["--force"]].concat()).code, Some(0));
}

#[test]
fn a_missing_directory_of_a_result_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let vendir = "apiVersion: vendir.k14s.io/v1alpha1\nkind: Config\ndirectories:\n- path: a\n  contents:\n  - path: b\n    \
                  image: {url: 'r.example/a:1'}\n";
    std::fs::write(dir.path().join("vendir.yml"), vendir).unwrap();
    for command in [&["import", "vendir", "vendir.yml", "-o", "nodir/x"] as &[&str], &["man", "--out-dir", "nodir"]] {
        let ran = run(dir.path(), command);
        refused(&ran, 1, &["StorageFailed: ", "directory nodir does not exist", "Create the directory"]);
        assert!(!ran.stderr.contains(".part"), "{ran:?}");
    }
}

#[test]
fn a_pin_names_the_path_through_lists_and_refuses_a_separate_tag() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pod.yaml"), "spec: {containers: [{image: 'r.example/a:1'}]}\n").unwrap();
    std::fs::write(dir.path().join("values.yaml"), "image: {repository: r.example/a, tag: '1'}\n").unwrap();
    let ran = run(dir.path(), &["pin", "-f", "pod.yaml", "--path", "spec.containers.image"]);
    refused(&ran, 2, &["containers is a list; write spec.containers[].image"]);
    let ran = run(dir.path(), &["pin", "-f", "values.yaml", "--path", "image.repository"]);
    refused(&ran, 4, &["values.yaml:1", "separate tag", "repository:tag"]);
}
