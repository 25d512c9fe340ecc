use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

/// A set of labels: sorted by name, each name once.
///
/// Two sets with the same labels are equal and have the same hash, in any order of their insertion. Where sets are merged,
/// [`Precedence`] decides over a name that is in both; within one list of labels, the last label of a name wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(pub(super) Vec<(Cow<'static, str>, LabelValue)>);

/// The value of a label.
///
/// It can be a key: floats are compared by their bits.
#[derive(Clone, Debug)]
pub enum LabelValue {
    /// Text.
    String(Cow<'static, str>),
    /// True or false.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A floating point number.
    Double(f64),
}

/// Which label wins a name that is in both of two sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precedence {
    /// The added labels win. This is the default, so that the operator of a program decides.
    #[default]
    Added,
    /// The existing labels win.
    Own,
}

// === impl Labels ===

impl Labels {
    /// No labels.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The set with another label; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<LabelValue>) -> Self {
        self.insert(name, value);
        self
    }

    /// Adds a label; returns the value of the one that it replaces.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<LabelValue>) -> Option<LabelValue> {
        let (name, value) = (name.into(), value.into());
        match self.0.binary_search_by(|one| one.0.cmp(&name)) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (name, value));
                None
            }
        }
    }

    /// Adds all labels of `added`; `precedence` decides over a name that is in both.
    pub fn merge(&mut self, added: &Self, precedence: Precedence) {
        for (name, value) in &added.0 {
            match self.0.binary_search_by(|one| one.0.cmp(name)) {
                Ok(at) if precedence == Precedence::Added => self.0[at].1 = value.clone(),
                Ok(_) => {}
                Err(at) => self.0.insert(at, (name.clone(), value.clone())),
            }
        }
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&LabelValue> {
        let at = self.0.binary_search_by(|one| (*one.0).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// All labels, sorted by name.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &LabelValue)> + '_ {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no labels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<Cow<'static, str>>, V: Into<LabelValue>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(labels: I) -> Self {
        let mut all: Vec<(Cow<'static, str>, LabelValue)> =
            labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        // The sort is stable and the list reversed, so the first of each name is the last that was given.
        all.reverse();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|later, first| later.0 == first.0);
        Self(all)
    }
}

impl<N: Into<Cow<'static, str>>, V: Into<LabelValue>, const COUNT: usize> From<[(N, V); COUNT]> for Labels {
    fn from(labels: [(N, V); COUNT]) -> Self {
        labels.into_iter().collect()
    }
}

// === impl LabelValue ===

impl LabelValue {
    /// The text; `None` for a value of another kind.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Bool(_) | Self::Int(_) | Self::Double(_) => None,
        }
    }

    /// A total order over all kinds, without a meaning.
    fn rank(&self) -> (u8, u64, &str) {
        match self {
            Self::String(text) => (0, 0, text),
            Self::Bool(value) => (1, u64::from(*value), ""),
            Self::Int(value) => (2, value.cast_unsigned(), ""),
            Self::Double(value) => (3, value.to_bits(), ""),
        }
    }
}

impl PartialEq for LabelValue {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for LabelValue {}

impl PartialOrd for LabelValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LabelValue {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl Hash for LabelValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
    }
}

impl fmt::Display for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => f.write_str(text),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
        }
    }
}

impl From<&'static str> for LabelValue {
    fn from(text: &'static str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}

impl From<String> for LabelValue {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text))
    }
}

impl From<Cow<'static, str>> for LabelValue {
    fn from(text: Cow<'static, str>) -> Self {
        Self::String(text)
    }
}

impl From<bool> for LabelValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for LabelValue {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for LabelValue {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}
