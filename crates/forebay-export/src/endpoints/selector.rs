//! Which endpoint the next attempt goes to. Pure: no clock, lock or runtime; time and chance come in.

use super::{latency::Latency, size::SizeLimit};
use forebay_core::{chance::SplitMix64, time::saturating_add};
use std::time::{Duration, Instant};

/// How the attempts are spread over the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// In order: one receives everything.
    Failover {
        /// How long an earlier endpoint must have taken every trial before everything goes there again.
        return_after: Duration,
    },
    /// The better one of two.
    Balance,
}

/// What stands for an endpoint, for as long as the exporter has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub(super) u64);

/// The endpoints, and what is known of each.
#[derive(Debug)]
pub(super) struct Selector {
    strategy: Strategy,
    /// In the order of the user.
    members: Vec<Member>,
    /// Where a failover sends to.
    current: Option<Id>,
    chance: SplitMix64,
}

/// What is known of one endpoint.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: Id,
    weight: u32,
    /// How much it is behind its share of the draws, in units of weight; negative where it is ahead.
    behind: i64,
    pub(super) in_flight: usize,
    /// The end of the pause that it has asked for.
    held_until: Option<Instant>,
    /// While the load comes back: how many requests it may have in flight. Each success is one more, until that is its limit.
    ramp: Option<usize>,
    pub(super) latency: Latency,
    sizes: SizeLimit,
    /// The latest failure that was its own fault.
    failed_at: Option<Instant>,
    /// The latest attempt.
    sent_at: Option<Instant>,
    pub(super) requests: u64,
    pub(super) failures: u64,
}

/// What the keyed breaker and the limiter of one endpoint say now.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) id: Id,
    pub(super) circuit: Circuit,
    /// How many requests it may have in flight, apart from the ramp.
    pub(super) limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Circuit {
    Closed,
    /// One call at a time is let through as a probe; whether one is under way.
    Probing {
        under_way: bool,
    },
    Open(Duration),
}

/// What is done with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    Send(Id),
    /// None has room, and something changes at this instant at the latest.
    Full(Option<Instant>),
    /// None may be sent to before this instant; whether that is since it has asked for a pause.
    Away(Instant, bool),
    /// None that is there takes a body of so many bytes; the one that takes most, and how many.
    TooLarge(Id, usize),
    /// There is none that was not tried.
    None,
}

/// How an attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The server took it, or refused it for what is in it.
    Responded,
    /// It was refused since a body of so many bytes is too large.
    TooLarge(usize),
    /// It failed through the fault of the endpoint, which may have asked for a pause.
    Failed(Option<Duration>),
}

/// Where an endpoint stands for one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing is sent to it before this instant.
    Away(Instant, bool),
    Full,
    /// It has room.
    Ready,
    /// It has room for the one request that shows whether it is back.
    Probe,
}

/// The second of two choices is taken if it is so much better: less is noise, and the draw by weight stands.
const BETTER: f64 = 1.5;
/// Added to every latency, in seconds: below it, a difference is noise that would move all of the load.
const NOISE: f64 = 0.01;
/// Under a balance, an endpoint that was sent nothing for so long has its turn all the same: or nothing would show that it is well.
const UNTRIED: Duration = Duration::from_secs(1);
/// Under a failover, an earlier endpoint that seems to be back is tried so often until everything returns to it.
const TRIALS: u32 = 10;

// === impl Selector ===

impl Selector {
    pub(super) fn new(strategy: Strategy, seed: u64) -> Self {
        Self { strategy, members: Vec::new(), current: None, chance: SplitMix64::new(seed) }
    }

    /// Has these endpoints from now on; of those that it had before all is kept.
    pub(super) fn set(&mut self, strategy: Strategy, endpoints: impl Iterator<Item = (Id, u32)>) {
        self.strategy = strategy;
        let mut before = std::mem::take(&mut self.members);
        self.members = endpoints
            .map(|(id, weight)| match before.iter().position(|member| member.id == id) {
                Some(at) => Member { weight, ..before.swap_remove(at) },
                // Exporters that start together do not begin with the same endpoint.
                None => {
                    Member { behind: self.chance.between(0, weight.into()).cast_signed(), ..Member::new(id, weight) }
                }
            })
            .collect();
        self.current = self.current.filter(|current| self.members.iter().any(|member| member.id == *current));
    }

