//! The books of a driver's telemetry and of its service agree.

use forebay_databricks::Settings;
use forebay_driver::{Options, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_faults_everything_comes_once() {
    let options = Options { connections: 20, statements: 25, faults: 0, ..Options::default() };
    let summary = run(&options).await.unwrap();
    assert_eq!(summary.disagreements(), [""; 0], "{summary}");
    // Of each session: itself, its statements, and errors at 3, 13, 23 and 7.
    let logs = 20 * (1 + 25 + 3 + 1);
    assert_eq!((summary.delivered(), summary.dropped()), (logs, 0), "{summary}");
    let books = summary.books();
    assert!(books.logs.values().all(|times| *times == 1) && books.errors == 20 * 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_faults_every_log_has_a_fate() {
    let has_its_fates = async |seed, settings| {
        let settings = Options::hurried(&settings);
        let summary = run(&Options { connections: 40, statements: 25, faults: 30, seed, settings }).await.unwrap();
        assert_eq!(summary.disagreements(), [""; 0], "{summary}");
        assert!(summary.books().faults > 0 && summary.delivered() > 0, "{summary}");
    };
    // Both wait for most of their time.
    let of_c_sharp = Settings { enabled: true, ..Settings::csharp() };
    tokio::join!(has_its_fates(1, Settings::node()), has_its_fates(2, of_c_sharp));
}

#[cfg(target_os = "linux")]
#[test]
fn f24_a_report_that_cannot_be_written_is_no_success() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for arguments in [&["--help"][..], &["--connections", "1", "--statements", "1", "--faults", "0"]] {
        let program = env!("CARGO_BIN_EXE_driver_telemetry");
        let output = std::process::Command::new(program).args(arguments).stdout(full()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("cannot write the report"), "{arguments:?}: {stderr}");
    }
}
