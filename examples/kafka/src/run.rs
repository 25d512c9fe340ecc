use super::{metrics::Producer, options::Options};
use forebay::kip714::{
    Change, ClientEvent, ClientLabels, Kip714Client,
    tcp::{Sasl, TcpTransport},
};
use forebay_testkit::kafka::{Api, Broker, Fault, Subscription};
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
        None => Some(own_broker().await),
    };
    let bootstrap = options.bootstrap.or_else(|| own.as_ref().map(Broker::address)).unwrap_or_default();
    let duration = options.duration.or(own.as_ref().map(|_| Duration::from_secs(4)));

    let mut transport = TcpTransport::builder().bootstrap(&bootstrap).client_id(options.client_id);
    if let Some((mechanism, user, password)) = options.sasl {
        transport = transport.sasl(match mechanism.as_str() {
            "PLAIN" => Sasl::plain(user, password),
            "SCRAM-SHA-256" => Sasl::scram_sha_256(user, password),
            "SCRAM-SHA-512" => Sasl::scram_sha_512(user, password),
            other => return Ended::Wrong(format!("--sasl: {other} is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512")),
        });
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

/// A broker that asks for everything twice a second, and has its faults.
async fn own_broker() -> Broker {
    let broker = Broker::start().await;
    broker.subscribe(Subscription::all().every(Duration::from_millis(500)));
    broker.script(Api::Push, [Fault::None, Fault::Disconnect, Fault::Code(76), Fault::None, Fault::Code(117)]);
    broker
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
