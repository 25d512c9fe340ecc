//! The same for programs.

use crate::table::{Report, Row};
use serde_json::{Value, json};

/// One object per row of all `reports`.
#[must_use]
pub fn rows(reports: &[Report]) -> Value {
    reports.iter().flat_map(|report| report.rows.iter().map(|row| object(report, row))).collect()
}

fn object(report: &Report, row: &Row) -> Value {
    json!({
        "area": report.area,
        "table": report.title,
        "contender": row.name,
        "kind": row.kind.as_str(),
        "min_ns": row.min_ns,
        "median_ns": row.median_ns,
        "ratio_to_floor": row.ratio_to_floor,
        "ratio_to_best_rival": row.ratio_to_best_rival,
        "allocs": row.allocations,
        "bytes": row.bytes,
        "cores": row.cores,
        "marked": row.marked,
        "target": row.target(),
        "met": row.met(),
        "targets": row.findings.iter().map(|finding| json!({
            "what": format!("{:?}", finding.bound.what),
            "at_most": finding.bound.at_most,
            "found": finding.found,
            "met": finding.met(),
        })).collect::<Vec<_>>(),
    })
}