    pub(super) fn member(&self, id: Id) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    fn member_mut(&mut self, id: Id) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    pub(super) fn current(&self) -> Option<Id> {
        match self.strategy {
            Strategy::Failover { .. } => self.current.or(self.members.first().map(|member| member.id)),
            Strategy::Balance => None,
        }
    }

    /// Until when nothing is sent to an endpoint.
    pub(super) fn away_until(&self, view: &View, now: Instant) -> Option<Instant> {
        match self.member(view.id)?.standing(view, now) {
            Standing::Away(until, _) => Some(until),
            Standing::Full | Standing::Ready | Standing::Probe => None,
        }
    }

    /// How many requests an endpoint may have in flight now.
    pub(super) fn limit(&self, view: &View) -> usize {
        self.member(view.id).map_or(view.limit, |member| member.room(view))
    }

    /// Chooses an endpoint for a body of `bytes` that was not `tried` for it, and counts the attempt as in flight there.
    pub(super) fn pick(&mut self, now: Instant, views: &[View], tried: &[Id], bytes: usize) -> Pick {
        for view in views.iter().filter(|view| view.circuit != Circuit::Closed) {
            if let Some(member) = self.member_mut(view.id) {
                // When it is back, the load returns step by step.
                member.ramp = Some(1);
            }
        }
        let pick = self.choose(now, views, tried, bytes);
        if let Pick::Send(id) = pick
            && let Some(member) = self.member_mut(id)
        {
            member.in_flight += 1;
            member.requests += 1;
            member.sent_at = Some(now);
        }
        pick
    }

    /// Whether an endpoint is left for this attempt that is not away and takes its size.
    pub(super) fn is_any_left(&self, now: Instant, views: &[View], tried: &[Id], bytes: usize) -> bool {
        self.standings(now, views, tried)
            .any(|(member, standing)| !matches!(standing, Standing::Away(..)) && member.sizes.takes(now, bytes))
    }

    /// When the first endpoint returns; `None` if one of them is not away.
    pub(super) fn all_away_until(&self, now: Instant, views: &[View]) -> Option<Instant> {
        let mut first: Option<Instant> = None;
        for (_, standing) in self.standings(now, views, &[]) {
            let Standing::Away(until, _) = standing else { return None };
            first = Some(first.map_or(until, |first| first.min(until)));
        }
        first
    }

