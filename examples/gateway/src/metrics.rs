//! The gateway's own numbers, in the text format of Prometheus.

use super::{
    intake::Intake,
    ledgers::{SIGNALS, signal_name},
    sink::Number,
    spool::BatchSpool,
};
use forebay::core::DropReason;
use std::fmt::{Display, Write};

/// One page of text.
struct Page(String);

/// The response of `/metrics`. It is read when it is asked for, so that no gauge is older than the request.
#[must_use]
pub(super) fn render(intake: &Intake) -> String {
    let mut page = Page(String::new());
    let ledgers = intake.ledgers.read();
    let pages = || SIGNALS.into_iter().map(signal_name).zip(&ledgers);

    page.family("forebay_gateway_batches_offered_total", "counter", "Batches that were received, by signal.");
    for (signal, book) in pages() {
        page.line("forebay_gateway_batches_offered_total", &[("signal", &signal)], book.batches().offered);
    }
    page.family("forebay_gateway_batches_delivered_total", "counter", "Batches that the sink took.");
    for (signal, book) in pages() {
        page.line("forebay_gateway_batches_delivered_total", &[("signal", &signal)], book.batches().delivered);
    }
    page.family("forebay_gateway_batches_spooled", "gauge", "Batches of this run that are in the spool.");
    for (signal, book) in pages() {
        page.line("forebay_gateway_batches_spooled", &[("signal", &signal)], book.batches().spooled);
    }
    page.family(
        "forebay_gateway_records_offered_total",
        "counter",
        "Spans, log records and data points that were received.",
    );
    for (signal, book) in pages() {
        page.line("forebay_gateway_records_offered_total", &[("signal", &signal)], book.records().offered);
    }
    page.family("forebay_gateway_records_delivered_total", "counter", "Records that the sink took.");
    for (signal, book) in pages() {
        page.line("forebay_gateway_records_delivered_total", &[("signal", &signal)], book.records().delivered);
    }
    page.family("forebay_gateway_dropped_total", "counter", "Batches that were dropped, by reason.");
    for (signal, book) in pages() {
        let dropped = book.batches().dropped;
        // Those that are zero too: a counter that first shows up at 1 has no increase in the eyes of Prometheus.
        for reason in DropReason::ALL {
            let labels: [(&str, &dyn Display); 2] = [("signal", &signal), ("reason", &reason)];
            page.line("forebay_gateway_dropped_total", &labels, dropped.get(reason));
        }
    }
    page.family("forebay_gateway_queue_depth", "gauge", "Batches that are queued or in flight.");
    for (signal, book) in pages() {
        page.line("forebay_gateway_queue_depth", &[("signal", &signal)], book.batches().pending);
    }
    page.one("forebay_gateway_queue_bytes", "gauge", "Bytes queued and in flight.", intake.handle.bytes());
    let fullness = intake.handle.fullness();
    page.one("forebay_gateway_queue_fullness", "gauge", "The larger of the shares of items and bytes.", fullness);

    page.family(
        "forebay_gateway_dlq_total",
        "counter",
        "What happened to batches in the spool, and to what should have come there.",
    );
    for ((signal, result), letters) in intake.meters.all_dead_letters() {
        page.line("forebay_gateway_dlq_total", &[("signal", &signal), ("result", &result)], letters);
    }
    let unreadable = intake.meters.all_unreadable_batches();
    page.one(
        "forebay_gateway_dlq_unreadable_total",
        "counter",
        "Records of the spool that are no batches.",
        unreadable,
    );
    let spool = intake.spool.as_ref();
    let (level, recovered) = (spool.map(BatchSpool::level), spool.map(BatchSpool::recovered));
    let (level, recovered) = (level.unwrap_or_default(), recovered.unwrap_or_default());
    page.one("forebay_gateway_spool_batches", "gauge", "Batches that wait in the spool for the sink.", level.batches);
    page.one("forebay_gateway_spool_dead", "gauge", "Batches that were given up, until they are requeued.", level.dead);
    page.one("forebay_gateway_spool_bytes", "gauge", "Bytes of the spool.", level.bytes);
    page.one(
        "forebay_gateway_spool_fullness",
        "gauge",
        "The larger of the shares of batches and bytes.",
        level.fullness,
    );
    let (found, delivered) = (recovered.found, recovered.delivered);
    page.one("forebay_gateway_recovered_total", "counter", "Batches that an earlier run has left.", found);
    page.one("forebay_gateway_recovered_delivered_total", "counter", "Of those, what the sink took.", delivered);
    page.one("forebay_gateway_panics_total", "counter", "Panics of the sink.", intake.meters.panics());
    page.family("forebay_gateway_throttled_total", "counter", "Senders that were asked to wait.");
    for (protocol, times) in intake.meters.all_throttled() {
        page.line("forebay_gateway_throttled_total", &[("protocol", &protocol)], times);
    }
    let malformed = intake.meters.all_malformed();
    page.one("forebay_gateway_malformed_total", "counter", "Requests that were no OTLP, or too large.", malformed);
    let unreadable = intake.meters.all_unreadable();
    page.one(
        "forebay_gateway_unreadable_total",
        "counter",
        "Records of JSON requests that could not be read.",
        unreadable,
    );
    let handshakes = intake.meters.all_failed_handshakes();
    page.one("forebay_gateway_tls_failures_total", "counter", "TLS handshakes that failed.", handshakes);
    for Number { name, kind, help, value } in (intake.sink_numbers)() {
        page.one(&format!("forebay_gateway_{name}"), kind, help, value);
    }
    page.one("forebay_gateway_ready", "gauge", "Whether /readyz says yes.", u8::from(intake.is_ready()));
    page.0
}

// === impl Page ===

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a `String` does not fail.
        let _infallible = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// No label has a character that would have to be escaped.
    fn line(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.0.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            let _infallible = write!(self.0, "{}{label}=\"{text}\"", if n == 0 { '{' } else { ',' });
        }
        let _infallible = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.line(name, &[], value);
    }
}
