//! What the four examples of HTTP clients have in common: ten records, and what became of them.

use forebay::{
    core::BoxError,
    export::Exporter,
    otlp::{LogRecord, Severity},
};
use forebay_testkit::receiver::Receiver;
use std::time::Duration;

/// Where an example sends to: the URL that it was started with, or a receiver of its own.
#[derive(Debug)]
pub struct FarSide {
    /// The base URL, without a slash at the end.
    pub url: String,
    receiver: Option<Receiver>,
}

// === impl FarSide ===

impl FarSide {
    /// Takes the first argument of the program, or starts a receiver on this machine.
    ///
    /// # Errors
    ///
    /// When the receiver cannot be started.
    pub async fn from_arguments() -> Result<Self, BoxError> {
        match std::env::args().nth(1) {
            Some(url) => Ok(Self { url: url.trim_end_matches('/').to_owned(), receiver: None }),
            None => {
                let receiver = Receiver::builder().start().await?;
                Ok(Self { url: receiver.endpoint(), receiver: Some(receiver) })
            }
        }
    }

    /// Emits ten records, ends the exporter, and says what became of them.
    ///
    /// # Errors
    ///
    /// When not all of them arrived.
    pub async fn tell(self, exporter: Exporter<LogRecord>) -> Result<String, BoxError> {
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
