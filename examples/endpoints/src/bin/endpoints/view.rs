use crate::{books::Books, item::Item, load::Load, options::Options, receiver::Receiver};
use forebay::export::{Exporter, ExporterHandle, State};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

/// A line for each receiver and one for the exporter, on a terminal; nothing elsewhere.
pub(crate) struct View<'a> {
    receivers: &'a [Receiver],
    handle: ExporterHandle<Item>,
    books: &'a Books,
    rate: u64,
    shared: bool,
    lines: Vec<ProgressBar>,
    summary: ProgressBar,
    ended: AtomicBool,
}

/// How old the newest item was that had arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lag {
    worst: Duration,
    sum: Duration,
    looks: u32,
}

/// How often the receivers are looked at.
const LOOK: Duration = Duration::from_millis(100);

// === impl View ===

impl<'a> View<'a> {
    pub(crate) fn new(
        options: &Options,
        exporter: &Exporter<Item>,
        receivers: &'a [Receiver],
        books: &'a Books,
    ) -> Self {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let line = |template| {
            let bar = lines.add(ProgressBar::new(options.rate));
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        };
        let bars = receivers.iter().map(|_| line("{prefix:>15} {bar:30} {msg}")).collect();
        let summary = line("{msg}");
        let (handle, rate, shared) = (exporter.handle(), options.rate, !options.failover);
        Self { receivers, handle, books, rate, shared, lines: bars, summary, ended: AtomicBool::new(false) }
    }

    /// Draws until [`end`](Self::end), and measures meanwhile.
    pub(crate) fn show(&self) -> (Lag, Load) {
        let (mut lag, mut load) = (Lag::default(), Load::new(self.receivers.len(), self.shared, LOOK));
        let mut history: Vec<Vec<u64>> = self.receivers.iter().map(|receiver| vec![receiver.items(); 11]).collect();
        while !self.ended.load(Relaxed) {
            thread::sleep(LOOK);
            lag.look(self.books.age_of_newest());
            load.look(self.handle.totals().offered, self.receivers.iter().map(Receiver::seen));
            for (receiver, items) in self.receivers.iter().zip(&mut history) {
                items.rotate_left(1);
                if let Some(last) = items.last_mut() {
                    *last = receiver.items();
                }
                receiver.measured(in_a_second(items));
            }
            self.draw(&history);
        }
        for line in &self.lines {
            line.finish_and_clear();
        }
        self.summary.finish_and_clear();
        (lag, load)
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    fn draw(&self, history: &[Vec<u64>]) {
        let endpoints = self.handle.endpoints();
        for (((line, receiver), items), status) in self.lines.iter().zip(self.receivers).zip(history).zip(&endpoints) {
            let life = if receiver.lives() { "lives" } else { "dead " };
            let circuit = match status.circuit {
                State::Closed => "closed",
                State::Open => "open",
                _ => "probing",
            };
            let rate = in_a_second(items);
            line.set_prefix(receiver.address().to_string());
            line.set_position(rate.min(self.rate));
            let (busy, limit) = (status.in_flight, status.limit);
            line.set_message(format!("{life} {rate:>8}/s  circuit {circuit:7} {busy:>3} of {limit:>3} in flight"));
        }
        let (totals, age) = (self.handle.totals(), self.books.age_of_newest());
        self.summary.set_message(format!(
            "{} offered, {} delivered, {} pending; the newest that arrived is {age:.1?} old",
            totals.offered, totals.delivered, totals.pending
        ));
    }
}

/// Of eleven looks: the items between the first and the last, which are a second apart.
fn in_a_second(items: &[u64]) -> u64 {
    match items {
        [first, .., last] => last.saturating_sub(*first),
        _ => 0,
    }
}

// === impl Lag ===

impl Lag {
    fn look(&mut self, age: Duration) {
        self.worst = self.worst.max(age);
        self.sum += age;
        self.looks += 1;
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = self.sum.checked_div(self.looks).unwrap_or_default();
        write!(f, "the newest item that had arrived was {mean:.1?} old on average, {:.1?} at worst", self.worst)
    }
}
