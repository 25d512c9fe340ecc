/// Which metrics a subscription asks for, by their names.
///
/// ```
/// use forebay_kip714::Selector;
///
/// let some = Selector::new(["org.apache.kafka.producer.", "org.apache.kafka.producer.connection."]);
/// assert!(some.wants("org.apache.kafka.producer.node.request.latency.avg"));
/// assert!(!some.wants("org.apache.kafka.consumer.poll.idle.ratio.avg"));
/// assert!(Selector::new(["*"]).wants("anything"));
/// assert!(Selector::new([] as [&str; 0]).is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Ascending, none the prefix of another; one empty prefix if everything is wanted.
    prefixes: Vec<String>,
}

// === impl Selector ===

impl Selector {
    /// As a broker lists them: prefixes; `*` alone, or an empty one, for all; none for none.
    ///
    /// A `*` beside others is a prefix like any other, which no name has. Brokers never send that.
    pub fn new(requested: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut prefixes: Vec<String> = requested.into_iter().map(|prefix| prefix.as_ref().to_owned()).collect();
        if let [only] = prefixes.as_mut_slice()
            && only == "*"
        {
            only.clear();
        }
        prefixes.sort_unstable();
        // Sorted, a prefix stands right before what it covers.
        prefixes.dedup_by(|covered, kept| covered.starts_with(kept.as_str()));
        Self { prefixes }
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// Whether everything is wanted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.prefixes.first().is_some_and(String::is_empty)
    }

    /// Whether the metric with this name is wanted.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        // The only one that can be its prefix is the last that is not greater.
        let after = self.prefixes.partition_point(|prefix| prefix.as_str() <= name);
        after > 0 && name.starts_with(self.prefixes[after - 1].as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn k11_a_name_is_wanted_as_the_plain_rule_has_it(
            requested in prop::collection::vec("[ab*.]{0,4}", 0..6),
            name in "[ab*.]{0,6}",
        ) {
            let plain = match requested.as_slice() {
                [one] if one == "*" => true,
                many => many.iter().any(|prefix| name.starts_with(prefix.as_str())),
            };
            prop_assert_eq!(Selector::new(&requested).wants(&name), plain);
        }
    }

    #[test]
    fn a_star_beside_others_is_literal() {
        let selector = Selector::new(["*", "x"]);
        assert!(selector.wants("x.y"));
        assert!(selector.wants("*.y"));
        assert!(!selector.wants("y"));
        assert!(!selector.is_all());
        assert!(Selector::new([""]).is_all());
    }
}
