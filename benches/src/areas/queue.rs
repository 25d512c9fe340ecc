//! `forebay-queue`: in and out of the channel, through the layer, and refused.

use super::inner::{Echo, Item, current_thread, item, two_workers, used};
use crate::{
    bound::Bound,
    runner::{Quote, Session, Table},
    work::{Sample, Work},
};
use forebay_core::{DropReason, Fate, Ledger, Priority};
use forebay_queue::{Limits, Offer, Queue, QueueLayer, channel};
use std::{
    hint::black_box,
    mem,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::sync_channel,
    },
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};
use tower::{Layer, Service, ServiceExt, buffer::Buffer};

const BURST: u64 = 512;

/// The tables of this area.
pub(super) fn tables(session: &mut Session<'_>) {
    session.run(bursts());
    let title = |runtime| format!("call through and await, ready inner, 1 task, {runtime} runtime");
    session.run(call_through(&current_thread(), title("current_thread")));
    session.run(call_through(&two_workers(), title("2 workers")).cores(0.95).quote(Quote::Min));
    session.run(refused());
    session.run(ledger());
}

/// The floor is what a plain vector under a lock costs, which counts nothing and has no lanes, limits or wake-ups.
fn bursts<'a>() -> Table<'a> {
    let limits = Limits::new().items(1024).soft_limit(1.0);
    Table::new("queue", "bursts of 512 in, then 512 out, 32-byte items, one thread")
        .unit(BURST)
        .floor("std Mutex<Vec>, swap on drain", {
            let (shared, mut out) = (Mutex::new(Vec::<Item>::new()), Vec::new());
            move |work| {
                work.measure(|| {
                    for _ in 0..work.ops / BURST {
                        (0..BURST).for_each(|n| shared.lock().unwrap().push(item(n)));
                        mem::swap(&mut *shared.lock().unwrap(), &mut out);
                        for item in out.drain(..) {
                            used(item);
                        }
                    }
                })
            }
        })
        .rival("tokio mpsc try_send, try_recv", {
            let (sender, mut receiver) = mpsc::channel::<Item>(1024);
            move |work| {
                work.measure(|| {
                    for _ in 0..work.ops / BURST {
                        (0..BURST).for_each(|n| sender.try_send(item(n)).unwrap());
                        (0..BURST).for_each(|_| used(receiver.try_recv().unwrap()));
                    }
                })
            }
        })
        .rival("std sync_channel try_send, try_recv", {
            let (sender, receiver) = sync_channel::<Item>(1024);
            move |work| {
                work.measure(|| {
                    for _ in 0..work.ops / BURST {
                        (0..BURST).for_each(|n| sender.try_send(item(n)).unwrap());
                        (0..BURST).for_each(|_| used(receiver.try_recv().unwrap()));
                    }
                })
            }
        })
        .forebay("channel, normal lane only", &[], {
            let (sender, mut receiver) = channel::<Item>(limits).unwrap();
            move |work| {
                work.measure(|| {
                    for _ in 0..work.ops / BURST {
                        (0..BURST).for_each(|n| sender.emit(item(n)).unwrap());
                        let mut burst = receiver.drain(BURST as usize);
                        for item in burst.by_ref() {
                            used(item);
                        }
                        burst.settle(Fate::Delivered);
                    }
                })
            }
        })
        .forebay(
            "channel, both lanes, 1 in 8 of high priority",
            &[
                Bound::of("std Mutex<Vec>, swap on drain", 1.7),
                Bound::of("tokio mpsc try_send, try_recv", 0.4),
                Bound::allocations(0.0005),
            ],
            {
                let (sender, mut receiver) = channel::<Item>(limits).unwrap();
                move |work| {
                    work.measure(|| {
                        for _ in 0..work.ops / BURST {
                            for n in 0..BURST {
                                let lane = if n % 8 == 7 { Priority::High } else { Priority::Normal };
                                sender.emit(Offer::new(item(n)).priority(black_box(lane))).unwrap();
                            }
                            let mut burst = receiver.drain(BURST as usize);
                            for item in burst.by_ref() {
                                used(item);
                            }
                            burst.settle(Fate::Delivered);
                        }
                    })
                }
            },
        )
        .forebay("channel, taken and settled one by one", &[], {
            let (sender, mut receiver) = channel::<Item>(limits).unwrap();
            move |work| {
                work.measure(|| {
                    for _ in 0..work.ops / BURST {
                        (0..BURST).for_each(|n| sender.emit(item(n)).unwrap());
                        for _ in 0..BURST {
                            let received = receiver.try_recv().unwrap();
                            black_box(*received);
                            received.settle(Fate::Delivered);
                        }
                    }
                })
            }
        })
}

