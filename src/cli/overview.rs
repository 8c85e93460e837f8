//! Commands in the help of the program: by their purpose in `-h`, which fits one screen, each with a line in `--help`.

/// Template with the commands in place of clap's own list.
pub(super) const TEMPLATE: &str =
    "{about-with-newline}\n{usage-heading} {usage}\n\n{before-help}Options:\n{options}{after-help}";

/// Commands by their purpose. A command in no row is in the last one.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Cluster", &["controller", "crd", "ociartifact"]),
    ("Files in Git", &["sync", "lock", "pin", "policy"]),
    ("Read", &["resolve", "verify", "pull", "discover", "unpack", "verify-bundle", "diff"]),
    ("Publish", &["package", "push", "helm-push", "promote", "attach", "sign", "generate-key-pair", "catalog"]),
    ("Cache", &["list", "unpackage", "export", "import", "cache"]),
    ("Other", &["login", "logout"]),
];

/// Columns of the narrowest screen: clap breaks longer lines, without an indent.
const WIDTH: usize = 80;

/// Adds the overview to the help of the program.
pub(super) fn add(program: clap::Command) -> clap::Command {
    let visible = program.get_subcommands().filter(|command| !command.is_hide_set());
    let commands: Vec<(String, String)> = visible.map(|one| (one.get_name().to_owned(), purpose(one))).collect();
    program.before_help(short(&commands)).before_long_help(long(&commands))
}

/// Returns the purpose of a command, with its other names.
fn purpose(command: &clap::Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let aliases: Vec<&str> = command.get_visible_aliases().collect();
    if aliases.is_empty() { about } else { format!("{about} [alias: {}]", aliases.join(", ")) }
}

/// Returns the names of the commands, by their purpose.
fn short(commands: &[(String, String)]) -> String {
    let mut rows: Vec<(&str, Vec<&str>)> = GROUPS.iter().map(|(group, _)| (*group, Vec::new())).collect();
    for (name, _) in commands {
        let known = GROUPS.iter().position(|(_, names)| names.contains(&name.as_str()));
        if let Some((_, names)) = rows.get_mut(known.unwrap_or(GROUPS.len() - 1)) {
            names.push(name);
        }
    }
    let mut text = "Commands:\n".to_owned();
    for (group, names) in rows {
        let mut line = format!("  {group:14}");
        for name in names {
            if line.len() + name.len() + 1 > WIDTH {
                text.push_str(&(line + "\n"));
                line = " ".repeat(16);
            }
            line.push(' ');
            line.push_str(name);
        }
        text.push_str(&(line + "\n"));
    }
    text + "\n`supercargo COMMAND -h` shows the options of a command,\n`supercargo --help` the purpose of each."
}

/// Returns the purpose of each command.
fn long(commands: &[(String, String)]) -> String {
    let width = commands.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = "Commands:".to_owned();
    for (name, about) in commands {
        let mut line = format!("\n  {name:width$} ");
        for word in about.split(' ') {
            if line.len() + word.len() > WIDTH {
                text.push_str(&line);
                line = format!("\n{}", " ".repeat(width + 3));
            }
            line.push(' ');
            line.push_str(word);
        }
        text.push_str(&line);
    }
    text
}
