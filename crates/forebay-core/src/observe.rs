/// Sees the decisions of a layer as they are made.
///
/// Any `Fn(&Event)` is an observer. `()` is the one that sees nothing, and costs nothing: the event is never built.
///
/// An observer runs on the path of the call it reports, so it must be short and must not block. A panic in it is a
/// panic in the layer.
pub trait Observe<Event> {
    /// `false` lets a layer skip building the event.
    #[inline]
    fn enabled(&self) -> bool {
        true
    }

    /// One decision was made.
    fn observe(&self, event: &Event);
}

// === impl Observe ===

impl<Event, F: Fn(&Event)> Observe<Event> for F {
    #[inline]
    fn observe(&self, event: &Event) {
        self(event);
    }
}

impl<Event> Observe<Event> for () {
    #[inline]
    fn enabled(&self) -> bool {
        false
    }

    #[inline]
    fn observe(&self, _: &Event) {}
}
