//! From the program to the wire: a server in a process of its own, and one process per contender and run.

pub(crate) mod contenders;
pub mod record;
mod server;

use crate::{
    alloc,
    runner::median,
    table::{Extra, Kind, Report, Row},
    work::cpu_time,
};
use contenders::Contender;
use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitCode, Stdio},
    time::Instant,
};

pub use contenders::ALL;

/// How many records a run sends.
pub const RECORDS: usize = 200 * BATCH;

/// How many of them go into one request.
pub const BATCH: usize = 512;

/// The first argument of a process that is part of a run.
const CHILD: &str = "e2e-child";

/// What one process has found out about its run.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    wall_ns: f64,
    cpu_ns: f64,
    peak_rss_mb: f64,
    allocations: f64,
    bytes: f64,
}

/// A server that responds to every request, and counts.
struct Server {
    process: Child,
    address: SocketAddr,
}

/// What a server has seen since it was asked last.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    requests: u64,
    bytes: u64,
}

/// If this process is part of a run, does its part.
pub fn child(mut arguments: impl Iterator<Item = String>) -> Option<ExitCode> {
    if arguments.next().as_deref() != Some(CHILD) {
        return None;
    }
    let role = arguments.next().expect("a role");
    if role == "server" {
        server::run();
        return Some(ExitCode::SUCCESS);
    }
    let address: SocketAddr = arguments.next().and_then(|address| address.parse().ok()).expect("an address");
    let counting = arguments.next().is_some_and(|counting| counting == "count");
    let contender = ALL.iter().find(|contender| contender.name == role).expect("a contender");
    println!("{}", Run::of(contender, address, counting).line());
    Some(ExitCode::SUCCESS)
}

/// Takes `rounds` interleaved runs of each of `names`, the floor first.
pub fn table(title: &str, names: &[&str], rounds: usize) -> Report {
    let contenders: Vec<_> = names.iter().map(|name| of_name(name)).collect();
    let mut server = Server::start();
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); contenders.len()];
    let mut sent = vec![0.0; contenders.len()];
    for round in 0..rounds.max(1) {
        for place in 0..contenders.len() {
            let index = (round + place) % contenders.len();
            runs[index].push(server.run(contenders[index], false));
            let seen = server.seen();
            assert!(seen.requests >= (RECORDS / BATCH) as u64, "{}: {seen:?}", contenders[index].name);
            sent[index] = seen.bytes as f64 / RECORDS as f64;
        }
    }
    let mut rows = Vec::new();
    for (index, contender) in contenders.iter().enumerate() {
        let counted = server.run(contender, true);
        let _of_the_count = server.seen();
        let of = |value: fn(&Run) -> f64| median(runs[index].iter().map(value).collect());
        let wall = of(|run| run.wall_ns);
        rows.push(Row {
            name: contender.name,
            kind: contender.kind,
            min_ns: runs[index].iter().map(|run| run.wall_ns).fold(f64::INFINITY, f64::min),
            median_ns: wall,
            ratio_to_floor: ratio(&runs[index], &runs[0], |run| run.wall_ns),
            ratio_to_best_rival: None,
            allocations: counted.allocations,
            bytes: counted.bytes,
            cores: of(|run| run.cpu_ns / run.wall_ns),
            marked: false,
            findings: Vec::new(),
            extras: vec![
                Extra { name: "M records/s", value: 1e3 / wall },
                Extra { name: "CPU us/record", value: of(|run| run.cpu_ns) / 1e3 },
                Extra { name: "peak RSS MB", value: of(|run| run.peak_rss_mb) },
                Extra { name: "B/record sent", value: sent[index] },
            ],
        });
    }
    let rival = (0..rows.len())
        .filter(|index| rows[*index].kind == Kind::Rival)
        .min_by(|one, other| rows[*one].median_ns.total_cmp(&rows[*other].median_ns));
    if let Some(rival) = rival {
        for (row, runs_of_row) in rows.iter_mut().zip(&runs) {
            row.ratio_to_best_rival = Some(ratio(runs_of_row, &runs[rival], |run| run.wall_ns));
        }
    }
    for (index, contender) in contenders.iter().enumerate() {
        for bound in contender.bounds {
            let of = |name: &str| {
                let other = contenders.iter().position(|contender| contender.name == name)?;
                Some(ratio(&runs[index], &runs[other], |run| run.wall_ns))
            };
            let finding = rows[index].find(*bound, of);
            rows[index].findings.push(finding);
        }
    }
    Report::wall("e2e", title, rounds, rows)
}

fn of_name(name: &str) -> &'static Contender {
    ALL.iter().find(|contender| contender.name == name).expect("a contender")
}

fn ratio(of: &[Run], to: &[Run], value: fn(&Run) -> f64) -> f64 {
    median(of.iter().zip(to).map(|(of, to)| value(of) / value(to)).collect())
}

// === impl Run ===

impl Run {
    fn of(contender: &Contender, address: SocketAddr, counting: bool) -> Self {
        let work = (contender.prepare)(address);
        let (cpu, wall) = (cpu_time(), Instant::now());
        let allocated = if counting { alloc::count(work).1 } else { (work(), alloc::Allocated::default()).1 };
        let (wall, cpu) = (wall.elapsed(), cpu_time() - cpu);
        let per_record = |value: f64| value / RECORDS as f64;
        Self {
            wall_ns: per_record(wall.as_nanos() as f64),
            cpu_ns: per_record(cpu.as_nanos() as f64),
            peak_rss_mb: peak_rss_kb() / 1024.0,
            allocations: per_record(allocated.allocations as f64),
            bytes: per_record(allocated.bytes as f64),
        }
    }

    fn line(&self) -> String {
        let Self { wall_ns, cpu_ns, peak_rss_mb, allocations, bytes } = self;
        format!("{wall_ns} {cpu_ns} {peak_rss_mb} {allocations} {bytes}")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { wall_ns: next()?, cpu_ns: next()?, peak_rss_mb: next()?, allocations: next()?, bytes: next()? })
    }
}

/// `VmHWM`: the most memory of this process that was ever in RAM.
fn peak_rss_kb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

// === impl Server ===

impl Server {
    fn start() -> Self {
        let mut process = myself(&["server"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("an address");
        Self { process, address: line.trim().parse().expect("an address") }
    }

    /// One run of `contender`, in a process of its own.
    fn run(&self, contender: &Contender, counting: bool) -> Run {
        let (address, mode) = (self.address.to_string(), if counting { "count" } else { "time" });
        let output = myself(&[contender.name, &address, mode]).output().expect("a process");
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = || panic!("{}: {said}{}", contender.name, String::from_utf8_lossy(&output.stderr));
        Run::parse(&said).unwrap_or_else(failed)
    }

    fn seen(&mut self) -> Seen {
        let [requests, bytes] = server::seen(self.address);
        Seen { requests, bytes }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn myself(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().expect("the path of this program"));
    command.arg(CHILD).args(arguments);
    command
}
