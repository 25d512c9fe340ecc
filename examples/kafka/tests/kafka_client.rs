//! The client as its user runs it.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::process::{Command, Output};

fn client(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kafka_client"));
    command.args(arguments);
    command
}

/// Exit status, standard output and standard error.
fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[cfg(target_os = "linux")]
#[test]
fn f24_a_report_that_cannot_be_written_is_no_success() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for arguments in [&["--help"][..], &["--for", "3"]] {
        let output = client(arguments).stdout(full()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("cannot write the report"), "{arguments:?}: {stderr}");
    }
}

#[cfg(unix)]
#[test]
fn a_token_of_a_file_or_a_command_opens_the_connection() {
    let file = std::env::temp_dir().join(format!("forebay-token-{}", std::process::id()));
    std::fs::write(&file, "s3cret-token\n").unwrap();
    let command = format!("cat {}", file.display());
    let opens = |source: [&str; 2]| {
        let arguments = [&["--for", "3", "--sasl", "OAUTHBEARER", "--token-valid-for", "1"][..], &source].concat();
        let (code, text, error) = ended(client(&arguments).output().unwrap());
        assert_eq!((code, &*error), (0, ""), "{text}");
        assert!(text.contains("push: ") && text.contains("the last one"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| opens(["--token-file", file.to_str().unwrap()]));
        scope.spawn(|| opens(["--token-command", &command]));
    });
    std::fs::remove_file(&file).unwrap();
}

#[cfg(unix)]
#[test]
fn a_token_that_changes_or_cannot_be_had_is_said_without_it() {
    let file = std::env::temp_dir().join(format!("forebay-tokens-{}", std::process::id()));
    // The broker takes the first one, and the client has another with each connection.
    let command = format!("echo x >> {0}; echo s3cret-$(wc -l < {0})", file.display());
    let arguments = ["--for", "1", "--sasl", "OAUTHBEARER", "--token-command", &command];
    let (code, text, error) = ended(client(&arguments).output().unwrap());
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("invalid_token") && error.contains("no push was taken"), "{text} {error}");
    assert!(!text.contains("s3cret") && !error.contains("s3cret"), "{text} {error}");
    std::fs::remove_file(&file).unwrap();
    for (source, words) in
        [(["--token-file", "/none/token"], "/none/token"), (["--token-command", "exit 3"], "exit status: 3")]
    {
        let arguments = [&["--for", "1", "--sasl", "OAUTHBEARER"][..], &source].concat();
        let (code, _, error) = ended(client(&arguments).output().unwrap());
        assert!(code == 2 && error.contains(words) && error.lines().count() == 1, "{error}");
    }
}