const BY_HAND: &str = "tokio mpsc + oneshot, worker written by hand";

fn call_through(runtime: &Runtime, title: String) -> Table<'_> {
    let entered = runtime.enter();
    let bounds = [Bound::of(BY_HAND, 1.05), Bound::of_best_rival(0.7)];
    let layer = |workers| QueueLayer::builder().limits(Limits::new().items(1024)).workers(workers).build().unwrap();
    let (one, eight) = (layer(1).layer(Echo), layer(8).layer(Echo));
    let table = Table::new("queue", title)
        .floor(BY_HAND, {
            let (sender, mut receiver) = mpsc::channel::<(u64, oneshot::Sender<u64>)>(1024);
            runtime.spawn(async move {
                let mut inner = Echo;
                while let Some((request, reply)) = receiver.recv().await {
                    let Ok(inner) = ServiceExt::<u64>::ready(&mut inner).await;
                    let Ok(response) = inner.call(request).await;
                    reply.send(response).ok();
                }
            });
            move |work| {
                let sender = sender.clone();
                on(runtime, work, async move {
                    for n in 0..work.ops {
                        let (reply, replied) = oneshot::channel();
                        sender.send((black_box(n), reply)).await.unwrap();
                        black_box(replied.await.unwrap());
                    }
                })
            }
        })
        .reference("inner service by itself", {
            move |work| {
                on(runtime, work, async move {
                    for n in 0..work.ops {
                        let mut inner = Echo;
                        let Ok(inner) = ServiceExt::<u64>::ready(&mut inner).await;
                        black_box(inner.call(black_box(n)).await.unwrap());
                    }
                })
            }
        })
        .rival("tower Buffer(1024)", {
            let buffer = Buffer::new(Echo, 1024);
            move |work| {
                let mut buffer = buffer.clone();
                on(runtime, work, async move {
                    for n in 0..work.ops {
                        black_box(buffer.ready().await.unwrap().call(black_box(n)).await.unwrap());
                    }
                })
            }
        })
        .forebay("QueueLayer, 1 worker", &bounds, calls(runtime, one))
        .forebay("QueueLayer, 8 workers", &[], calls(runtime, eight));
    drop(entered);
    table
}

fn calls(runtime: &Runtime, queue: Queue<u64, u64>) -> impl FnMut(Work) -> Sample {
    move |work| {
        let mut queue = queue.clone();
        on(runtime, work, async move {
            for n in 0..work.ops {
                black_box(queue.ready().await.unwrap().call(black_box(n)).await.unwrap());
            }
        })
    }
}

/// Measures `task`, on a worker of the runtime if it has any.
fn on(runtime: &Runtime, work: Work, task: impl Future<Output = ()> + Send + 'static) -> Sample {
    work.measure(|| runtime.block_on(runtime.spawn(task)).unwrap())
}

