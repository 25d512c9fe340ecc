use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::time::sleep;

/// The broker takes no payload that is longer, before or after compression.
pub(crate) const MAX_BYTES: usize = 32_768;

/// A real broker that is its own controller, in a folder of its own.
pub(crate) struct Node {
    folder: PathBuf,
    port: u16,
    sasl_port: u16,
    tls_port: u16,
    process: Child,
}

impl Node {
    pub(crate) fn start() -> Self {
        let folder = env::temp_dir().join(format!("forebay-kafka-{}", std::process::id()));
        // What an earlier run has left there, if anything.
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(folder.join("inbox")).unwrap();
        let [port, sasl_port, tls_port, controller] = free_ports();
        fs::write(folder.join("server.properties"), properties(&folder, [port, sasl_port, tls_port, controller]))
            .unwrap();
        make_certificate(&folder);
        let log = folder.join("broker.log");
        let formatted = java("kafka.tools.StorageTool")
            .args(["format", "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg", "--config"])
            .arg(folder.join("server.properties"))
            .args(["--add-scram", "SCRAM-SHA-256=[name=alice,password=s3cret]"])
            .args(["--add-scram", "SCRAM-SHA-512=[name=alice,password=s3cret]"])
            .output()
            .unwrap();
        assert!(formatted.status.success(), "{formatted:?}");
        let process = run(&folder, &log);
        Self { folder, port, sasl_port, tls_port, process }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn sasl_address(&self) -> String {
        format!("127.0.0.1:{}", self.sasl_port)
    }

    pub(crate) fn tls_address(&self) -> String {
        format!("127.0.0.1:{}", self.tls_port)
    }

    /// The broker's certificate, which it signed itself, as DER.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        fs::read(self.folder.join("broker.der")).unwrap()
    }

    /// Where the receiver in the broker writes.
    pub(crate) fn inbox(&self) -> PathBuf {
        self.folder.join("inbox")
    }

    /// Waits until it listens.
    pub(crate) async fn up(&self) {
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(self.address()).await.is_ok() {
                return;
            }
            // Another process, in real time: there is nothing to wait on.
            sleep(Duration::from_millis(100)).await;
        }
        panic!("the broker does not come up: {}", fs::read_to_string(self.folder.join("broker.log")).unwrap());
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        self.process.wait().unwrap();
    }

    /// `STOP` makes the broker hang, and `CONT` ends that.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.process.id().to_string()).status().unwrap();
        assert!(sent.success(), "{signal}: {sent}");
    }

    pub(crate) fn start_again(&mut self) {
        self.process = run(&self.folder, &self.folder.join("broker-again.log"));
    }

    /// Creates or changes a subscription, by the broker's own tool.
    pub(crate) fn subscribe(&self, metrics: &str, interval: Duration) {
        let interval = interval.as_millis().to_string();
        self.tool(&["--alter", "--name", "test", "--metrics", metrics, "--interval", &interval]);
    }

    pub(crate) fn unsubscribe(&self) {
        self.tool(&["--delete", "--name", "test"]);
    }

    fn tool(&self, args: &[&str]) {
        let mut command = java("org.apache.kafka.tools.ClientMetricsCommand");
        let ran = command.args(["--bootstrap-server", &self.address()]).args(args).output().unwrap();
        assert!(ran.status.success(), "{args:?}: {ran:?}");
    }

    /// What the broker itself counts of one client, by the name of the metric.
    pub(crate) fn counts(&self, instance: &str) -> Vec<(String, f64)> {
        let text = fs::read_to_string(self.inbox().join("metrics.txt")).unwrap_or_default();
        let of_instance = text.lines().filter(|line| line.contains(instance) && line.contains("-count "));
        let mut counts: Vec<_> = of_instance
            .filter_map(|line| {
                let (name, value) = (line.split(' ').next()?, line.rsplit_once(" = ")?.1);
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect();
        counts.sort_by(|a, b| a.0.cmp(&b.0));
        counts
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.process.kill());
        drop(self.process.wait());
        if !std::thread::panicking() {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// A Java program among the jars of Kafka and our own classes.
pub(crate) fn java(main: &str) -> Command {
    let mut command = Command::new("java");
    command
        .args([
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xmx512m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        ])
        .args(["-cp", &env::var("KAFKA_CLASSPATH").expect(".ci/interop-kafka sets it")])
        .arg(main)
        .stdin(Stdio::null());
    command
}

fn run(folder: &Path, log: &Path) -> Child {
    let log = fs::File::create(log).unwrap();
    Command::new("java")
        .args([
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xmx768m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        ])
        .arg(format!("-Dforebay.folder={}", folder.join("inbox").display()))
        .args(["-cp", &env::var("KAFKA_CLASSPATH").expect(".ci/interop-kafka sets it"), "kafka.Kafka"])
        .arg(folder.join("server.properties"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn make_certificate(folder: &Path) {
    let keytool = |args: &[&str]| {
        let made =
            Command::new("keytool").args(args).arg("-storepass").arg("s3cret").current_dir(folder).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    let key = ["-genkeypair", "-alias", "broker", "-keyalg", "EC", "-groupname", "secp256r1", "-validity", "2"];
    let name = ["-dname", "CN=broker", "-ext", "san=ip:127.0.0.1", "-keystore", "broker.p12", "-storetype", "PKCS12"];
    keytool(&[key.as_slice(), name.as_slice()].concat());
    keytool(&["-exportcert", "-alias", "broker", "-keystore", "broker.p12", "-file", "broker.der"]);
}

fn properties(folder: &Path, [port, sasl_port, tls_port, controller]: [u16; 4]) -> String {
    let listeners =
        format!("PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl_port},SSL://127.0.0.1:{tls_port}");
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners={listeners},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners={listeners}\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL\n\
         ssl.keystore.location={folder}/broker.p12\n\
         ssl.keystore.type=PKCS12\n\
         ssl.keystore.password=s3cret\n\
         ssl.key.password=s3cret\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n\
         listener.name.sasl_plaintext.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"s3cret\";\n\
         listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=\
         org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";\n\
         log.dirs={folder}/data\n\
         offsets.topic.replication.factor=1\n\
         group.initial.rebalance.delay.ms=0\n\
         metric.reporters=Receiver\n\
         telemetry.max.bytes={MAX_BYTES}\n",
        folder = folder.display(),
    )
}

fn free_ports() -> [u16; 4] {
    // All held at once, so that they differ.
    let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}
