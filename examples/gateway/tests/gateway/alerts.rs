//! The alert rules name series that are exported, with labels that these have.

use crate::support::{Gate, Sender, Temp, config, spool};
use forebay_gateway::{
    Config, Gateway,
    sink::{Database, Forward, forward, sqlite},
};
use std::{num::NonZeroUsize, time::Duration};

const RULES: &str = include_str!("../../alerts.yml");

/// A series that an expression selects: its name, and what its labels may be.
type Selector = (String, Vec<(String, Vec<String>)>);

fn selectors(expression: &str) -> Vec<Selector> {
    let mut selectors = Vec::new();
    for (start, _) in expression.match_indices("forebay_") {
        let rest = &expression[start..];
        let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let matchers =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(matchers, _)| matchers);
        let matchers = matchers.split(',').filter(|matcher| !matcher.is_empty()).map(|matcher| {
            let (label, values) = matcher.split_once('=').unwrap();
            let values = values.trim_start_matches('~').trim_matches('"').split('|').map(str::to_owned).collect();
            (label.to_owned(), values)
        });
        selectors.push((name.to_owned(), matchers.collect()));
    }
    selectors
}

/// What `/metrics` shows right after the start, for both sinks.
async fn pages(temp: &Temp) -> String {
    let database = Database::open(&temp.path().join("t.db")).unwrap();
    let to = Forward {
        url: "http://127.0.0.1:9".to_owned(),
        workers: NonZeroUsize::MIN,
        patience: Duration::from_secs(1),
        trust: None,
    };
    let mut pages = String::new();
    for sink in [sqlite(&database), forward(to).unwrap().0, Gate::closed().sink()] {
        let config = Config { spool: Some(spool(temp)), ..config() };
        let gateway = Gateway::start(config, sink).await.unwrap();
        pages += &Sender::to(&gateway).get("/metrics").await.1;
        gateway.stop().await;
    }
    pages
}

#[tokio::test]
async fn each_alert_is_about_series_that_are_exported_from_the_start() {
    let temp = Temp::new("alerts");
    let page = pages(&temp).await;
    let expressions: Vec<_> = RULES.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    let alerts = RULES.lines().filter(|line| line.trim().starts_with("- alert: ")).count();
    assert!(alerts >= 10 && expressions.len() == alerts, "each alert has its expression on one line");
    for expression in expressions {
        let selectors = selectors(expression);
        assert!(!selectors.is_empty(), "{expression}");
        for (name, matchers) in selectors {
            let series: Vec<_> = page.lines().filter(|line| line.split([' ', '{']).next() == Some(&name)).collect();
            assert!(!series.is_empty(), "{name} is not exported");
            let kind = format!("# TYPE {name} {}", if name.ends_with("_total") { "counter" } else { "gauge" });
            assert!(page.contains(&kind), "{kind}");
            for (label, values) in matchers {
                for value in values {
                    let shown = format!("{label}=\"{value}\"");
                    assert!(series.iter().any(|line| line.contains(&shown)), "{name} with {shown} is not exported");
                }
            }
        }
    }
}

#[test]
fn the_alerts_of_the_pipeline_that_this_replaces_are_there() {
    for words in ["reason=~\"full|bytes\"", "reason=~\"soft_limit|fair_share\"", "queue_fullness > 0.7", "ready == 0"] {
        assert!(RULES.contains(words), "{words}");
    }
    let (_, fills) = RULES.split_once("alert: GatewayQueueFills").unwrap();
    assert!(fills.split("- alert:").next().unwrap().contains("for: 5m"));
}
