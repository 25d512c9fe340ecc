//! The instance of the process. Alone in its process.

mod common;

use common::{Fake, connect};
use forebay_databricks::{ConfigError, DriverTelemetry, Settings};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn two_users_in_one_process_share_one_exporter_for_each_host() {
    let failed = DriverTelemetry::global(|| Err(ConfigError::new("x", 0, "1")));
    assert_eq!(failed.unwrap_err().knob(), "x");
    let (fake, unused) = (Fake::new(), Fake::new());
    let make =
        |fake: &Fake| DriverTelemetry::builder(fake.clone()).kill_switch(None).settings(Settings::node()).build();
    let one = DriverTelemetry::global(|| make(&fake)).unwrap();
    let other = DriverTelemetry::global(|| make(&unused)).unwrap();
    let connections = [one.connect(connect()).await, other.connect(connect()).await];
    for connection in &connections {
        connection.operation("x", Duration::ZERO);
    }
    assert_eq!((one.reports(), one.reports().len()), (other.reports(), 1));
    for connection in connections {
        connection.close().await;
    }
    assert_eq!((fake.logs().len(), unused.logs().len()), (2, 0));
}
