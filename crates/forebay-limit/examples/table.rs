//! draft
use forebay_core::Outcome;
use forebay_limit::*;
use forebay_testkit::load::*;
use tokio::time::Instant;
struct Ours(Limiter, Instant, usize);
impl Limit for Ours {
    fn limit(&self) -> usize { self.0.limit() }
    fn ended(&mut self, a: Attempt) {
        TRACING.store(self.2 == std::env::var("CL").map_or(0, |c| c.parse().unwrap()) && std::env::var_os("TR").is_some(), std::sync::atomic::Ordering::Relaxed);
        let outcome = match a.response { Response::Served => Outcome::Success, _ => Outcome::RETRYABLE };
        self.0.sampled(Sample { started: self.1 + a.started, finished: self.1 + a.finished, in_flight: a.in_flight, outcome });
    }
}
fn main() {
    let only = std::env::args().nth(1);
    let start = Instant::now();
    let grid = [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 200];
    println!("{:38} {:>4} {:>7} {:>6} | {:>7} {:>5} {:>6} {:>5} {:>4} {:>5}| {:>7} {:>5} {:>5}", "server", "best", "rate", "ms", "ours", "ratio", "ms", "waste", "max", "jain", "five", "r5", "r5all");
    let seeds = if std::env::var_os("TR").is_some() { 1 } else { 3 };
    for s in catalog() {
        if only.as_ref().is_some_and(|o| !s.name.contains(o.as_str())) { continue; }
        let ours = |seed: u64| s.run(|n| Ours(Limiter::new(&Adaptive::builder().floor(s.limits.start).ceiling(s.limits.end - 1).seed(seed * 1000 + n as u64).build().unwrap(), start), start, n));
        if std::env::var_os("BINS").is_some() {
            let run = ours(1);
            for (i, b) in run.bins.iter().enumerate() {
                println!("{i:3} {:8.2} limit {:6.1} rate {:7.0} ms {:8.1} wasted {}", run.width.as_secs_f64() * i as f64, b.limit, b.served as f64 / run.width.as_secs_f64(), 1e3 * b.seconds / b.served.max(1) as f64, b.wasted);
            }
        }
        let fixed: Vec<_> = grid.iter().filter(|g| s.limits.contains(g)).map(|g| (*g, s.run(|_| Fixed(*g)))).collect();
        let top = fixed.iter().map(|f| f.1.served_per_second()).fold(0.0, f64::max);
        let best = fixed.iter().find(|f| f.1.served_per_second() >= 0.99 * top).unwrap();
        let five = s.run(|_| Fixed(5.clamp(s.limits.start, s.limits.end - 1)));
        let runs: Vec<_> = (1..=seeds).map(ours).collect();
        if std::env::var_os("TR").is_some() { println!("{:?}", runs[0].by_client); }
        let worst = runs.iter().min_by(|a, b| a.served_per_second().total_cmp(&b.served_per_second())).unwrap();
        let x = worst.served_per_second();
        let r5 = x / five.served_per_second();
        let r5all = worst.served_per_second_in_all() / five.served_per_second_in_all();
        let ratio = x / top;
        let flag = if ratio < 0.9 || r5 < 0.9 || r5all < 0.9 || worst.fairness() < 0.9 { "  <<<" } else { "" };
        println!("{:38} {:>4} {:>7.1} {:>6.1} | {:>7.1} {:>5.3} {:>6.1} {:>5.3} {:>4} {:>5.2}| {:>7.1} {:>5.2} {:>5.2}{flag}", s.name, best.0, top, best.1.latency.as_secs_f64() * 1e3, x, ratio, worst.latency.as_secs_f64() * 1e3, worst.wasted_share(), worst.greatest_limit, worst.fairness(), five.served_per_second(), r5, r5all);
    }
}
