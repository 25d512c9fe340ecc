//! The defaults are the same in the code, in `--help`, on the page and in the environment.

use forebay_gateway::{
    Config,
    options::{HELP, parse},
};
use std::collections::BTreeSet;

/// An option or a variable, and the default that `--help` names for it.
struct Knob {
    name: &'static str,
    text: &'static str,
    /// What it is where batches are forwarded, and where they are stored.
    forwarded: &'static str,
    stored: &'static str,
}

const STORED: &[&str] = &[];
const FORWARDED: &[&str] = &["--forward", "http://h"];
const LOAD: &[&str] = &["--load", "http://h"];

fn knobs() -> Vec<Knob> {
    let lines = HELP.lines().filter_map(|line| {
        let (name, _) = line.trim_start().split_once(' ')?;
        let (_, text) = line.split_once("(default ")?;
        let (text, _) = text.split_once(')')?;
        let (forwarded, stored) = text.split_once(", with SQLite ").unwrap_or((text, text));
        Some(Knob { name, text, forwarded, stored })
    });
    lines.collect()
}

/// What the arguments mean, with the variable `name` set to `value` if it is one, and with the option otherwise.
fn meaning(arguments: &[&str], knob: Option<(&str, &str)>) -> String {
    let option = knob.filter(|(name, _)| name.starts_with("--"));
    let variable = knob.filter(|(name, _)| !name.starts_with("--"));
    let arguments = arguments.iter().copied().chain(option.into_iter().flat_map(|(name, value)| [name, value]));
    let environment = |asked: &str| variable.filter(|(name, _)| *name == asked).map(|(_, value)| value.to_owned());
    let parsed = parse(arguments.map(Into::into), environment);
    assert!(parsed.is_ok(), "{knob:?}: {parsed:?}");
    format!("{:?}", parsed.unwrap().unwrap())
}

/// Another value of the same kind.
fn other(value: &str) -> String {
    match value {
        "true" => "false".to_owned(),
        "partial" => "success".to_owned(),
        "memory" => "disk".to_owned(),
        _ => match value.rfind(|char: char| char.is_ascii_digit()) {
            Some(place) => {
                let digit = value[place..].chars().next().unwrap().to_digit(10).unwrap();
                format!("{}{}{}", &value[..place], digit % 9 + 1, &value[place + 1..])
            }
            None => format!("{value}x"),
        },
    }
}

#[test]
fn a_default_of_the_help_changes_nothing_and_another_value_does() {
    assert!(knobs().len() > 25, "the help has been read");
    for Knob { name, forwarded, stored, .. } in knobs() {
        let mut differs = false;
        for (arguments, value) in [(STORED, stored), (FORWARDED, forwarded), (LOAD, stored)] {
            let default = meaning(arguments, None);
            assert_eq!(meaning(arguments, Some((name, value))), default, "{name} {value} {arguments:?}");
            differs |= meaning(arguments, Some((name, &other(value)))) != default;
        }
        assert!(differs, "{name} has no effect");
    }
}

#[test]
fn the_defaults_are_those_of_the_pipeline_that_this_replaces() {
    let named =
        |name: &str, text: &str| assert!(knobs().iter().any(|knob| (knob.name, knob.text) == (name, text)), "{name}");
    named("INGEST_ASYNC_ENABLED", "true");
    named("INGEST_PIPELINE_QUEUE_SIZE", "50000, with SQLite 10000");
    named("INGEST_PIPELINE_WORKERS", "8");
    named("--bytes", "512MiB, with SQLite 128MiB");
    named("--soft-limit", "0.9");
    named("--tenant-share", "0.3");
    named("--spool-bytes", "500MiB");
    named("--dead-letter-tries", "10");
    named("--replay-every", "5m");
    named("--replay-most", "100");
    named("--retry-after", "1s");
}

#[test]
fn an_option_counts_before_its_variable() {
    for (variable, option, value) in
        [("INGEST_PIPELINE_QUEUE_SIZE", "--items", "7"), ("INGEST_PIPELINE_WORKERS", "--workers", "3")]
    {
        let by_variable = meaning(STORED, Some((variable, value)));
        assert_eq!(by_variable, meaning(&[option, value], None), "{variable}");
        assert_eq!(meaning(&[option, value], Some((variable, "5"))), by_variable, "{option}");
    }
    assert_eq!(meaning(STORED, Some(("INGEST_ASYNC_ENABLED", "false"))), meaning(&["--synchronous"], None));
}

#[test]
fn a_configuration_made_in_code_has_the_same_defaults() {
    let mut parsed = parse([], |_| None).unwrap().unwrap().config;
    let folder = parsed.spool.take().map(|spool| spool.folder);
    assert_eq!(folder, Some("gateway-data/spool".into()), "only a process has a folder by itself");
    assert_eq!(format!("{parsed:?}"), format!("{:?}", Config::default()));
}

#[test]
fn the_page_names_the_defaults_of_the_help() {
    let page = include_str!("../../README.md");
    let (_, table) = page.split_once("| knob | default |\n| --- | --- |\n").unwrap();
    let on_page: BTreeSet<_> = table.lines().take_while(|line| line.starts_with('|')).map(str::to_owned).collect();
    let in_help: BTreeSet<_> = knobs().iter().map(|Knob { name, text, .. }| format!("| `{name}` | {text} |")).collect();
    assert_eq!(on_page, in_help);
}
