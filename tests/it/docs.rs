//! Are the manual pages and completions what the argument definitions say?
//!
//! `BLESS=1 cargo test docs` writes them anew; without it a difference fails.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use lineflow::cli;

/// When this version was released: the date in the pages, never that of a build.
const RELEASED: &str = "2026-11-22";

/// Sections as manual pages order them; those of the argument definitions stand before, unknown ones between.
const LAST: [&str; 7] = [
    "EXIT STATUS",
    "ENVIRONMENT",
    "FILES",
    "NOTES",
    "LIMITS",
    "EXAMPLES",
    "SEE ALSO",
];

type Manual = &'static [(&'static str, &'static str)];

fn programs() -> Vec<(Command, Manual)> {
    vec![
        (cli::tsm_cat::Args::command(), cli::tsm_cat::MANUAL),
        (cli::lp_filter::Args::command(), cli::lp_filter::MANUAL),
        (
            cli::lp_split_by_bucket::Args::command(),
            cli::lp_split_by_bucket::MANUAL,
        ),
        (cli::lp_rate::Args::command(), cli::lp_rate::MANUAL),
        (cli::lp_post::Args::command(), cli::lp_post::MANUAL),
    ]
}

#[test]
fn docs_of_every_program_show_examples_and_exit_statuses() {
    for (command, manual) in programs() {
        for needed in ["EXAMPLES", "EXIT STATUS"] {
            let found = manual.iter().any(|(title, _)| *title == needed);
            assert!(found, "{} has no {needed}", command.get_name());
        }
        for arg in command.get_arguments() {
            let (name, id) = (command.get_name(), arg.get_id());
            assert!(arg.get_help().is_some(), "{name}: {id} has no help");
        }
    }
}

#[test]
fn docs_manual_pages_are_current() {
    for (command, manual) in programs() {
        let name = command.get_name().to_owned();
        check(&format!("man/{name}.1"), &page(command, manual));
    }
}

#[test]
fn docs_completions_are_current() {
    for (mut command, _) in programs() {
        let name = command.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, name.as_str(), &mut script);
            check(&completion(shell, &name), &script);
        }
    }
}

#[test]
fn docs_hold_nothing_but_what_is_generated_or_written_by_hand() {
    let mut known = vec![root("man/lineflow.7")];
    for (command, _) in programs() {
        let name = command.get_name();
        known.push(root(&format!("man/{name}.1")));
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            known.push(root(&completion(shell, name)));
        }
    }
    for dir in [
        "man",
        "completions/bash",
        "completions/zsh",
        "completions/fish",
    ] {
        for file in fs::read_dir(root(dir)).unwrap() {
            let file = file.unwrap().path();
            assert!(known.contains(&file), "{} is left over", file.display());
        }
    }
}

/// Where the shells look for the completion of a program.
fn completion(shell: Shell, name: &str) -> String {
    match shell {
        Shell::Bash => format!("completions/bash/{name}"),
        Shell::Zsh => format!("completions/zsh/_{name}"),
        _ => format!("completions/fish/{name}.fish"),
    }
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The committed file holds exactly this; with `BLESS` it does from now on.
#[track_caller]
fn check(path: &str, wanted: &[u8]) {
    let file = root(path);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, wanted).unwrap();
    }
    let found = fs::read(&file).unwrap_or_default();
    assert!(
        found == wanted,
        "{path} is stale: BLESS=1 cargo test docs, and read the diff"
    );
}

/// A whole manual page, with the one preamble that the parts of it would repeat.
fn page(command: Command, manual: Manual) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let source = format!("lineflow {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(&name).date(RELEASED);
    let man = man.source(source).manual("lineflow manual");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    page.extend(synopsis(&command).render().into_bytes());
    page.extend(description(&command).render().into_bytes());
    page.extend(options(command).render().into_bytes());
    for (title, text) in sections(manual, &also(&name)) {
        page.extend(section(title, text).render().into_bytes());
    }
    let preamble = Roff::new().render();
    let page = String::from_utf8(page).unwrap().replace(&preamble, "");
    (preamble + &page).into_bytes()
}

/// The sections in the order of manual pages; a page's own sections come before those that all pages have.
fn sections(manual: Manual, also: &str) -> Vec<(&str, &str)> {
    let mut all: Vec<(&str, &str)> = manual.to_vec();
    if !all.iter().any(|(title, _)| *title == "SEE ALSO") {
        all.push(("SEE ALSO", also));
    }
    all.sort_by_key(|(title, _)| LAST.iter().position(|last| last == title));
    all
}

fn also(name: &str) -> String {
    let mut others: Vec<String> = programs()
        .iter()
        .map(|(command, _)| command.get_name().to_owned())
        .filter(|other| other != name)
        .map(|other| format!("{other}(1)"))
        .collect();
    others.sort();
    others.push("lineflow(7)".to_owned());
    others.join(", ")
}

