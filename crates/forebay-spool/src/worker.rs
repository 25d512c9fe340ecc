//! The thread that owns the engine. Callers hand it commands; groups that wait at the same time share a commit.

use crate::{
    Appended, DeadLetter, Disposition, Engine, Group, GroupCommit, Lease, LeaseId, ReleaseHook, Settled, SpoolError,
    SpoolErrorKind, Stats, Verified, Want, builder::Settings, record::to_millis,
};
use bytes::Bytes;
use forebay_core::panic;
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::oneshot;

/// The sender of a result. A caller that has left is no reason to stop.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, SpoolError>>;

/// What a caller asks for.
pub(crate) enum Command {
    Append { group: Group, bytes: usize, reply: Reply<Appended> },
    Lease { destination: String, want: Want, reply: Reply<Option<Lease>> },
    Settle { lease: u64, dispositions: Vec<Disposition>, reply: Option<Reply<Settled>> },
    Stats { reply: Reply<Stats> },
    Verify { reply: Reply<Verified> },
    Mark { name: String, reply: Reply<Option<Bytes>> },
    DeadLetters { destination: Option<String>, limit: usize, reply: Reply<Vec<DeadLetter>> },
    Requeue { destination: Option<String>, ids: Option<Vec<u64>>, reply: Reply<u64> },
}

/// What callers and the thread share. No user code runs under its lock.
#[derive(Default)]
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    filled: Condvar,
}

#[derive(Default)]
struct Inbox {
    commands: VecDeque<Command>,
    /// Bytes of groups that are not yet committed.
    waiting: usize,
    /// No more commands are taken. What is here is still done.
    closed: bool,
    /// Callers that wait for the end.
    ends: Vec<Reply<()>>,
    /// How it ended, once it has.
    end: Option<Result<(), SpoolError>>,
}

/// Callers whose groups, or settlements, the next commit makes durable.
#[derive(Default)]
struct Round {
    groups: Vec<Group>,
    bytes: usize,
    appends: Vec<Reply<Appended>>,
    settled: Vec<(Settled, Option<Reply<Settled>>)>,
}

/// How often an idle thread looks for records that are too old and files that have failed.
const TICK: Duration = Duration::from_secs(1);

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a command over, or gives it back: the spool is closed, or holds too many bytes that wait.
    pub(crate) fn send(&self, command: Command, max_waiting: usize) -> Result<(), SpoolError> {
        let mut inbox = self.lock();
        if inbox.closed {
            return Err(SpoolError::new(SpoolErrorKind::Closed));
        }
        if let Command::Append { bytes, .. } = &command {
            if inbox.waiting > 0 && inbox.waiting.saturating_add(*bytes) > max_waiting {
                return Err(SpoolError::new(SpoolErrorKind::Busy));
            }
            inbox.waiting += bytes;
        }
        inbox.commands.push_back(command);
        drop(inbox);
        // CORRECTNESS: the thread looks at the commands under the lock before it waits, so it cannot miss this one.
        self.filled.notify_one();
        Ok(())
    }

    /// Gives a lease back that is dropped unsettled. A lease that is out does not keep the spool open.
    fn release(self: &Arc<Self>) -> ReleaseHook {
        let shared = Arc::downgrade(self);
        Box::new(move |id: LeaseId| {
            if let Some(shared) = shared.upgrade() {
                let (lease, dispositions) = (id.get(), Vec::new());
                // A spool that is closed has no leases any more.
                let _closed = shared.send(Command::Settle { lease, dispositions, reply: None }, usize::MAX);
            }
        })
    }

    /// Takes no more commands. `reply` gets the result of the thread.
    pub(crate) fn close(&self, reply: Option<Reply<()>>) {
        let mut inbox = self.lock();
        inbox.closed = true;
        match (&inbox.end, reply) {
            (Some(end), Some(reply)) => {
                let end = end.clone();
                drop(inbox);
                // The caller has left.
                let _unread = reply.send(end);
            }
            (_, reply) => inbox.ends.extend(reply),
        }
        self.filled.notify_one();
    }

    /// Waits for commands, until `deadline`; whether the spool was closed meanwhile.
    fn next(&self, deadline: Option<Instant>, tick: bool) -> (VecDeque<Command>, bool) {
        let mut inbox = self.lock();
        while inbox.commands.is_empty() && !inbox.closed {
            let wait = deadline.map(|deadline| deadline.saturating_duration_since(clock()));
            if wait.is_some_and(|wait| wait.is_zero()) {
                break;
            }
            let Some(wait) = wait.or(tick.then_some(TICK)) else {
                inbox = self.filled.wait(inbox).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            inbox = self.filled.wait_timeout(inbox, wait).unwrap_or_else(PoisonError::into_inner).0;
            if deadline.is_none() {
                break;
            }
        }
        (std::mem::take(&mut inbox.commands), inbox.closed)
    }

    fn committed(&self, bytes: usize) {
        let mut inbox = self.lock();
        inbox.waiting = inbox.waiting.saturating_sub(bytes);
    }

    fn ended(&self, end: &Result<(), SpoolError>) {
        let mut inbox = self.lock();
        inbox.closed = true;
        // Their replies are dropped, which their callers see as closed.
        let abandoned = std::mem::take(&mut inbox.commands);
        let ends = std::mem::take(&mut inbox.ends);
        inbox.end = Some(end.clone());
        drop(inbox);
        drop(abandoned);
        for reply in ends {
            // The caller has left.
            let _unread = reply.send(end.clone());
        }
    }
}

