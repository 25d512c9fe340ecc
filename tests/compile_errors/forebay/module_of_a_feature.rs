// code: E0432
// says: the item is gated behind the `otlp` feature

use forebay::otlp::LogRecord;

pub fn record() -> LogRecord {
    LogRecord::new("payment accepted")
}

fn main() {}
