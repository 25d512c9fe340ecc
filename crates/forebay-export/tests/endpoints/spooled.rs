//! All endpoints away: what is spooled meanwhile goes out once one is back.

use crate::servers::{A, B, Mode, Servers, builder, emit, ms};
use forebay_core::{BoxError, Priority};
use forebay_export::{ExportSpool, Failover, Items, Origin, ReplayFate, Replayer, Skipped, SpoolTask};
use std::{
    collections::VecDeque,
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::sleep;

/// A spool in memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<VecDeque<Vec<u32>>>>);

impl ExportSpool<u32> for Kept {
    fn append(&self, items: Items<u32>, _: Priority) -> SpoolTask<Result<Skipped, BoxError>> {
        self.0.lock().unwrap().push_back(items.to_vec());
        Box::pin(ready(Ok(Skipped::NONE)))
    }

    fn replay(self: Arc<Self>, replayer: Replayer<u32>) -> SpoolTask<()> {
        Box::pin(async move {
            loop {
                sleep(ms(200)).await;
                let next = self.0.lock().unwrap().pop_front();
                let Some(items) = next else { continue };
                let replayed = replayer.send(items.clone()).await;
                let (sent, back): (Vec<_>, Vec<_>) =
                    items.into_iter().zip(replayed.fates).partition(|(_, fate)| *fate == ReplayFate::Delivered);
                replayer.delivered(sent.len() as u64, Origin::Own);
                if !back.is_empty() {
                    self.0.lock().unwrap().push_front(back.into_iter().map(|(item, _)| item).collect());
                    sleep(replayed.after.unwrap_or(ms(1000))).await;
                }
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn e01_what_is_spooled_while_all_are_away_goes_to_the_one_that_is_back() {
    let (servers, kept) = (Servers::default(), Kept::default());
    [A, B].into_iter().for_each(|url| servers.turn(url, Mode::Refuses));
    let builder = builder(Failover::new([A, B])).overflow_to(kept.clone()).spool_after(Duration::from_secs(5));
    let exporter = builder.client(servers.client()).build().unwrap();
    emit(&exporter, 0..20);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((exporter.totals().spooled, exporter.totals().delivered), (200, 0));
    servers.turn(B, Mode::Up);
    sleep(Duration::from_secs(180)).await;
    assert_eq!((exporter.totals().spooled, exporter.totals().delivered), (0, 200));
    assert_eq!(servers.taken(B), (0..200).collect::<Vec<_>>());
}