/// The long text without its first line, which NAME has already shown.
fn description(command: &Command) -> Roff {
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(|about| about.to_string()).unwrap_or_default();
    let more = about.split_once("\n\n").map(|(_, more)| more);
    section("DESCRIPTION", more.unwrap_or(&about))
}

/// The usage line: options are many and follow right below.
fn synopsis(command: &Command) -> Roff {
    let mut line = vec![
        bold(command.get_name()),
        roman(" ["),
        italic("OPTION"),
        roman("]..."),
    ];
    for arg in command.get_positionals() {
        let (open, close) = match arg.is_required_set() {
            true => (" ", ""),
            false => (" [", "]"),
        };
        let more = match arg.get_action() {
            ArgAction::Append => "...",
            _ => "",
        };
        line.push(roman(open));
        line.push(italic(value_name(arg)));
        line.push(roman(format!("{close}{more}")));
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).text(line);
    roff
}

/// Operands first, then the options in the order of their definition, under their headings.
fn options(mut command: Command) -> Roff {
    command.build();
    let mut roff = Roff::new();
    roff.control("SH", ["OPTIONS"]);
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let (operands, flags): (Vec<&Arg>, Vec<&Arg>) = shown.partition(|arg| arg.is_positional());
    for arg in operands {
        explain(&mut roff, arg, vec![italic(value_name(arg))]);
    }
    let mut headings: Vec<Option<&str>> = flags.iter().map(|arg| arg.get_help_heading()).collect();
    headings.sort_by_key(|heading| {
        flags
            .iter()
            .position(|arg| arg.get_help_heading() == *heading)
    });
    headings.dedup();
    let several = headings.len() > 1;
    for heading in headings {
        if several {
            roff.control("SS", [heading.unwrap_or("General")]);
        }
        for arg in flags.iter().filter(|arg| arg.get_help_heading() == heading) {
            explain(&mut roff, arg, spelling(arg));
        }
    }
    roff
}

/// `-s`, `--long` VALUE
fn spelling(arg: &Arg) -> Vec<Inline> {
    let short = arg.get_short().map(|short| bold(format!("-{short}")));
    let long = arg.get_long().map(|long| bold(format!("--{long}")));
    let mut line: Vec<Inline> = short.into_iter().collect();
    if !line.is_empty() && long.is_some() {
        line.push(roman(", "));
    }
    line.extend(long);
    let count = arg.get_num_args().unwrap_or_default();
    if count.takes_values() {
        let (open, close) = match (count.min_values(), arg.is_require_equals_set()) {
            (0, true) => ("[=", "]"),
            (0, false) => (" [", "]"),
            (_, true) => ("=", ""),
            (_, false) => (" ", ""),
        };
        line.extend([roman(open), italic(value_name(arg)), roman(close)]);
    }
    line
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    names.join(" ")
}

/// One argument: how it is written, its long help, its choices, its default, its variable.
fn explain(roff: &mut Roff, arg: &Arg, line: Vec<Inline>) {
    roff.control("TP", []).text(line);
    let help = arg.get_long_help().or(arg.get_help());
    let help = help.map(|help| help.to_string()).unwrap_or_default();
    paragraphs(roff, &help, "IP");
    let takes_values = arg.get_num_args().is_some_and(|n| n.takes_values());
    let choices = arg.get_possible_values();
    if takes_values && !choices.is_empty() && !arg.is_hide_possible_values_set() {
        let names: Vec<&str> = choices.iter().map(|choice| choice.get_name()).collect();
        aside(roff, "One of: ", &names.join(", "));
    }
    let defaults = arg.get_default_values().iter();
    let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    if takes_values && !defaults.is_empty() && !arg.is_hide_default_value_set() {
        aside(roff, "Default: ", &defaults.join(","));
    }
    if let Some(variable) = arg.get_env() {
        aside(roff, "Environment: ", &variable.to_string_lossy());
    }
}

/// A remark on a line of its own.
fn aside(roff: &mut Roff, title: &str, text: &str) {
    roff.control("br", []).text([roman(title), bold(text)]);
}

/// One section of manual text.
fn section(title: &str, text: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    paragraphs(&mut roff, text, "PP");
    roff
}

