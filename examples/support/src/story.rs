//! What the four examples of HTTP clients have in common: ten records, and what became of them.

use forebay::{
    core::{BoxError, ConfigError},
    export::{Endpoint, Exporter},
    otlp::{LogRecord, Severity, Signal},
};
use forebay_testkit::receiver::Receiver;
use std::time::Duration;

/// Where an example sends to: the URL that it was started with, or a receiver of its own.
#[derive(Debug)]
pub struct Destination {
    /// The base URL.
    pub url: String,
    receiver: Option<Receiver>,
}

// === impl Destination ===

impl Destination {
    /// Takes the first argument of the program, or starts a receiver on this machine.
    ///
    /// # Errors
    ///
    /// When the receiver cannot be started.
    pub async fn from_arguments() -> Result<Self, BoxError> {
        match std::env::args().nth(1) {
            Some(url) => Ok(Self { url, receiver: None }),
            None => {
                let receiver = Receiver::builder().start().await?;
                Ok(Self { url: receiver.endpoint(), receiver: Some(receiver) })
            }
        }
    }

    /// Where logs go over HTTP: the path of the signal stands behind that of the base, and the query of the base stays.
    ///
    /// # Errors
    ///
    /// When the base is no URL.
    pub fn logs(&self) -> Result<String, ConfigError> {
        Ok(self.url.parse::<Endpoint>()?.extended(Signal::Logs.path())?.uri().to_string())
    }

    /// Emits ten records, ends the exporter, and says what became of them.
    ///
    /// # Errors
    ///
    /// When not all of them arrived.
    pub async fn export_ten(self, exporter: Exporter<LogRecord>) -> Result<String, BoxError> {
        for number in 1..=10 {
            let record = LogRecord::new(format!("record {number} of 10")).severity(Severity::Info);
            exporter.emit(record);
        }
        let report = exporter.shutdown(Duration::from_secs(10)).await;
        if let Some(error) = report.last_error.filter(|_| report.totals.delivered < 10) {
            return Err(format!("{}", error.report()).into());
        }
        let arrived = match self.receiver {
            Some(receiver) => format!("; the receiver has {}", receiver.totals().accepted),
            None => String::new(),
        };
        Ok(format!("delivered {} of {}{arrived}", report.totals.delivered, report.totals.offered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f10_the_query_of_a_base_stays_behind_the_path_of_the_signal() {
        for (base, logs) in [
            ("http://h:4318", "http://h:4318/v1/logs"),
            ("http://h:4318/", "http://h:4318/v1/logs"),
            ("http://h:4318/otlp?token=abc", "http://h:4318/otlp/v1/logs?token=abc"),
        ] {
            assert_eq!(Destination { url: base.to_owned(), receiver: None }.logs().unwrap(), logs);
        }
        assert!(Destination { url: "h:4318".to_owned(), receiver: None }.logs().is_err());
    }
}
