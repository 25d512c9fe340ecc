# Recipes for people and for the gate; `.ci/run` calls the same.

# All checks of one crate, or of the whole workspace.
preflight crate="": (fmt) (clippy crate) (test crate) (docs crate)

# Formatting as rustfmt has it.
fmt:
    cargo fmt --all --check

# Lints, with warnings denied, with all features and with none.
clippy crate="":
    .ci/clippy {{crate}}

# The test command of the README.
test crate="":
    .ci/test {{crate}}

# Docs, with warnings denied.
docs crate="":
    .ci/docs {{crate}}

# The public API and the types of other crates in it are those of docs/public-api; `just public-api --bless` writes them.
public-api *bless:
    .ci/public-api {{bless}}

# What semantic versioning allows since the newest release.
semver:
    .ci/semver

# The guide as a book, with its links checked.
guide:
    .ci/guide

# What the READMEs show, pasted into new packages.
snippets:
    .ci/snippets

# The layers for Windows and WebAssembly.
targets:
    .ci/targets

# Every example, as its page says.
examples:
    .ci/examples

# Against the real OpenTelemetry Collector; needs Go.
interop *names:
    .ci/interop {{names}}

# The KIP-714 client against a real Kafka broker, beside the Java client.
interop-kafka:
    .ci/interop-kafka

# The lines that the tests of a crate run: at least 90 % of forebay-databricks.
coverage crate="forebay-databricks" percent="90":
    .ci/coverage {{crate}} {{percent}}

# Each crate by itself, with the oldest versions that it states and each of its features by itself.
alone:
    .ci/each-crate-alone

# The stated rust-version is not below any dependency's, and its toolchain builds the crates.
rust-version:
    .ci/rust-version

# Licences, bans and sources.
deny:
    .ci/deny

# Model checking of what is shared between threads.
loom:
    .ci/loom

# Each fuzz target for some seconds, from the corpus that the tests replay.
fuzz seconds="10":
    .ci/fuzz {{seconds}}

# Random schedules of the same, with more threads.
shuttle:
    .ci/shuttle

# The model checkers find the races that are planted for them.
planted:
    .ci/planted

# A million steps of the model tests.
models:
    .ci/models

# Every crate for users, packed and built from what was packed.
package:
    .ci/package

# The limit that tunes itself, against every simulated server, and the bugs that are planted for its tests.
adaptive seeds="1":
    ADAPTIVE_SEEDS={{seeds}} .ci/adaptive

# The same as the gate runs it: nothing is drawn.
adaptive-quick:
    ADAPTIVE_QUICK=1 .ci/adaptive

# The spool on JetStream, against a real NATS server that is killed and started again.
spool-nats:
    .ci/spool-nats

# The proofs of the spool: `just spool 1000` kills a thousand processes, cuts the power 100,000 times and flips every byte.
spool kills="100":
    SPOOL_KILLS={{kills}} SPOOL_CUTS=$(({{kills}} * 100)) SPOOL_FLIPS={{ if kills == "100" { "13" } else { "all" } }} SHIP_KILLS={{ if kills == "100" { "20" } else { kills } }} .ci/spool

# The figures of docs/fleet.md: what each part of a fleet costs in CPU time. `NATS_SERVER` and `KAFKA` add theirs.
fleet:
    .ci/fleet

# The outage that goes unnoticed, for real: three receivers, of which any two die and return at random, for ten minutes.
outage time="10m" rate="100000":
    cargo run --release -q -p forebay-example-endpoints --bin endpoints -- --for {{time}} --rate {{rate}}
    cargo run --release -q -p forebay-example-endpoints --bin endpoints -- --for {{time}} --rate {{rate}} --failover

# What is delivered over 20, 80 and 200 ms, between network namespaces: the table of the guide, drawn into `plot`. Linux; the Collector takes
# part where `.ci/interop` has built it, or COLLECTOR is its program.
round-trip plot="target/round-trip" rounds="3":
    .ci/round-trip --rounds {{rounds}} --plot {{plot}}