fn refused<'a>() -> Table<'a> {
    let limits = Limits::new().items(64).soft_limit(1.0);
    // No receiver takes anything off.
    let full = || {
        let (queue, worker) = QueueLayer::<Item>::builder().limits(limits).build().unwrap().pair(Echo);
        (0..64).for_each(|n| queue.emit(item(n)).unwrap());
        assert_eq!(queue.emit(item(64)).unwrap_err().reason, DropReason::Full);
        (queue, worker)
    };
    Table::new("queue", "an item refused by a full queue")
        .floor("std Mutex<Vec>, length looked at", {
            let shared = Mutex::new(vec![item(0); 64]);
            move |work| {
                work.measure(|| {
                    for n in 0..work.ops {
                        let (item, shared) = (item(n), shared.lock().unwrap());
                        used(if shared.len() < 64 { Ok(()) } else { Err(item) });
                    }
                })
            }
        })
        .rival("tokio mpsc try_send", {
            let (sender, receiver) = mpsc::channel::<Item>(64);
            (0..64).for_each(|n| sender.try_send(item(n)).unwrap());
            move |work| {
                let _open = &receiver;
                work.measure(|| (0..work.ops).for_each(|n| used(sender.try_send(item(n)))))
            }
        })
        .rival("std sync_channel try_send", {
            let (sender, receiver) = sync_channel::<Item>(64);
            (0..64).for_each(|n| sender.try_send(item(n)).unwrap());
            move |work| {
                let _open = &receiver;
                work.measure(|| (0..work.ops).for_each(|n| used(sender.try_send(item(n)))))
            }
        })
        .forebay("channel try_send", &[Bound::nanos(1000.0), Bound::allocations(0.0)], {
            let (sender, receiver) = channel::<Item>(limits).unwrap();
            (0..64).for_each(|n| sender.emit(item(n)).unwrap());
            move |work| {
                let _open = &receiver;
                work.measure(|| (0..work.ops).for_each(|n| used(sender.emit(item(n)))))
            }
        })
        .forebay("Queue::offer", &[Bound::nanos(1000.0), Bound::allocations(0.0)], {
            let (queue, worker) = full();
            move |work| {
                let _open = &worker;
                work.measure(|| (0..work.ops).for_each(|n| used(queue.emit(item(n)))))
            }
        })
        .forebay("Queue::call, error fetched", &[Bound::nanos(1000.0)], {
            let ((mut queue, worker), runtime) = (full(), current_thread());
            move |work| {
                let (_open, queue) = (&worker, &mut queue);
                work.measure(|| {
                    runtime.block_on(async {
                        for n in 0..work.ops {
                            used(queue.ready().await.unwrap().call(item(n)).await.unwrap_err());
                        }
                    });
                })
            }
        })
}

/// The ledger as it stands inside of a queue: under a lock that is held anyway.
fn ledger<'a>() -> Table<'a> {
    Table::new("queue", "the ledger, per item")
        .unit(BURST)
        .floor("atomic fetch_add", {
            let count = AtomicU64::new(0);
            move |work| work.measure(|| (0..work.ops).for_each(|_| used(black_box(&count).fetch_add(1, Relaxed))))
        })
        .forebay("accept and settle, one by one", &[Bound::nanos(5.0), Bound::allocations(0.0)], {
            let mut ledger = Ledger::default();
            move |work| {
                work.measure(|| {
                    for _ in 0..work.ops {
                        black_box(&mut ledger).accept(black_box(1));
                        black_box(&mut ledger).settle(black_box(Fate::Delivered), black_box(1));
                    }
                })
            }
        })
        .forebay("accept one by one, settle 512 at once", &[Bound::nanos(5.0), Bound::allocations(0.0)], {
            let mut ledger = Ledger::default();
            move |work| {
                work.measure(|| {
                    for _ in 0..work.ops / BURST {
                        (0..BURST).for_each(|_| black_box(&mut ledger).accept(black_box(1)));
                        black_box(&mut ledger).settle(black_box(Fate::Delivered), black_box(BURST));
                    }
                })
            }
        })
        .forebay("refused", &[Bound::nanos(5.0), Bound::allocations(0.0)], {
            let mut ledger = Ledger::default();
            move |work| {
                work.measure(|| {
                    (0..work.ops).for_each(|_| black_box(&mut ledger).refuse(black_box(DropReason::Full), 1));
                })
            }
        })
}