    /// Each endpoint that was not tried, in order, and where it stands.
    fn standings<'a>(
        &'a self,
        now: Instant,
        views: &'a [View],
        tried: &'a [Id],
    ) -> impl Iterator<Item = (&'a Member, Standing)> {
        let untried = self.members.iter().filter(|member| !tried.contains(&member.id));
        untried.filter_map(move |member| {
            let view = views.iter().find(|view| view.id == member.id)?;
            Some((member, member.standing(view, now)))
        })
    }

    fn choose(&mut self, now: Instant, views: &[View], tried: &[Id], bytes: usize) -> Pick {
        let mut away: Option<(Instant, bool)> = None;
        let mut most: Option<(usize, Id)> = None;
        let mut there = Vec::with_capacity(self.members.len());
        for (member, standing) in self.standings(now, views, tried) {
            match standing {
                Standing::Away(until, held) => {
                    away = Some(away.filter(|(first, _)| *first <= until).unwrap_or((until, held)));
                }
                _ if !member.sizes.takes(now, bytes) => {
                    let takes = (member.sizes.most(now).unwrap_or_default(), member.id);
                    most = Some(most.filter(|most| most.0 >= takes.0).unwrap_or(takes));
                }
                _ => there.push((member.id, standing)),
            }
        }
        if there.is_empty() {
            return match (most, away) {
                (Some((most, id)), _) => Pick::TooLarge(id, most),
                (None, Some((until, held))) => Pick::Away(until, held),
                (None, None) => Pick::None,
            };
        }
        let chosen = match self.strategy {
            Strategy::Failover { return_after } => self.in_order(now, views, &there, return_after),
            Strategy::Balance => self.balanced(now, &there),
        };
        chosen.map_or(Pick::Full(away.map(|(until, _)| until)), Pick::Send)
    }

    /// The endpoint that a failover sends to now; `None` if it has no room.
    fn in_order(
        &mut self,
        now: Instant,
        views: &[View],
        there: &[(Id, Standing)],
        return_after: Duration,
    ) -> Option<Id> {
        let order: Vec<Id> = self.members.iter().map(|member| member.id).collect();
        let rank = |id: Id| order.iter().position(|other| *other == id);
        let current = self.current();
        let current_rank = current.and_then(rank);
        for (id, standing) in there.iter().copied().take_while(|(id, _)| rank(*id) < current_rank) {
            let Some(member) = self.member(id) else { continue };
            match standing {
                Standing::Probe => return Some(id),
                Standing::Ready if member.has_held(now, return_after) => {
                    self.current = Some(id);
                    return Some(id);
                }
                // It is tried now and then, or it would count as back because nothing was sent to it.
                Standing::Ready if member.in_flight == 0 && member.is_trial_due(now, return_after) => return Some(id),
                Standing::Ready | Standing::Full | Standing::Away(..) => {}
            }
        }
        let view_of = |id: Id| views.iter().find(|view| view.id == id);
        let is_closed = |id: Id| view_of(id).is_some_and(|view| view.circuit == Circuit::Closed);
        let closed: Vec<(Id, Standing)> = there.iter().copied().filter(|(id, _)| is_closed(*id)).collect();
        // The current one, else the next after it, else the first.
        let chosen = (closed.iter().find(|(id, _)| Some(*id) == current))
            .or_else(|| closed.iter().find(|(id, _)| rank(*id) > current_rank))
            .or_else(|| closed.first());
        let Some(&(id, standing)) = chosen else {
            // None is well: the first whose turn it is shows whether it is back.
            return there.iter().find(|(_, standing)| *standing == Standing::Probe).map(|(id, _)| *id);
        };
        // A single failure does not move the load: this attempt alone goes elsewhere.
        let stays = current
            .and_then(view_of)
            .is_some_and(|view| view.circuit == Circuit::Closed && self.away_until(view, now).is_none());
        if !stays {
            self.current = Some(id);
        }
        (standing == Standing::Ready).then_some(id)
    }

    /// The better one of two, of which one has its turn and the other is drawn by weight; `None` if none has room.
    fn balanced(&mut self, now: Instant, there: &[(Id, Standing)]) -> Option<Id> {
        // One request at a time shows whether an endpoint is back.
        if let Some((id, _)) = there.iter().find(|(_, standing)| *standing == Standing::Probe) {
            return Some(*id);
        }
        let mut ready: Vec<(Id, u32)> = Vec::with_capacity(there.len());
        for (id, standing) in there {
            if let (Standing::Ready, Some(member)) = (standing, self.member(*id)) {
                ready.push((*id, member.weight));
            }
        }
        let one = self.take_turn(&mut ready)?;
        let Some(other) = self.draw(&mut ready) else { return Some(one) };
        let (Some(first), Some(second)) = (self.member(one), self.member(other)) else { return Some(one) };
        if first.sent_at.is_none_or(|sent| now.saturating_duration_since(sent) >= UNTRIED) {
            return Some(one);
        }
        let (first_takes, second_takes) = match (first.latency.at(now), second.latency.at(now)) {
            (Some(first), Some(second)) => (first + NOISE, second + NOISE),
            // Of one that is not known nothing is said: the pending requests decide.
            _ => (1.0, 1.0),
        };
        let is_better = second_takes * second.pending() * BETTER < first_takes * first.pending();
        Some(if is_better { other } else { one })
    }

    /// Takes out the one whose turn it is, so that the turns are even by weight over any few of them.
    ///
    /// Turns that are drawn would be even in the mean alone: of 33 batches in a second, an endpoint would have 20 or 46 now and then.
    /// A turn that passes to the better one of two was taken all the same, so that an endpoint that was slow has no arrears.
    fn take_turn(&mut self, from: &mut Vec<(Id, u32)>) -> Option<Id> {
        let (mut sum, mut first) = (0, None);
        for (at, (id, weight)) in from.iter().enumerate() {
            let Some(member) = self.member_mut(*id) else { continue };
            let weight = i64::from(*weight);
            (sum, member.behind) = (sum + weight, member.behind + weight);
            if first.is_none_or(|(_, most)| member.behind > most) {
                first = Some((at, member.behind));
            }
        }
        let (id, _) = from.swap_remove(first?.0);
        self.member_mut(id)?.behind -= sum;
        Some(id)
    }

    /// Draws one by weight, and takes it out.
    fn draw(&mut self, from: &mut Vec<(Id, u32)>) -> Option<Id> {
        let sum: u64 = from.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut drawn = self.chance.between(0, sum.checked_sub(1)?);
        let at = from.iter().position(|(_, weight)| match drawn.checked_sub((*weight).into()) {
            Some(left) => {
                drawn = left;
                false
            }
            None => true,
        })?;
        Some(from.swap_remove(at).0)
    }

    /// An attempt has ended that took so long; `limit` is that of the endpoint.
    pub(super) fn ended(&mut self, id: Id, now: Instant, took: Duration, end: End, limit: usize) {
        let Some(member) = self.member_mut(id) else { return };
        match end {
            End::Responded | End::TooLarge(_) => {
                member.latency.took(now, took);
                member.ramp = member.ramp.map(|ramp| ramp.saturating_add(1)).filter(|ramp| *ramp < limit);
                if let End::TooLarge(bytes) = end {
                    member.sizes.refused(now, bytes);
                }
            }
            End::Failed(hint) => {
                member.latency.failed(now, took);
                (member.failed_at, member.failures) = (Some(now), member.failures + 1);
                if let Some(hint) = hint {
                    let until = saturating_add(now, hint);
                    member.held_until = Some(member.held_until.map_or(until, |held| held.max(until)));
                    member.ramp = Some(1);
                }
            }
        }
    }

    /// An attempt is no longer in flight, however it has ended.
    pub(super) fn left(&mut self, id: Id) {
        if let Some(member) = self.member_mut(id) {
            member.in_flight = member.in_flight.saturating_sub(1);
        }
    }
}

