//! The wait for a client, and the making of one that replaces another.

use crate::{
    AcquireError, Event,
    bounds::{Client, Config, Key},
    circle::Name,
    edge::now,
    flight::{Polled, Seat, Work},
    hub::{Hub, Joined, Landed, Replaced, Shared},
    lease::Live,
    panics::guarded,
    sync::Strong,
};
use forebay_core::BoxError;
use std::{
    borrow::Borrow,
    future::Future,
    hash::Hash,
    mem,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

/// A place among those who wait for the client of one key.
pub(crate) struct Wait<K: Key, C: Client, G: Config> {
    hub: Arc<Hub<K, C, G>>,
    key: K,
    config: Arc<G>,
    seat: Seat,
    /// `None` when the place was given up.
    ticket: Option<(u64, Shared<C, G>)>,
}

/// The making of a client that replaces another.
pub(crate) struct Replacing<K: Key, C: Client, G: Config> {
    hub: Arc<Hub<K, C, G>>,
    key: K,
    config: Arc<G>,
    stage: Stage<K, C, G>,
}

enum Stage<K: Key, C: Client, G: Config> {
    Start,
    Making {
        ticket: u64,
        began: Instant,
        /// Never locked: it makes what is only `Send` also `Sync`.
        work: Mutex<Work<Result<C, BoxError>>>,
    },
    Waiting(Wait<K, C, G>),
    Done,
}

/// Ends with a client; boxed, since there is something to wait for.
pub(crate) type Waiting<C> = Pin<Box<dyn Future<Output = Found<C>> + Send + Sync>>;

type Found<C> = Result<Strong<Live<C>>, AcquireError>;

// === impl Wait ===

impl<K: Key, C: Client, G: Config> Wait<K, C, G> {
    /// A lease or a refusal, else the wait for one.
    pub(crate) fn begin<Q>(hub: &Arc<Hub<K, C, G>>, key: &Q, config: &G) -> Result<Found<C>, Self>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match hub.join(key, config, || Arc::new(config.clone())) {
            Joined::Lease(live) => Ok(Ok(live)),
            Joined::Refused(error) => Ok(Err(error)),
            Joined::Wait { key, config, id, flight } => {
                Err(Self { hub: Arc::clone(hub), key, config, seat: Seat::default(), ticket: Some((id, flight)) })
            }
        }
    }
}

/// Nothing in it is pinned by being in it: the work has its own box.
impl<K: Key, C: Client, G: Config> Unpin for Wait<K, C, G> {}

impl<K: Key, C: Client, G: Config> Future for Wait<K, C, G> {
    type Output = Found<C>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Found<C>> {
        let Self { hub, key, config, seat, ticket } = &mut *self;
        loop {
            let Some((id, flight)) = ticket else { return Poll::Pending };
            let (id, mut news) = (*id, None);
            let name: Name = Rc::new(key.clone());
            let polled = flight.poll(seat, cx, &name, |end| {
                let (landed, told) = hub.land(key, id, end);
                news = Some(told);
                landed
            });
            let landed = match polled {
                Polled::Pending => return Poll::Pending,
                Polled::Landed(landed) => landed,
                Polled::Circle(path) => {
                    // Those around this poll wait on: the entry counts one less.
                    let Some((id, flight)) = ticket.take() else { return Poll::Pending };
                    flight.leave(seat);
                    hub.leave(key, id);
                    let error = AcquireError::circular(path);
                    hub.hooks.emit(&Event::Refused { key, error: &error });
                    return Poll::Ready(Err(error));
                }
            };
            // The entry does not count us any more: the flight has landed, and the table has moved on.
            flight.leave(seat);
            *ticket = None;
            let made_here = news.is_some();
            if let Some(news) = news {
                hub.tell(key, news);
            }
            match landed {
                Landed::Client { live, config: first } => {
                    if !made_here {
                        hub.hooks.emit(&Event::Reused { key, generation: live.generation() });
                    }
                    if first != *config {
                        hub.diverged(key, live.generation(), &first, config);
                    }
                    return Poll::Ready(Ok(live));
                }
                Landed::Refused(error) => return Poll::Ready(Err(error)),
                // Whoever asked for the same gets the same answer; whoever asked for something else asks anew, so that
                // one who is switched off, or cannot log in, never answers for another.
                Landed::Failed { error, config: first } if first == *config => return Poll::Ready(Err(error)),
                Landed::Failed { .. } | Landed::Again => {}
            }
            match hub.join(&*key, config, || Arc::clone(config)) {
                Joined::Lease(live) => return Poll::Ready(Ok(live)),
                Joined::Refused(error) => return Poll::Ready(Err(error)),
                Joined::Wait { id, flight, .. } => *ticket = Some((id, flight)),
            }
        }
    }
}

