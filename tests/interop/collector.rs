//! The Collector as a process of its own, which writes what it took to files.

use forebay::otlp::{Protocol, Signal};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use std::{
    env,
    ffi::OsString,
    fmt::Debug,
    fs, io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

/// How long anything may take that a machine does within a second as a rule.
const PATIENCE: Duration = Duration::from_secs(20);

/// A Collector that may be running.
pub(crate) struct Collector {
    http: SocketAddr,
    grpc: SocketAddr,
    folder: PathBuf,
    process: Option<Child>,
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) fn program(variable: &str) -> OsString {
    env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run this with `just interop`"))
}

impl Collector {
    /// One that is not running yet; `name` is that of the test.
    pub(crate) fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("forebay-interop-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (http, grpc) = (free_address(), free_address());
        let file = |signal: &str| folder.join(signal).display().to_string();
        let exporter = |signal: &str| {
            format!(
                "  file/{signal}: {{path: {:?}, format: proto, append: true, flush_interval: 20ms}}\n",
                file(signal)
            )
        };
        let pipeline = |signal: &str| format!("    {signal}: {{receivers: [otlp], exporters: [file/{signal}]}}\n");
        let all = |write: &dyn Fn(&str) -> String| ["logs", "traces", "metrics"].map(write).concat();
        let configuration = format!(
            "receivers:\n  otlp:\n    protocols:\n      http: {{endpoint: {http:?}}}\n      grpc: {{endpoint: {grpc:?}}}\n\
             exporters:\n{}service:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}\n  pipelines:\n{}",
            all(&exporter),
            all(&pipeline),
            http = http.to_string(),
            grpc = grpc.to_string(),
        );
        fs::write(folder.join("collector.yaml"), configuration).unwrap();
        Self { http, grpc, folder, process: None }
    }

    pub(crate) async fn started(name: &str) -> Self {
        let mut collector = Self::new(name);
        collector.start().await;
        collector
    }

    /// Starts it, again if need be, with the same addresses and files.
    pub(crate) async fn start(&mut self) {
        let said = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("said")).unwrap();
        let process = Command::new(program("FOREBAY_COLLECTOR"))
            .arg("--config")
            .arg(self.folder.join("collector.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn();
        self.process = Some(process.unwrap());
        let up = async {
            while TcpStream::connect(self.http).await.is_err() || TcpStream::connect(self.grpc).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(PATIENCE, up).await.is_err() {
            panic!("the Collector does not listen: {}", fs::read_to_string(self.folder.join("said")).unwrap());
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) {
        let mut process = self.process.take().unwrap();
        assert!(Command::new("kill").arg(process.id().to_string()).status().unwrap().success());
        assert!(process.wait().unwrap().success(), "the Collector did not end as it should");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Where to send a signal to; gRPC has a port of its own, and its path is that of the method.
    pub(crate) fn url_for(&self, protocol: Protocol, signal: Signal) -> String {
        match protocol {
            Protocol::Grpc => format!("http://{}", self.grpc),
            _ => self.url(signal.path()),
        }
    }

    /// The requests that are in the file of a signal, whole ones only.
    fn messages<M: Message + Default>(&self, signal: &str) -> Vec<M> {
        let bytes = match fs::read(self.folder.join(signal)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            bytes => bytes.unwrap(),
        };
        let (mut rest, mut all) = (&bytes[..], Vec::new());
        while let Some((head, behind)) = rest.split_first_chunk::<4>() {
            let Some((message, behind)) = behind.split_at_checked(u32::from_be_bytes(*head) as usize) else { break };
            all.push(M::decode(message).unwrap());
            rest = behind;
        }
        all
    }

    pub(crate) fn logs(&self) -> Vec<ExportLogsServiceRequest> {
        self.messages("logs")
    }

    pub(crate) fn traces(&self) -> Vec<ExportTraceServiceRequest> {
        self.messages("traces")
    }

    pub(crate) fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        self.messages("metrics")
    }

    /// Reads the files until `read` finds as much as is expected, or time is up.
    pub(crate) async fn wait_for<T: Debug>(&self, expected: usize, read: impl Fn(&Self) -> Vec<T>) -> Vec<T> {
        let look = async {
            loop {
                let found = read(self);
                if found.len() >= expected {
                    return found;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, look).await.unwrap_or_else(|_| read(self))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
        if !std::thread::panicking() {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}
