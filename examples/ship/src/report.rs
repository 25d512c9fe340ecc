use forebay::{
    core::{DropReason, Totals},
    export::Counters,
};
use forebay_testkit::receiver::Audit;
use std::{fmt, time::Duration};

/// What became of all lines.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The ledger.
    pub totals: Totals,
    /// Requests, retries, and how often the circuit opened.
    pub counters: Counters,
    /// From the first line read to the last fate.
    pub elapsed: Duration,
    /// What the built-in receiver's books say, if it was there and the input can be read again.
    pub audit: Option<Audit>,
}

// === impl Summary ===

impl Summary {
    /// Whether every line was delivered, and the books balance.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let Totals { offered, delivered, pending, .. } = self.totals;
        self.totals.balance() && pending == 0 && delivered == offered
    }

    fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people; counts are far below 2^52")]
        let delivered = self.totals.delivered as f64;
        delivered / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// The report in one line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let Totals { offered, delivered, spooled, dropped, pending, .. } = self.totals;
        let Counters { requests, retries, breaker_opens, .. } = self.counters;
        // Numbers, and names that need no escape: nothing here comes from outside.
        let dropped: Vec<_> = dropped.iter().map(|(reason, items)| format!(r#""{reason}":{items}"#)).collect();
        format!(
            r#"{{"offered":{offered},"delivered":{delivered},"spooled":{spooled},"dropped":{{{}}},"pending":{pending},"#,
            dropped.join(",")
        ) + &format!(
            r#""requests":{requests},"retries":{retries},"breaker_opens":{breaker_opens},"seconds":{:.3},"records_per_second":{:.1}}}"#,
            self.elapsed.as_secs_f64(),
            self.per_second()
        )
    }

    /// What the receiver's books say, in one line.
    #[must_use]
    pub fn receiver(&self) -> Option<String> {
        let Audit { expected, missing, repeated, duplicated, foreign, ambiguous, .. } = self.audit?;
        let mut text = format!("receiver   {} of {expected} lines arrived", expected - missing);
        if ambiguous == 0 && expected > missing && duplicated == 0 {
            text += ", each exactly once";
        } else if ambiguous > 0 {
            text += &format!(
                "; {ambiguous} were in requests whose outcome was ambiguous, {repeated} of these arrived again"
            );
        }
        for (count, what) in [(duplicated, "twice without need"), (foreign, "that were never sent")] {
            if count > 0 {
                text += &format!("; {count} {what}");
            }
        }
        Some(text)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { offered, delivered, spooled, dropped, pending, .. } = self.totals;
        let Counters { requests, retries, breaker_opens, .. } = self.counters;
        writeln!(f, "offered    {offered:>10}")?;
        writeln!(f, "delivered  {delivered:>10}")?;
        writeln!(f, "spooled    {spooled:>10}")?;
        writeln!(f, "dropped    {:>10}", dropped.total())?;
        for (reason, items) in dropped.iter() {
            writeln!(f, "           {items:>10}  {}", words(reason))?;
        }
        writeln!(f, "pending    {pending:>10}")?;
        writeln!(f, "requests   {requests:>10}  {retries} of them retries; the circuit opened {breaker_opens} times")?;
        writeln!(f, "time       {:>9.2}s  {:.0} records/s", self.elapsed.as_secs_f64(), self.per_second())?;
        if let Some(receiver) = self.receiver() {
            writeln!(f, "{receiver}")?;
        }
        Ok(())
    }
}

fn words(reason: DropReason) -> String {
    let more = match reason {
        DropReason::Expired => "older than --give-up-after",
        DropReason::TooLarge => "longer than any request may be",
        DropReason::Rejected => "refused by the receiver for good",
        DropReason::Shutdown => "the receiver never came back, or the shipper was stopped",
        _ => return reason.to_string(),
    };
    format!("{reason}: {more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay::core::{Fate, Ledger};

    fn summary() -> Summary {
        let mut ledger = Ledger::default();
        ledger.accept(5);
        ledger.settle(Fate::Delivered, 3);
        ledger.settle(Fate::Dropped(DropReason::Expired), 2);
        ledger.refuse(DropReason::TooLarge, 1);
        Summary {
            totals: ledger.totals(),
            counters: Counters::default(),
            elapsed: Duration::from_millis(1500),
            audit: None,
        }
    }

    #[test]
    fn the_json_report_is_one_line_that_parses() {
        let text = summary().json();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["dropped"], serde_json::json!({"too_large": 1, "expired": 2}));
        assert_eq!((value["offered"].as_u64(), value["seconds"].as_f64()), (Some(6), Some(1.5)));
        assert_eq!(value["records_per_second"].as_f64(), Some(2.0));
        let begin =
            r#"{"offered":6,"delivered":3,"spooled":0,"dropped":{"too_large":1,"expired":2},"pending":0,"requests":0,"#;
        assert!(text.starts_with(begin) && !text.contains('\n'), "{text}");
    }

    #[test]
    fn the_text_names_the_reasons() {
        let text = summary().to_string();
        assert!(text.contains("2  expired: older than --give-up-after"), "{text}");
        assert!(!summary().is_complete());
    }
}
