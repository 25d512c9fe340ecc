//! The client as its user runs it.

#[cfg(target_os = "linux")]
#[test]
fn f24_a_report_that_cannot_be_written_is_no_success() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for arguments in [&["--help"][..], &["--for", "3"]] {
        let program = env!("CARGO_BIN_EXE_kafka_client");
        let output = std::process::Command::new(program).args(arguments).stdout(full()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("cannot write the report"), "{arguments:?}: {stderr}");
    }
}
