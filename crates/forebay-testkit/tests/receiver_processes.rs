//! A receiver beside processes that are being started. By itself: in any other test a port would stay open for a moment.
#![cfg(unix)]

use forebay_testkit::receiver::Receiver;
use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// Between its fork and its own program a new process holds a copy of every socket of this one, the listener among them.
#[tokio::test]
async fn processes_that_are_started_meanwhile_do_not_take_the_port() {
    let receiver = Receiver::builder().start().await.unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let starting = [(); 2].map(|()| {
        let ended = Arc::clone(&ended);
        std::thread::spawn(move || {
            while !ended.load(Relaxed) {
                Command::new("true").status().unwrap();
            }
        })
    });
    let mut rounds = Ok(());
    for _ in 0..200 {
        rounds = match receiver.pause().await {
            Ok(()) => receiver.resume().await,
            failed => failed,
        };
        if rounds.is_err() {
            break;
        }
    }
    ended.store(true, Relaxed);
    starting.into_iter().for_each(|thread| thread.join().unwrap());
    rounds.unwrap();
}