// === impl Member ===

impl Member {
    fn new(id: Id, weight: u32) -> Self {
        Self {
            id,
            weight,
            behind: 0,
            in_flight: 0,
            held_until: None,
            ramp: None,
            latency: Latency::default(),
            sizes: SizeLimit::default(),
            failed_at: None,
            sent_at: None,
            requests: 0,
            failures: 0,
        }
    }

    fn standing(&self, view: &View, now: Instant) -> Standing {
        if let Some(until) = self.held_until.filter(|until| *until > now) {
            return Standing::Away(until, true);
        }
        let has_room = self.in_flight < self.room(view);
        match view.circuit {
            Circuit::Open(wait) => Standing::Away(saturating_add(now, wait), false),
            // Whatever is still in flight from before does not hold the probe back.
            Circuit::Probing { under_way: false } => Standing::Probe,
            Circuit::Closed if has_room => Standing::Ready,
            Circuit::Probing { under_way: true } | Circuit::Closed => Standing::Full,
        }
    }

    fn room(&self, view: &View) -> usize {
        let most = if view.circuit == Circuit::Closed { self.ramp.unwrap_or(usize::MAX) } else { 1 };
        view.limit.min(most)
    }

    /// Whether it has taken every trial for so long.
    fn has_held(&self, now: Instant, time: Duration) -> bool {
        self.failed_at.is_none_or(|failed| now.saturating_duration_since(failed) >= time)
    }

    fn is_trial_due(&self, now: Instant, return_after: Duration) -> bool {
        let every = return_after.checked_div(TRIALS).unwrap_or_default();
        self.sent_at.is_none_or(|sent| now.saturating_duration_since(sent) >= every)
    }

    /// How busy it is for its weight.
    #[expect(clippy::cast_precision_loss, reason = "a ratio of small numbers")]
    fn pending(&self) -> f64 {
        self.in_flight as f64 / f64::from(self.weight) + 1.0
    }
}

#[cfg(test)]
mod tests;
