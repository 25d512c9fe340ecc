use forebay::{core::Totals, export::Counters};
use forebay_collect::ReporterCounts;
use std::{fmt, time::Duration};

/// What became of all values.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What was gathered.
    pub gathered: ReporterCounts,
    /// The exporter's ledger.
    pub totals: Totals,
    /// Its requests, and how often its circuit opened.
    pub counters: Counters,
    /// How often the configuration was fetched, and how often in vain.
    pub fetches: (u64, u64),
    /// How long it ran.
    pub elapsed: Duration,
    /// What the built-in receiver has counted, if it was there and kept what it received.
    pub books: Option<Received>,
}

/// What the built-in receiver has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Points that were received.
    pub received: u64,
    /// Those of them that had been received before: the same value of the same series at the same time.
    pub repeated: u64,
    /// Records in requests whose outcome the client could not know.
    pub ambiguous: u64,
}

// === impl Summary ===

impl Summary {
    /// Whether every value that was gathered was delivered, and the books balance.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let Totals { offered, delivered, pending, .. } = self.totals;
        self.totals.balance() && pending == 0 && delivered == offered && self.gathered.failed == 0
    }

    /// The report in one line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let Totals { offered, delivered, dropped, pending, .. } = self.totals;
        let dropped: serde_json::Map<_, _> =
            dropped.iter().map(|(reason, items)| (reason.to_string(), items.into())).collect();
        let books = self.books.map(|books| {
            serde_json::json!({"received": books.received, "repeated": books.repeated, "ambiguous": books.ambiguous})
        });
        serde_json::json!({
            "reports": self.gathered.exported, "skipped": self.gathered.skipped, "series": self.gathered.series,
            "offered": offered, "delivered": delivered, "dropped": dropped, "pending": pending,
            "requests": self.counters.requests, "breaker_opens": self.counters.breaker_opens,
            "config_fetches": self.fetches.0, "config_failures": self.fetches.1, "receiver": books,
            "seconds": self.elapsed.as_secs_f64(),
        })
        .to_string()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { offered, delivered, dropped, pending, .. } = self.totals;
        let (fetched, failed) = self.fetches;
        let ReporterCounts { exported, skipped, .. } = self.gathered;
        writeln!(f, "gathered   {exported:>8}  times; {skipped} times without an endpoint")?;
        writeln!(f, "offered    {offered:>8}  values")?;
        writeln!(f, "delivered  {delivered:>8}")?;
        writeln!(f, "dropped    {:>8}", dropped.total())?;
        for (reason, items) in dropped.iter() {
            writeln!(f, "           {items:>8}  {reason}")?;
        }
        writeln!(f, "pending    {pending:>8}")?;
        writeln!(
            f,
            "requests   {:>8}  the circuit opened {} times",
            self.counters.requests, self.counters.breaker_opens
        )?;
        writeln!(f, "config     {fetched:>8}  times fetched, {failed} times in vain")?;
        writeln!(f, "time       {:>7.1}s", self.elapsed.as_secs_f64())?;
        if let Some(Received { received, repeated, ambiguous }) = self.books {
            writeln!(
                f,
                "receiver   {received:>8}  values received, {repeated} of them twice; {ambiguous} were in requests whose outcome \
                 was ambiguous"
            )?;
        }
        Ok(())
    }
}