/// Works until the spool is closed, and then closes the engine.
pub(crate) fn run(shared: &Arc<Shared>, mut engine: Engine, settings: &Settings) {
    let worked = panic::catch(|| work(shared, &mut engine, settings));
    let end = match worked {
        Ok(()) => panic::catch(|| engine.close()).unwrap_or_else(|panic| Err(panicked(panic))),
        Err(panic) => {
            // What it was about to do is half done; the next opening verifies the files.
            panic::discard(engine);
            Err(panicked(panic))
        }
    };
    shared.ended(&end);
}

fn panicked(panic: panic::Panic) -> SpoolError {
    SpoolError::of_io(std::io::Error::other(panic))
}

fn work(shared: &Arc<Shared>, engine: &mut Engine, settings: &Settings) {
    let mut commit = GroupCommit::new(settings.durability);
    let mut round = Round::default();
    loop {
        let (commands, closed) = shared.next(commit.deadline(), engine.wants_tick());
        let is_idle = commands.is_empty();
        let arrived = clock();
        for command in commands {
            round.take(command, shared, engine, &mut commit, arrived);
        }
        // The commands of this round may have taken longer than the wait.
        if closed || commit.is_due(clock()) {
            commit.done();
            let done = std::mem::take(&mut round);
            shared.committed(done.bytes);
            done.commit(engine);
        }
        if is_idle && closed {
            return;
        }
        if is_idle {
            engine.tick(wall_clock());
        }
    }
}

// === impl Round ===

impl Round {
    fn take(
        &mut self,
        command: Command,
        shared: &Arc<Shared>,
        engine: &mut Engine,
        commit: &mut GroupCommit,
        now: Instant,
    ) {
        match command {
            Command::Append { group, bytes, reply } => {
                commit.add(now, bytes);
                self.bytes += bytes;
                self.groups.push(group);
                self.appends.push(reply);
            }
            Command::Settle { lease, dispositions, reply } => {
                let settled = engine.settle(lease, &dispositions);
                commit.add(now, 0);
                self.settled.push((settled, reply));
            }
            Command::Lease { destination, want, reply } => {
                // CANCEL: a caller that went away drops the lease, before or after it was sent, which gives it back.
                let leased = engine.lease(&destination, want, wall_clock());
                reply_to(
                    reply,
                    leased.map(|leased| leased.map(|(id, records)| Lease::new(id, records, shared.release()))),
                );
            }
            Command::Stats { reply } => reply_to(reply, Ok(engine.stats())),
            Command::Verify { reply } => reply_to(reply, Ok(engine.verify())),
            Command::Mark { name, reply } => reply_to(reply, Ok(engine.mark(&name))),
            Command::DeadLetters { destination, limit, reply } => {
                reply_to(reply, engine.dead_letters(destination.as_deref(), limit));
            }
            Command::Requeue { destination, ids, reply } => {
                reply_to(reply, engine.requeue(destination.as_deref(), ids.as_deref(), |_| ()));
            }
        }
    }

    fn commit(self, engine: &mut Engine) {
        let results = if self.groups.is_empty() { Vec::new() } else { engine.append(self.groups, wall_clock()) };
        let flushed = engine.flush();
        for (reply, result) in self.appends.into_iter().zip(results) {
            reply_to(reply, result);
        }
        for (settled, reply) in self.settled {
            if let Some(reply) = reply {
                reply_to(reply, flushed.clone().map(|()| settled));
            }
        }
    }
}

fn reply_to<T>(reply: Reply<T>, result: Result<T, SpoolError>) {
    // The caller went away; what it asked for is done.
    let _unheard = reply.send(result);
}

#[expect(clippy::disallowed_methods, reason = "the thread stands outside of any runtime, and so of tokio's clock")]
fn clock() -> Instant {
    Instant::now()
}

/// The wall clock, in milliseconds since 1970: the age of a record is counted across restarts.
#[expect(clippy::disallowed_methods, reason = "this is the edge at which the wall clock is read")]
pub(crate) fn wall_clock() -> u64 {
    to_millis(SystemTime::now())
}
