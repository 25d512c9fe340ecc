use super::*;

fn of(arguments: &[&str]) -> Result<Option<Options>, UsageError> {
    parse(arguments.iter().map(OsString::from), |_| None)
}

#[test]
fn what_a_gateway_cannot_be_run_with_is_one_clear_line() {
    for (arguments, words) in [
        (&["--http", "localhost"][..], "--http is \"localhost\"; allowed: an address"),
        (&["--items", "0"], "items"),
        (&["--items"], "--items needs a value"),
        (&["--bytes", "12MB"], "--bytes"),
        (&["--bytes", "0"], "--bytes"),
        (&["--soft-limit", "1.5"], "soft_limit"),
        (&["--tenant-share", "0"], "fair_share"),
        (&["--tenant-header", "a b"], "the name of a header"),
        (&["--workers", "0"], "--workers"),
        (&["--workers", "257"], "1 to 256"),
        (&["--items", "1000001"], "1 to 1000000"),
        (&["--keep", "forever"], "--keep is \"forever\"; allowed: all, or a duration"),
        (&["--keep-bytes", "0"], "--keep-bytes"),
        (&["--max-connections", "0"], "--max-connections"),
        (&["--tls-cert", "c.pem"], "--tls-key"),
        (&["--tls-cert", "none.pem", "--tls-key", "none.pem"], "none.pem cannot be used for TLS"),
        (&["--forward-ca", "none.pem"], "none.pem"),
        (&["--soft-refusal", "no"], "allowed: partial, success, 429"),
        (&["--slow", "soon"], "--slow"),
        (&["--demo", "--forward", "http://h"], "--demo"),
        (&["--demo", "--load", "http://h"], "--demo"),
        (&["--verbose"], "--verbose"),
        (&["file"], "file"),
    ] {
        let error = of(arguments).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{arguments:?}: {error}");
    }
    let wrong = parse([], |_| Some("maybe".to_owned())).unwrap_err().to_string();
    assert!(wrong.contains("INGEST_ASYNC_ENABLED"), "{wrong}");
    for variable in ["INGEST_PIPELINE_QUEUE_SIZE", "INGEST_PIPELINE_WORKERS"] {
        for value in ["0", "-1", "many", "99999999"] {
            let wrong = parse([], |name| (name == variable).then(|| value.to_owned())).unwrap_err().to_string();
            assert!(wrong.contains(variable) && wrong.contains("1 to "), "{wrong}");
        }
        assert!(parse([], |name| (name == variable).then(String::new)).is_ok(), "an empty variable is none");
    }
}

#[test]
fn the_kill_switch_is_an_option_and_a_variable() {
    assert!(!of(&[]).unwrap().unwrap().config.synchronous);
    assert!(of(&["--synchronous"]).unwrap().unwrap().config.synchronous);
    let off = parse([], |name| (name == "INGEST_ASYNC_ENABLED").then(|| "false".to_owned()));
    assert!(off.unwrap().unwrap().config.synchronous);
}

#[test]
fn the_help_names_every_option() {
    for option in HELP.split_whitespace().filter(|word| word.starts_with("--")) {
        let option = option.trim_end_matches([';', ':', ',', ')', '.']);
        // Without its value an option says that it needs one; an unknown one says that it is none.
        let unknown = of(&[option]).is_err_and(|error| error.to_string().contains("invalid option"));
        assert!(!unknown, "{option}");
    }
    assert!(of(&["--help"]).unwrap().is_none());
}
