//! Sends items once more, below the batcher: in parts where the server refuses them for what is in them.

use crate::{Replayed, encoding::SettleExport, spool::ReplayFate};
use forebay_batch::Items;
use forebay_core::{BoxError, DropReason, Fate, ItemFate, Settle, Settlement};
use std::future::poll_fn;
use tower_service::Service;

/// The encoder of an exporter and all below it, for items that no batcher has.
#[derive(Clone, Debug)]
pub(crate) struct Replay<S> {
    inner: S,
    /// How many requests may be spent on items that are refused for their content.
    split_budget: u32,
}

// === impl Replay ===

impl<S> Replay<S> {
    pub(crate) fn new(inner: S, split_budget: u32) -> Self {
        Self { inner, split_budget }
    }

    pub(crate) async fn run<T>(mut self, items: Vec<T>) -> Replayed
    where
        S: Service<Items<T>, Response = Settlement, Error = BoxError>,
    {
        let mut fates = vec![ReplayFate::GivenBack; items.len()];
        let (mut requests, mut replayed) = (0, Replayed::default());
        // Each part is a half of the one before, so that there are few of them.
        let mut parts = vec![(0, Items::new(items))];
        while let Some((at, part)) = parts.pop() {
            let count = part.len();
            let result = match poll_fn(|cx| self.inner.poll_ready(cx)).await {
                Ok(()) => self.inner.call(part.clone()).await,
                Err(error) => Err(error),
            };
            requests += 1;
            let mut set = |index: usize, fate: ReplayFate| {
                if let Some(place) = fates.get_mut(at + index) {
                    *place = fate;
                }
            };
            match SettleExport.settle(&result, count) {
                // The kill switch was turned, which says nothing about the items.
                Settlement::All(Fate::Dropped(DropReason::Disabled)) => {
                    replayed.is_away = true;
                    break;
                }
                Settlement::All(fate) => (0..count).for_each(|index| set(index, of_fate(fate))),
                Settlement::Partial { dropped, reason } => {
                    let taken = count.saturating_sub(dropped);
                    (0..taken).for_each(|index| set(index, ReplayFate::Delivered));
                    (taken..count).for_each(|index| set(index, ReplayFate::Refused(reason)));
                }
                Settlement::Each(each) => {
                    let fate = |index: usize| match each.get(index) {
                        Some(ItemFate::Final(fate)) => of_fate(*fate),
                        Some(ItemFate::Retry(_)) => ReplayFate::GivenBack,
                        None => ReplayFate::Failed,
                    };
                    (0..count).for_each(|index| set(index, fate(index)));
                    // Nothing says for how long; without a pause the same items would be sent again at once.
                    replayed.is_away |= each.iter().any(|fate| matches!(fate, ItemFate::Retry(_)));
                    if replayed.is_away {
                        break;
                    }
                }
                Settlement::Retry { after, .. } => {
                    (replayed.is_away, replayed.after) = (true, after);
                    break;
                }
                Settlement::Split { otherwise, .. } if count <= 1 => set(0, ReplayFate::Refused(otherwise)),
                Settlement::Split { .. } if requests + 2 <= self.split_budget => {
                    let (left, right) = part.split_at(count / 2);
                    parts.push((at + count / 2, right));
                    parts.push((at, left));
                }
                // Nothing more may be spent on it, or it is a settlement of a newer core.
                _ => (0..count).for_each(|index| set(index, ReplayFate::Failed)),
            }
        }
        replayed.fates = fates;
        replayed
    }
}

fn of_fate(fate: Fate) -> ReplayFate {
    match fate {
        Fate::Delivered => ReplayFate::Delivered,
        // No layer below spools.
        Fate::Spooled => ReplayFate::GivenBack,
        Fate::Dropped(reason) => ReplayFate::Refused(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::SplitCause;
    use std::{
        future::{Ready, ready},
        task::{Context, Poll},
    };

    /// Refuses each request that holds a zero, and is away for one that holds a nine.
    #[derive(Clone)]
    struct Server;

    impl Service<Items<u8>> for Server {
        type Response = Settlement;
        type Error = BoxError;
        type Future = Ready<Result<Settlement, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, items: Items<u8>) -> Self::Future {
            let otherwise = DropReason::Rejected;
            ready(Ok(if items.contains(&9) {
                Settlement::Retry { after: Some(std::time::Duration::from_secs(3)), otherwise }
            } else if items.contains(&0) {
                Settlement::Split { cause: SplitCause::BadItem, otherwise }
            } else {
                Settlement::All(Fate::Delivered)
            }))
        }
    }

    fn run(items: &[u8], budget: u32) -> Replayed {
        let mut run = tokio_test::task::spawn(Replay::new(Server, budget).run(items.to_vec()));
        tokio_test::assert_ready!(run.poll())
    }

    #[test]
    fn a_bad_item_costs_only_itself() {
        use ReplayFate::{Delivered, Refused};
        let bad = Refused(DropReason::Rejected);
        let replayed = run(&[1, 2, 0, 4, 5, 6, 7, 0], 64);
        assert_eq!(replayed.fates, [Delivered, Delivered, bad, Delivered, Delivered, Delivered, Delivered, bad]);
        assert!(!replayed.is_away);
    }

    #[test]
    fn a_split_without_budget_fails_what_is_not_known_to_be_bad() {
        use ReplayFate::{Delivered, Failed};
        assert_eq!(run(&[0, 1], 0).fates, [Failed, Failed]);
        assert_eq!(run(&[1, 2, 0, 4], 3).fates, [Delivered, Delivered, Failed, Failed]);
    }

    #[test]
    fn an_absent_server_gives_back_what_it_was_not_asked_for() {
        use ReplayFate::{Delivered, GivenBack};
        // Refused as a whole, then the half with the nine is not taken and the rest stays.
        let replayed = run(&[9, 1], 64);
        assert_eq!(replayed.fates, [GivenBack, GivenBack]);
        assert_eq!((replayed.is_away, replayed.after), (true, Some(std::time::Duration::from_secs(3))));
        assert_eq!(run(&[1, 2], 64).fates, [Delivered, Delivered]);
    }
}
