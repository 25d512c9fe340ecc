//! A client that stops for good says so without an observer. Alone in its process: it is about the first one of it.

use forebay_core::BoxError;
use forebay_kip714::{
    ErrorCode, GetTelemetrySubscriptionsResponse, InstanceId, Kip714Client, Stopped, TelemetryRequest,
    TelemetryResponse,
};
use forebay_testkit::events::EventRecorder;
use std::time::Duration;
use tower::service_fn;
use tracing::{Level, subscriber::set_default};

#[tokio::test(start_paused = true)]
async fn a_client_that_stopped_for_good_warns_once_and_the_next_ones_are_said_at_debug() {
    let recorder = EventRecorder::of("forebay_kip714");
    let _guard = set_default(recorder.clone());
    for _ in 0..3 {
        let broker = service_fn(|_: TelemetryRequest| async {
            Ok::<_, BoxError>(TelemetryResponse::GetSubscriptions(GetTelemetrySubscriptionsResponse {
                error_code: ErrorCode::INVALID_RECORD,
                client_instance_id: InstanceId::from_bytes([7; 16]),
                ..Default::default()
            }))
        });
        let client = Kip714Client::builder().build(broker).unwrap();
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let report = client.shutdown(Duration::from_secs(1)).await;
        assert_eq!(report.status.stopped, Some(Stopped::InvalidRecord));
    }
    let events = recorder.events();
    let levels: Vec<_> = events.iter().map(|event| event.level).collect();
    assert_eq!(levels, [Level::WARN, Level::DEBUG, Level::DEBUG]);
    let why = "client telemetry is off: the broker responded with INVALID_RECORD (87)";
    assert!(events.iter().all(|event| event.message == "client telemetry stopped" && event.field("why") == Some(why)));
}
