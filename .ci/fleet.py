"""What each part of a fleet costs in CPU time: the figures of docs/fleet.md. `.ci/fleet` builds the programs and calls this.

A process that is waited for says how much CPU time it has used, user and system, and how much memory at most, so that the figures
are those of one core, however many others share the machine. The one argument is the folder of the programs.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

programs = Path(sys.argv[1])
folder = Path(tempfile.mkdtemp(prefix="forebay-fleet-"))
LINES = 2_000_000
# A record may be an item, or a request with 256 of them.
SIZES = [(200, 1), (51_200, 256)]


def start(*command, **options):
    return subprocess.Popen([str(part) for part in command], **{"stdout": subprocess.DEVNULL, **options})


def spent(process):
    """Waits for the process; its CPU seconds and its memory in MiB."""
    memory = 0
    # The memory that `wait4` reports is at least that of this script, from before the program took its place.
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        memory = max([memory, *map(int, re.findall(r"VmHWM:\s*(\d+) kB", status))])
        time.sleep(0.02)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{process.args} has ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, memory / 1024


def cpu(pid):
    """CPU seconds of a process so far, user and system."""
    if pid:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return None


def say(what, items, cost):
    seconds, memory = cost
    print(f"{what:<52}{items / seconds:>10,.0f} records per CPU second, {memory:>5.0f} MiB", flush=True)


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    return [one.getsockname()[1] for one in held]


def until_up(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on {port}")


def tier(name):
    """A gateway that forwards, and behind it one that stores in SQLite; both are stopped by `end`."""
    ports, reports = free_ports(4), [folder / f"{name}-{role}.txt" for role in ("forward", "store")]
    common = ["--tenant-share", 1, "--soft-limit", 1, "--drain", "300s", "--items", 100_000, "--bytes", "2GiB"]
    store = start(
        programs / "gateway", "--http", f"127.0.0.1:{ports[0]}", "--grpc", f"127.0.0.1:{ports[1]}",
        "--data", folder / f"{name}-store", *common, stdout=reports[1].open("w"),
    )
    until_up(ports[0])
    forward = start(
        programs / "gateway", "--http", f"127.0.0.1:{ports[2]}", "--grpc", f"127.0.0.1:{ports[3]}",
        "--data", folder / f"{name}-forward", "--forward", f"http://127.0.0.1:{ports[0]}", *common,
        stdout=reports[0].open("w"),
    )
    until_up(ports[2])

    def end(records):
        costs = []
        for process, report in zip((forward, store), reports):
            process.send_signal(signal.SIGTERM)
            costs.append(spent(process))
            text = report.read_text()
            delivered = re.search(r"^= delivered .* (\d+)$", text, re.MULTILINE)
            if not delivered or int(delivered[1]) < records:
                sys.exit(f"not all of {records} records were delivered:\n{text}")
        return costs

    return f"http://127.0.0.1:{ports[2]}", end


def ship(name, *options):
    endpoint, end = tier(name)
    say(f"ship{''.join(f' {one}' for one in options[:1])}, each line a record", LINES, spent(start(
        programs / "ship", "--endpoint", endpoint, "--report", "json", "--give-up-after", "300s", *options, folder / "lines.log",
    )))
    forward, store = end(LINES)
    say("  gateway that forwards, requests of 512", LINES, forward)
    say("  gateway that stores in SQLite, requests of 512", LINES, store)


with open(folder / "lines.log", "w", encoding="utf-8") as lines:
    for number in range(LINES):
        lines.write(f'10.0.{number % 256}.7 - - "GET /basket/{number} HTTP/1.1" 200 {number % 9973} "-" "curl/8.5.0"\n')

ship("memory")
ship("spool", "--spool", folder / "ship-spool")

endpoint, end = tier("load")
spent(start(programs / "gateway", "--load", endpoint, "--load-for", "10s", "--load-rate", 1000))
# A little less than all: a late sender ends with its time.
forward, store = end(95_000)
say("  gateway that forwards, requests of 10", 100_000, forward)
say("  gateway that stores in SQLite, requests of 10", 100_000, store)

spool_cpu = programs / "examples/spool_cpu"
for kind in ("process", "disk"):
    for size, items in SIZES:
        print(f"spool at `{kind.capitalize()}`, {items} of 200 bytes in a record", flush=True)
        count = 500_000 if items == 1 else 10_000
        subprocess.run([spool_cpu, kind, folder / f"cpu-{kind}-{items}", str(count), str(size)], check=True)

nats = os.environ.get("NATS_SERVER")
if nats:
    (port,) = free_ports(1)
    for sync in ("2m", "always"):
        store = folder / f"nats-{sync}"
        config = folder / f"nats-{sync}.conf"
        config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{store}", sync_interval: {sync} }}\n')
        server = start(nats, "-c", config, stderr=subprocess.DEVNULL)
        until_up(port)
        for size, items in SIZES:
            print(f"JetStream, one server, `sync_interval: {sync}`, {items} of 200 bytes in a record", flush=True)
            count = 100_000 if items == 1 else 10_000
            url = f"nats://127.0.0.1:{port}"
            subprocess.run([spool_cpu, "nats", url, str(count), str(size), str(server.pid)], check=True)
        server.kill()
        server.wait()

kafka = os.environ.get("KAFKA")
if kafka:
    for size, items in SIZES:
        print(f"Kafka, {items} of 200 bytes in a record", flush=True)
        topic = f"fleet-{os.getpid()}-{items}"
        options = ["--brokers", kafka, "--topic", topic, "--spool", folder / f"kafka-{items}", "--bytes", str(size)]
        count = "2000000" if items == 1 else "20000"
        options += ["--events", count, "--delivery-timeout", "30000", "--no-count"]
        before = cpu(os.environ.get("KAFKA_PID"))
        subprocess.run([programs / "to_kafka", *options], check=True)
        if before is not None:
            print(f"{int(count) / (cpu(os.environ['KAFKA_PID']) - before):,.0f} records per CPU second of the broker", flush=True)
shutil.rmtree(folder)