/// Plain text: blank lines part paragraphs (`between` is the request that does it), lines indented by four spaces stay
/// as they are, and a paragraph that begins with a word and two spaces is the entry of a list.
fn paragraphs(roff: &mut Roff, text: &str, between: &str) {
    let verbatim = |line: &str| line.starts_with("    ");
    for (i, paragraph) in text.trim_matches('\n').split("\n\n").enumerate() {
        let mut paragraph = paragraph.to_owned();
        let is_word = |tag: &str| !tag.is_empty() && !tag.contains(char::is_whitespace);
        let entry = paragraph.split_once("  ").filter(|(tag, _)| is_word(tag));
        if let Some((tag, rest)) = entry {
            roff.control("TP", []).text([bold(tag)]);
            paragraph = rest.trim_start().to_owned();
        } else if i > 0 && !verbatim(&paragraph) {
            roff.control(between, []);
        }
        let lines: Vec<&str> = paragraph.lines().collect();
        for run in lines.chunk_by(|a, b| verbatim(a) == verbatim(b)) {
            match verbatim(run[0]) {
                true => verse(roff, run),
                false => drop(roff.text([roman(run.join("\n"))])),
            }
        }
    }
}

/// Lines as they stand, indented.
fn verse(roff: &mut Roff, lines: &[&str]) {
    roff.control("sp", [])
        .control("RS", ["4"])
        .control("nf", []);
    for line in lines {
        roff.text([roman(&line[4..])]);
    }
    roff.control("fi", []).control("RE", []);
}

#[test]
fn docs_keep_examples_as_they_are_written() {
    let mut roff = Roff::new();
    paragraphs(&mut roff, "One.\n\n    a | b\n    c\n\nTwo:\n    d", "PP");
    let wanted =
        "One.\n.sp\n.RS 4\n.nf\na | b\nc\n.fi\n.RE\n.PP\nTwo:\n.sp\n.RS 4\n.nf\nd\n.fi\n.RE\n";
    assert_eq!(wanted, roff.to_roff());
}

/// The simple commands of shell text, as words: cut at pipes, lists and ends of line, without redirections.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let mut chars = text.chars().peekable();
    let mut word: Option<String> = None;
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let inner = chars.by_ref().take_while(|other| *other != c);
                word.get_or_insert_default().extend(inner);
            }
            '\\' if chars.peek() == Some(&'\n') => drop(chars.next()),
            '#' if word.is_none() => while chars.next_if(|other| *other != '\n').is_some() {},
            ' ' | '\n' | '|' | '&' | ';' | '(' | ')' => {
                let command: &mut Vec<String> = all.last_mut().unwrap();
                command.extend(word.take());
                if c != ' ' {
                    all.push(Vec::new());
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    all.last_mut().unwrap().extend(word);
    for command in &mut all {
        command.retain(|word| !word.starts_with(['<', '>']) && !word.starts_with("2>"));
    }
    all
}

/// The lines of a text that are examples: in fences, indented, or between requests of the manual.
fn examples(text: &str) -> String {
    let mut fenced = false;
    let mut found = String::new();
    for line in text.lines() {
        let requests = [".nf", ".fi"].contains(&line);
        fenced ^= line.starts_with("```") || requests;
        if fenced || line.starts_with("    ") {
            let line = line
                .replace("\\-", "-")
                .replace("\\fB", "")
                .replace("\\fR", "");
            found.push_str(line.trim_start().trim_start_matches("$ "));
            found.push('\n');
        }
    }
    found
}

#[test]
fn docs_show_only_command_lines_that_the_programs_take() {
    let mut texts = vec![
        ("README.md", fs::read_to_string(root("README.md")).unwrap()),
        (
            "man/lineflow.7",
            fs::read_to_string(root("man/lineflow.7")).unwrap(),
        ),
    ];
    for (_, manual) in programs() {
        texts.extend(
            manual
                .iter()
                .map(|(title, text)| (*title, (*text).to_owned())),
        );
    }
    let mut count = 0;
    for (place, text) in &texts {
        for words in commands(&examples(text)) {
            let program = words.iter().position(|word| {
                programs()
                    .iter()
                    .any(|(command, _)| command.get_name() == word)
            });
            // `ssh db tsm-cat …` runs it as well; what asks for its manual does not.
            let Some(at) = program.filter(|_| words[0] != "man") else {
                continue;
            };
            let words = &words[at..];
            let known = programs();
            let (command, _) = known
                .iter()
                .find(|(command, _)| command.get_name() == words[0])
                .unwrap();
            let parsed = command.clone().try_get_matches_from(words);
            assert!(
                parsed.is_ok(),
                "{place}: {words:?}\n{}",
                parsed.unwrap_err()
            );
            count += 1;
        }
    }
    assert!(count > 20, "only {count} examples");
}

#[test]
fn docs_commands_are_cut_where_a_shell_cuts_them() {
    let text = "a -x 'b c' <in | d >out && e # f\n";
    let wanted = [vec!["a", "-x", "b c"], vec!["d"], vec![], vec!["e"], vec![]];
    assert_eq!(wanted.to_vec(), commands(text));
}
