//! A NATS server that can be killed, stopped for a while, and started again.

use forebay_spool_nats::{
    Disposition, Group, JetStreamBuilder, JetStreamSpool, NewRecord, Spool, Want,
    async_nats::{Client, ConnectOptions},
};
use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

/// A server in a directory of its own; both are gone when it is dropped.
pub(crate) struct Nats {
    process: Child,
    folder: PathBuf,
    port: u16,
}

// === impl Nats ===

impl Nats {
    pub(crate) async fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("forebay-nats-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?}, sync_interval: always }}\n",
            folder.join("store")
        );
        fs::write(folder.join("nats.conf"), config).unwrap();
        let server = Self { process: run(&folder), folder, port };
        server.wait().await;
        server
    }

    /// SIGKILL, as an out-of-memory killer sends it.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) async fn start_again(&mut self) {
        self.process = run(&self.folder);
        self.wait().await;
    }

    /// It takes what is sent to it, and responds to nothing, until it is sent `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    async fn wait(&self) {
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        unreachable!("the server does not listen: {log}");
    }

    pub(crate) async fn client(&self) -> Client {
        let options = ConnectOptions::new()
            .max_reconnects(None)
            .reconnect_delay_callback(|_| Duration::from_millis(50))
            .retry_on_initial_connect();
        let client = options.connect(format!("127.0.0.1:{}", self.port)).await.unwrap();
        client.flush().await.unwrap();
        client
    }

    pub(crate) async fn builder(&self) -> JetStreamBuilder {
        JetStreamSpool::builder(self.client().await, "spool").destination("main", "https://a.example")
    }

    pub(crate) async fn spool(&self) -> JetStreamSpool {
        self.builder().await.open().await.unwrap()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // Whatever became of the test: no process and no folder is left. There may be none already.
        let _killed = self.process.kill();
        let _waited = self.process.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

fn run(folder: &std::path::Path) -> Child {
    let server = std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
    let log = fs::File::create(folder.join("log")).unwrap();
    Command::new(server).arg("-c").arg(folder.join("nats.conf")).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

pub(crate) fn group<const N: usize>(payloads: [&'static str; N]) -> Group {
    Group::new(payloads.map(NewRecord::new))
}

/// Leases what there is at once, and returns the payloads; each has this disposition.
pub(crate) async fn take(spool: &JetStreamSpool, destination: &str, disposition: Disposition) -> Vec<String> {
    let mut taken = Vec::new();
    while let Some(lease) = spool.lease(destination, Want::default()).await.unwrap() {
        taken.extend(lease.records().iter().map(|record| String::from_utf8(record.payload.to_vec()).unwrap()));
        spool.settle_all(lease, &disposition).await.unwrap();
        if disposition != Disposition::Delivered {
            break;
        }
    }
    taken
}
