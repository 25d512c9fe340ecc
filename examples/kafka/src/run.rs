use super::{
    metrics::Producer,
    options::{Login, Mechanism, Options},
};
use forebay::{
    core::BoxError,
    kip714::{
        Change, ClientEvent, ClientLabels, Kip714Client,
        tcp::{Sasl, TcpTransport},
    },
};
use forebay_testkit::kafka::{self, Api, Broker, Fault, Subscription};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// How it went.
#[derive(Debug)]
pub enum Ended {
    /// Every series has a fate, and some pushes were taken.
    Well,
    /// Not so.
    Lost(String),
    /// It could not even begin.
    Wrong(String),
}

/// How long the terminating push may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs a client until its time is over or a signal comes; says line by line what happens.
pub async fn run(options: Options, say: impl Fn(&str)) -> Ended {
    let own = match &options.bootstrap {
        Some(_) => None,
        None => match own_broker(options.login.as_ref()).await {
            Ok(broker) => Some(broker),
            Err(error) => return Ended::Wrong(error.to_string()),
        },
    };
    let bootstrap = options.bootstrap.or_else(|| own.as_ref().map(Broker::address)).unwrap_or_default();
    let duration = options.duration.or(own.as_ref().map(|_| Duration::from_secs(4)));

    let mut transport = TcpTransport::builder().bootstrap(&bootstrap).client_id(options.client_id);
    if let Some(login) = options.login {
        transport = transport.sasl(sasl(login));
    }
    if let Some(trust) = &options.trust {
        transport = transport.tls(trust.config());
    }
    let transport = match transport.build() {
        Ok(transport) => transport,
        Err(error) => return Ended::Wrong(error.to_string()),
    };

    let (told, mut events) = mpsc::unbounded_channel();
    let producer = Arc::new(Producer::new(options.series));
    let client = Kip714Client::builder()
        .metrics(move |out| producer.gather(out))
        .labels(ClientLabels::new().client_rack("rack-1"))
        // The receiver of these lines is dropped at the end only.
        .observe(move |event: &ClientEvent| drop(told.send(line(event))))
        .build(transport);
    let client = match client {
        Ok(client) => client,
        Err(error) => return Ended::Wrong(error.to_string()),
    };

    say(&format!("broker: {bootstrap}"));
    let mut over = std::pin::pin!(enough(duration));
    loop {
        tokio::select! {
            () = &mut over => break,
            event = events.recv() => match event {
                Some(event) => say(&event),
                None => break,
            },
        }
    }
    let report = client.shutdown(GOODBYE).await;
    drop(client);
    while let Ok(event) = events.try_recv() {
        say(&event);
    }
    let (totals, counters) = (report.totals, report.status.counters);
    say(&format!("series: {totals}"));
    say(&format!("requests: {counters:?}"));
    if !totals.balance() || totals.pending > 0 {
        return Ended::Lost("the accounts do not balance".to_owned());
    }
    if let Some(why) = report.status.stopped {
        return Ended::Lost(why.to_string());
    }
    if counters.pushes == 0 {
        return Ended::Lost("no push was taken".to_owned());
    }
    Ended::Well
}

fn line(event: &ClientEvent) -> String {
    match event {
        ClientEvent::Named(id) => format!("id: {id}"),
        ClientEvent::Pushing(push) => {
            let (series, bytes, codec) = (push.series, push.bytes, push.codec);
            let last = if push.terminating { ", the last one" } else { "" };
            format!("push: {series} series, {} left out, {bytes} bytes, {codec}{last}", push.left_out)
        }
        ClientEvent::Changed { change: Change::Stopped(why), .. } => why.to_string(),
        ClientEvent::Changed { change, state } => format!("{change:?}: {state}"),
        other => format!("{other:?}"),
    }
}

fn sasl(login: Login) -> Sasl {
    match login {
        Login::Password { mechanism, user, password } => match mechanism {
            Mechanism::Plain => Sasl::plain(user, password.0),
            Mechanism::ScramSha256 => Sasl::scram_sha_256(user, password.0),
            Mechanism::ScramSha512 => Sasl::scram_sha_512(user, password.0),
        },
        Login::Token { from, valid_for } => Sasl::oauth_bearer(move || {
            let from = from.clone();
            async move { from.token(valid_for).await }
        }),
    }
}

/// A broker that asks for everything twice a second, and has its faults. It takes the credentials that are there now.
async fn own_broker(login: Option<&Login>) -> Result<Broker, BoxError> {
    let broker = Broker::start().await;
    match login {
        None => {}
        Some(Login::Password { mechanism: Mechanism::Plain, user, password }) => {
            broker.require(kafka::Login::Plain(user.clone(), password.0.clone()));
        }
        Some(Login::Password { mechanism: Mechanism::ScramSha256, user, password }) => {
            broker.require(kafka::Login::ScramSha256(user.clone(), password.0.clone()));
        }
        Some(Login::Password { mechanism: Mechanism::ScramSha512, .. }) => {
            return Err("the broker of its own does not know SCRAM-SHA-512".into());
        }
        Some(Login::Token { from, .. }) => broker.require(kafka::Login::OAuthBearer(from.text().await?)),
    }
    broker.subscribe(Subscription::all().every(Duration::from_millis(500)));
    broker.script(Api::Push, [Fault::None, Fault::Disconnect, Fault::Code(76), Fault::None, Fault::Code(117)]);
    Ok(broker)
}

/// Ends after this time, or with a signal.
async fn enough(duration: Option<Duration>) {
    let time = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time => {}
        () = signal() => {}
    }
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _pressed = tokio::signal::ctrl_c() => {}
        },
        // Without signals there is only the time.
        Err(_none) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
