//! Nothing of a driver's telemetry is heard above debug, whatever happens to it.

mod common;

use common::{Answer, Fake, advance, build, connect};
use forebay_databricks::{DriverTelemetry, FeatureFlag, Settings, Severity};
use forebay_testkit::events::EventRecorder;
use std::{collections::BTreeSet, time::Duration};
use tracing::{Level, subscriber::set_default};

#[tokio::test(start_paused = true)]
async fn no_event_is_above_debug_and_a_host_that_is_opened_again_has_its_name_again() {
    let heard = EventRecorder::of("forebay");
    let _guard = set_default(heard.clone());
    for settings in [Settings::node(), Settings { enabled: true, ..Settings::csharp() }] {
        let fake = Fake::new();
        let (telemetry, _) = build(
            DriverTelemetry::builder(fake.clone())
                .settings(Settings { max_pending: 20, batch_size: 10, ..settings })
                .feature_flag(FeatureFlag::node("1")),
        );
        for trouble in [Answer::Status(503), Answer::Status(404), Answer::Hang, Answer::Panic, Answer::Error("reset")] {
            fake.otherwise(trouble);
            let connection = telemetry.connect(connect()).await;
            for _ in 0..8 {
                // Some are evicted, some are refused, and then the circuit is open.
                (0..50).for_each(|_| connection.operation("x", Duration::ZERO));
                connection.error_with_trace("E", "x", Severity::Terminal);
                connection.flush().await;
            }
            advance(Duration::from_secs(120)).await;
            fake.otherwise(Answer::Status(200));
            connection.operation("x", Duration::ZERO);
            connection.flush().await;
            connection.close().await;
        }
        telemetry.shutdown(Duration::from_secs(1)).await;
        advance(Duration::from_secs(120)).await;
    }
    let events = heard.events();
    let loud: Vec<_> = events.iter().filter(|event| event.level < Level::DEBUG).collect();
    assert!(loud.is_empty(), "{loud:?}");
    let said: BTreeSet<_> = events.iter().map(|event| event.message.as_str()).collect();
    assert!(said.contains("telemetry was lost") && said.contains("breaker changed state"), "{said:?}");
    let names: BTreeSet<_> = events.iter().filter_map(|event| event.field("exporter")).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["https://adb-1.azuredatabricks.net:443"]);
}
