#!/bin/sh
# The models pass on the core as it is, and fail where they should when a race is planted in it.
# Under `--cfg forebay_planted_race` each model that must catch it is a test that has to panic.
set -eu
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-../../target}
for checker in loom shuttle; do
    for planted in "" "--cfg forebay_planted_race"; do
        # Each in a directory of its own: cargo builds everything anew where the flags change.
        RUSTFLAGS="--cfg $checker $planted" CARGO_TARGET_DIR="$target/$checker${planted:+-planted}" \
            cargo test -q -p forebay-breaker --test $checker --release
    done
done
