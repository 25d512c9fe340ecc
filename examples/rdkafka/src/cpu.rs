use std::fs;

/// CPU time of this process so far, user and system, in seconds; `None` where there is no `/proc`.
#[must_use]
pub fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may hold spaces. Behind it the times are the 12th and the 13th field.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    // Linux counts in hundredths of a second on every architecture that Rust runs on.
    Some(ticks / 100.0)
}
