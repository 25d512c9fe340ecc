use super::own;
use bytes::BytesMut;
use forebay::{
    export::Encode,
    otlp::{MetricsEncoder, Protocol},
};
use forebay_collect::{Labels, Series, Value};
use std::{fmt::Write, fs, hint::black_box, time::Duration};
use tokio::time::Instant;

/// Measures what waiting costs, and says so in a table: the ground for the defaults of `--buffer-age` and `--buffer-bytes`.
///
/// For each number of series it builds what 15 minutes without a server leave behind, gathered every 5 seconds, and asks
/// the system how much memory that takes; then it encodes what a minute brings.
#[must_use]
pub fn measure() -> String {
    const GATHERINGS: u64 = 15 * 60 / 5;
    const OF_A_MINUTE: usize = 60 / 5;
    let mut table = String::from(
        "| series | values in 15 min | weighed MiB | resident MiB | values in 1 min | encoded KiB | encoding µs |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let encoder = MetricsEncoder::builder().protocol(Protocol::HttpProtobuf).build();
    for series in [10_u64, 100, 1_000, 5_000] {
        let before = resident();
        let waiting: Vec<Series> = (0..GATHERINGS).flat_map(|time| (0..series).map(move |n| one(n, time))).collect();
        let resident = resident().saturating_sub(before);
        let weighed: usize = waiting.iter().map(own::weight).sum();
        let minute = &waiting[..usize::try_from(series).unwrap_or(usize::MAX).saturating_mul(OF_A_MINUTE)];
        let (mut body, mut best) = (BytesMut::new(), Duration::MAX);
        if let Ok(encoder) = &encoder {
            for _ in 0..9 {
                body.clear();
                let start = Instant::now();
                black_box(encoder.encode(black_box(minute), &mut body)).unwrap_or_default();
                best = best.min(start.elapsed());
            }
        }
        // Writing to a string does not fail.
        let _infallible = writeln!(
            table,
            "| {series} | {} | {:.1} | {:.1} | {} | {} | {} |",
            waiting.len(),
            mib(weighed),
            mib(resident),
            minute.len(),
            body.len() >> 10,
            best.as_micros(),
        );
    }
    table
}

/// One value of one of many series, with the labels that such a value has in earnest.
pub(super) fn one(n: u64, time: u64) -> Series {
    let labels = Labels::new().with("node.id", "3f2a1c").with("node.name", "server-7").with("route", format!("/{n}"));
    let nanos = 1_700_000_000_000_000_000 + time * 5_000_000_000;
    Series::new("http.server.requests", nanos, Value::counter(n * time)).since(1_700_000_000_000_000_000).labels(labels)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes of physical memory in use; 0 where the system does not say.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
