"""What each part of a fleet costs in CPU time: the figures of docs/fleet.md. `.ci/fleet` builds the programs and calls this.

A process that is waited for says how much CPU time it has used, user and system, and how much memory at most, so that the figures
are those of one core, however many others share the machine. The one argument is the folder of the programs.
"""

import os
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
LINES = 500_000


def start(*command, **options):
    return subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, **options)


def spent(process):
    """Waits for the process; its CPU seconds and its memory in MiB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{process.args} has ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


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
    ports = free_ports(4)
    common = ["--tenant-share", 1, "--soft-limit", 1, "--drain", "300s", "--items", 100_000, "--bytes", "2GiB"]
    store = start(
        programs / "gateway", "--http", f"127.0.0.1:{ports[0]}", "--grpc", f"127.0.0.1:{ports[1]}",
        "--data", folder / f"{name}-store", *common,
    )
    until_up(ports[0])
    forward = start(
        programs / "gateway", "--http", f"127.0.0.1:{ports[2]}", "--grpc", f"127.0.0.1:{ports[3]}",
        "--data", folder / f"{name}-forward", "--forward", f"http://127.0.0.1:{ports[0]}", *common,
    )
    until_up(ports[2])

    def end():
        costs = []
        for process in (forward, store):
            process.send_signal(signal.SIGTERM)
            costs.append(spent(process))
        return costs

    return f"http://127.0.0.1:{ports[2]}", end


def ship(name, *options):
    endpoint, end = tier(name)
    say(f"ship{''.join(f' {one}' for one in options[:1])}, each line a record", LINES, spent(start(
        programs / "ship", "--endpoint", endpoint, "--report", "json", "--give-up-after", "300s", *options, folder / "lines.log",
    )))
    forward, store = end()
    say("  gateway that forwards, requests of 512", LINES, forward)
    say("  gateway that stores in SQLite, requests of 512", LINES, store)


with open(folder / "lines.log", "w", encoding="utf-8") as lines:
    for number in range(LINES):
        lines.write(f'10.0.{number % 256}.7 - - "GET /basket/{number} HTTP/1.1" 200 {number % 9973} "-" "curl/8.5.0"\n')

ship("memory")
ship("spool", "--spool", folder / "ship-spool")

endpoint, end = tier("load")
begun = time.monotonic()
spent(start(programs / "gateway", "--load", endpoint, "--load-for", "10s", "--load-rate", 1000))
forward, store = end()
say("  gateway that forwards, requests of 10", 100_000, forward)
say("  gateway that stores in SQLite, requests of 10", 100_000, store)

spool_cpu = programs / "examples/spool_cpu"
for kind in ("process", "disk"):
    print(f"spool at `{kind.capitalize()}`", flush=True)
    subprocess.run([spool_cpu, kind, folder / f"cpu-{kind}"], check=True)

nats = os.environ.get("NATS_SERVER")
if nats:
    (port,) = free_ports(1)
    for sync in ("2m", "always"):
        store = folder / f"nats-{sync}"
        config = folder / f"nats-{sync}.conf"
        config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{store}", sync_interval: {sync} }}\n')
        server = start(nats, "-c", config, stderr=subprocess.DEVNULL)
        until_up(port)
        print(f"JetStream, one server, `sync_interval: {sync}`", flush=True)
        url = f"nats://127.0.0.1:{port}"
        subprocess.run([spool_cpu, "nats", url, "100000", "200", str(server.pid)], check=True)
        server.kill()
        server.wait()

kafka = os.environ.get("KAFKA")
if kafka:
    print("Kafka", flush=True)
    options = ["--brokers", kafka, "--topic", f"fleet-{os.getpid()}", "--spool", folder / "kafka-spool"]
    subprocess.run([programs / "to_kafka", *options, "--events", "2000000", "--delivery-timeout", "30000"], check=True)
shutil.rmtree(folder)