/// CANCEL: the seat is given up, the entry counts one less, and with the last one the entry and the work go.
impl<K: Key, C: Client, G: Config> Drop for Wait<K, C, G> {
    fn drop(&mut self) {
        if let Some((id, flight)) = self.ticket.take() {
            flight.leave(&mut self.seat);
            self.hub.leave(&self.key, id);
        }
    }
}

// === impl Replacing ===

impl<K: Key, C: Client, G: Config> Replacing<K, C, G> {
    pub(crate) fn new(hub: Arc<Hub<K, C, G>>, key: K, config: Arc<G>) -> Self {
        Self { hub, key, config, stage: Stage::Start }
    }

    /// Nothing to replace, or a newer one is there: a client like any other will do.
    fn acquire(&self) -> (Stage<K, C, G>, Option<Found<C>>) {
        match Wait::begin(&self.hub, &self.key, &self.config) {
            Ok(found) => (Stage::Done, Some(found)),
            Err(wait) => (Stage::Waiting(wait), None),
        }
    }

    /// The work has ended; it is dropped by now.
    fn made(&self, ticket: u64, began: Instant, end: Result<C, AcquireError>) -> (Stage<K, C, G>, Option<Found<C>>) {
        let took = now().saturating_duration_since(began);
        match end {
            Ok(client) => match self.hub.swap(&self.key, ticket, &self.config, client, took) {
                Replaced::Lease(live) => (Stage::Done, Some(Ok(live))),
                Replaced::Refused(error) => (Stage::Done, Some(Err(error))),
                Replaced::Superseded => self.acquire(),
            },
            Err(error) => {
                self.hub.swap_failed(&self.key, &error, took);
                (Stage::Done, Some(Err(error)))
            }
        }
    }
}

/// Nothing in it is pinned by being in it: the work has its own box.
impl<K: Key, C: Client, G: Config> Unpin for Replacing<K, C, G> {}

impl<K: Key, C: Client, G: Config> Future for Replacing<K, C, G> {
    type Output = Found<C>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Found<C>> {
        loop {
            let (next, found) = match &mut self.stage {
                Stage::Start => match self.hub.begin_swap(&self.key) {
                    Some(ticket) => {
                        let work = Mutex::new(self.hub.make(self.key.clone(), Arc::clone(&self.config)));
                        (Stage::Making { ticket, began: now(), work }, None)
                    }
                    None => self.acquire(),
                },
                Stage::Making { ticket, began, work } => {
                    let work = work.get_mut().unwrap_or_else(PoisonError::into_inner);
                    let end = match guarded(|| work.as_mut().poll(cx)) {
                        Ok(Poll::Pending) => return Poll::Pending,
                        Ok(Poll::Ready(end)) => end.map_err(AcquireError::made),
                        Err(panic) => Err(AcquireError::panicked(panic)),
                    };
                    let (ticket, began) = (*ticket, *began);
                    let work = mem::replace(&mut self.stage, Stage::Done);
                    // A future that panics when it is dropped has ended all the same.
                    let _ended = guarded(|| drop(work));
                    self.made(ticket, began, end)
                }
                Stage::Waiting(wait) => match Pin::new(wait).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(found) => (Stage::Done, Some(found)),
                },
                Stage::Done => return Poll::Pending,
            };
            self.stage = next;
            if let Some(found) = found {
                return Poll::Ready(found);
            }
        }
    }
}

/// CANCEL: the old client stays, and nothing holds the key for the new one any more.
impl<K: Key, C: Client, G: Config> Drop for Replacing<K, C, G> {
    fn drop(&mut self) {
        if let Stage::Making { work, .. } = mem::replace(&mut self.stage, Stage::Done) {
            drop(work);
            self.hub.abandon_swap(&self.key);
        }
    }
}
