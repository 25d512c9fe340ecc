//! What several tests need.

use forebay_core::BoxError;
use forebay_registry::{Lease, RegistryEvent};
use std::{
    fmt::Debug,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

/// What happened, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

/// Numbers the clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers(Arc<AtomicUsize>);

impl Log {
    pub(crate) fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// An observer that keeps the name of each event, its key and its generation.
    pub(crate) fn observer<K: Debug, G: Debug>(&self) -> impl Fn(&RegistryEvent<'_, K, G>) + Send + Sync + 'static {
        let log = self.clone();
        move |event| log.note(line(event))
    }
}

impl Numbers {
    pub(crate) fn next(&self) -> usize {
        self.0.fetch_add(1, SeqCst) + 1
    }

    pub(crate) fn made(&self) -> usize {
        self.0.load(SeqCst)
    }
}

pub(crate) fn line<K: Debug, G: Debug>(event: &RegistryEvent<'_, K, G>) -> String {
    match event {
        RegistryEvent::Created { key, generation, .. } => format!("created {key:?} {generation}"),
        RegistryEvent::Failed { key, error, .. } => format!("failed {key:?}: {error}"),
        RegistryEvent::Declined { key, .. } => format!("declined {key:?}"),
        RegistryEvent::Reused { key, generation } => format!("reused {key:?} {generation}"),
        RegistryEvent::Diverged { key, first, given, .. } => format!("diverged {key:?}: {first:?} not {given:?}"),
        RegistryEvent::Swapped { key, from, to } => format!("swapped {key:?} {from:?} to {to}"),
        RegistryEvent::Closing { key, generation, reason } => format!("closing {key:?} {generation} {reason:?}"),
        RegistryEvent::Closed { key, generation, end, .. } => format!("closed {key:?} {generation}: {end}"),
        RegistryEvent::Vacant { key, panicked } => format!("vacant {key:?} {panicked}"),
        RegistryEvent::Refused { key, error } => format!("refused {key:?}: {error}"),
        _ => "something new".to_owned(),
    }
}

/// Lets tasks that were spawned run as far as they get.
pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn ok<T>(value: T) -> Result<T, BoxError> {
    Ok(value)
}

pub(crate) fn same<C>(a: &Lease<C>, b: &Lease<C>) -> bool {
    Lease::ptr_eq(a, b)
}

/// A maker that numbers its clients.
pub(crate) fn numbered(
    numbers: &Numbers,
) -> impl Fn(String) -> std::future::Ready<Result<usize, BoxError>> + Send + Sync + 'static {
    let numbers = numbers.clone();
    move |_| std::future::ready(Ok(numbers.next()))
}
