use super::point::Point;
use std::fmt::Write;

/// What distinguishes one series from all others: its name and its attributes, whatever their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(String);

// === impl Key ===

impl Key {
    pub(super) fn of(point: &Point) -> Self {
        let mut text = String::from(&*point.name);
        let mut attributes: Vec<_> = point.value.attributes().iter().collect();
        attributes.sort_by(|a, b| a.key.cmp(&b.key));
        for attribute in attributes {
            // Quoted and escaped, so that no two series write the same; writing to a string cannot fail.
            let written = write!(text, "\0{:?}={:?}", attribute.key, attribute.value);
            debug_assert!(written.is_ok());
        }
        Self(text)
    }
}
