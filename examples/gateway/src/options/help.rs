/// What `--help` says.
pub const HELP: &str = "\
Takes OTLP by HTTP and gRPC, and stores it in one SQLite file or forwards it; says what became of every record.

Usage: gateway [OPTIONS]

Without options it serves until Ctrl-C or SIGTERM, and keeps what it takes in ./gateway-data.

Where:
  --http ADDR             OTLP/HTTP, /healthz, /readyz, /metrics (default 127.0.0.1:4318)
  --grpc ADDR             OTLP/gRPC (default 127.0.0.1:4317)
  --data DIR              database and spool (default gateway-data)
  --forward URL           send on to this OTLP/HTTP receiver instead of storing
  --forward-patience D    how long to try there before a batch waits in the spool (default 30s)
  --forward-ca FILE       authorities in PEM whose certificates that receiver may show, in place of the system's
  --tls-cert FILE         certificates in PEM that both ports show; TLS is all they speak then
  --tls-key FILE          the key of the first one

Bounds:
  --items N               batches queued and in flight (default 50000, with SQLite 10000)
  --bytes SIZE            their bytes (default 512MiB, with SQLite 128MiB)
  --soft-limit SHARE      above it only errors and slow spans enter (default 0.9)
  --tenant-share SHARE    of the batches, for what is healthy of one tenant; 1 is off (default 0.3)
  --tenant-header NAME    names the header that says whose a request is (default x-tenant-id)
  --max-body SIZE         of one request, unpacked as well (default 4MiB)
  --max-connections N     of both ports together; further ones wait (default 1024)
  --workers N             batches that the sink is given at a time (default 8)

What the database keeps:
  --keep D                batches received no longer ago than this, or all (default 7d)
  --keep-bytes SIZE       no more than this, the newest, or all (default 8GiB)

Responses:
  --slow D                a span this long is urgent (default 1s)
  --soft-refusal HOW      partial (OTLP's partial success) | success | 429 (default partial)
  --retry-after D         how long a refused sender is asked to wait (default 1s)
  --durability HOW        where a batch is when its sender gets its response: memory | process | disk (default memory);
                          process is the spool, and outlives a kill of the gateway, disk a power cut as well
  --synchronous           respond only when a batch is stored; SIGUSR1 changes it while running

What the sink does not take, and with --durability all, waits in the spool of --data:
  --no-spool              or is dropped
  --spool-bytes SIZE      the bytes of its files (default 500MiB)
  --spool-batches N       and the most batches; the oldest go first, what is urgent last
  --dead-letter-tries N   tries before a batch is a dead letter, until `forebay-spool requeue` (default 10)
  --replay-every D        between rounds; with --durability the longest pause after failures (default 5m)
  --replay-most N         batches per round (default 100)
  --drain D               how long the queue may take in the end (default 30s)

Load:
  --demo                  start on free ports, send itself ten times what the sink takes, and end with the ledgers
  --load URL              be the senders of a gateway that runs elsewhere; --load-grpc URL for its other port
  --load-for D            for this long (default 5s)
  --load-rate N           batches per second (default 2000)
  --pace D                lets a worker wait so long before each batch is stored (10ms with --demo)

  --measure-sink          say how many rows per second SQLite takes in the folder of --data, and end
  --help                  this text

Variables of the environment, which count where the option is not given:
  INGEST_ASYNC_ENABLED        false is --synchronous (default true)
  INGEST_PIPELINE_QUEUE_SIZE  --items (default 50000, with SQLite 10000)
  INGEST_PIPELINE_WORKERS     --workers (default 8)

Exit status: 0 when every record is accounted for, and in a demonstration everything urgent is stored; 1 when not; 2 when
the arguments are wrong, it cannot start, or the report cannot be written.
";
