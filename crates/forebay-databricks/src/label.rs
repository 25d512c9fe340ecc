//! The name of a host's exporter in metrics and events.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

/// The name of an exporter while it lives: its host, with a number where another exporter has that name already (another identity
/// of the host, or one that is being closed).
///
/// Names are given again, so a host that is opened again and again does not make new metric series each time.
#[derive(Debug)]
pub(crate) struct Label {
    host: String,
    number: u32,
}

/// The numbers in use of each host; of the whole process, as metrics are.
static IN_USE: Mutex<BTreeMap<String, BTreeSet<u32>>> = Mutex::new(BTreeMap::new());

// === impl Label ===

impl Label {
    pub(crate) fn of(host: &str) -> Self {
        let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = in_use.entry(host.to_owned()).or_default();
        // One more than there are in use, so there is a free one among them.
        let number = (1..=u32::MAX).find(|number| !numbers.contains(number)).unwrap_or(u32::MAX);
        numbers.insert(number);
        Self { host: host.to_owned(), number }
    }

    pub(crate) fn text(&self) -> String {
        match self.number {
            1 => self.host.clone(),
            number => format!("{}#{number}", self.host),
        }
    }
}

impl Drop for Label {
    fn drop(&mut self) {
        let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(numbers) = in_use.get_mut(&self.host) {
            numbers.remove(&self.number);
            if numbers.is_empty() {
                in_use.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_opened_again_has_its_name_again() {
        let host = "https://label.example:443";
        for _ in 0..3 {
            let (first, second) = (Label::of(host), Label::of(host));
            assert_eq!((first.text(), second.text()), (host.to_owned(), format!("{host}#2")));
            drop(first);
            let third = Label::of(host);
            assert_eq!(third.text(), host);
        }
        assert!(!IN_USE.lock().unwrap().contains_key(host));
    }
}
