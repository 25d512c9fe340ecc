use regex_automata::{
    meta::{Builder, Config, Regex},
    util::syntax,
};
use regex_syntax::hir::{Hir, Look};
use std::{error::Error, fmt, sync::Arc};

/// A filter of names, by regular expressions.
///
/// A name is wanted if one of the allowed patterns matches it and none of the denied ones does. A filter is immutable and cheap
/// to clone; a [`LiveFilter`](super::LiveFilter) can be swapped.
///
/// ```
/// use forebay_collect::{Anchoring, Filter, WhenUndecided};
///
/// let (filter, bad) = Filter::builder(WhenUndecided::Deny)
///     .anchoring(Anchoring::Whole)
///     .allow(r"consul\.raft\..*")
///     .allow("(") // not a valid pattern: it is skipped, and reported
///     .deny(r".*\.debug")
///     .build();
/// assert!(filter.wants("consul.raft.apply"));
/// assert!(!filter.wants("consul.raft.debug"));
/// assert!(!filter.wants("consul.rpc"));
/// assert_eq!(bad[0].pattern(), "(");
/// ```
#[derive(Clone)]
pub struct Filter {
    allow: Option<Arc<Regex>>,
    deny: Option<Arc<Regex>>,
    undecided: WhenUndecided,
}

/// The decision of a filter without a valid allowed pattern.
///
/// This applies if no pattern was given, and if none of the given ones is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenUndecided {
    /// The filter fails open: every name that is not denied is wanted.
    Allow,
    /// The filter fails closed: no name is wanted.
    Deny,
}

/// The part of a name that a pattern must match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Anchoring {
    /// Any part of the name. This is the default, as is usual for regular expressions.
    #[default]
    Anywhere,
    /// The whole name.
    Whole,
}

/// Builds a [`Filter`].
///
/// | knob | default |
/// | --- | --- |
/// | when undecided | none: it is required |
/// | [`anchoring`](Self::anchoring) | [`Anchoring::Anywhere`] |
/// | [`allow`](Self::allow), [`deny`](Self::deny) | no patterns |
///
/// A set has at most 512 patterns, a compiled pattern at most 64 KiB, and a compiled set at most 4 MiB: a server that sends the
/// patterns cannot exhaust the memory of its clients.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct FilterBuilder {
    allow: Vec<String>,
    deny: Vec<String>,
    anchoring: Anchoring,
    undecided: WhenUndecided,
}

/// A pattern that was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern {
    pattern: String,
    why: String,
}

const MAX_PATTERNS: usize = 512;
const MAX_PATTERN_BYTES: usize = 64 << 10;
const MAX_SET_BYTES: usize = 4 << 20;

// === impl Filter ===

impl Filter {
    /// A builder; `undecided` is the decision without a valid allowed pattern.
    pub fn builder(undecided: WhenUndecided) -> FilterBuilder {
        FilterBuilder { allow: Vec::new(), deny: Vec::new(), anchoring: Anchoring::default(), undecided }
    }

    /// Wants everything.
    #[must_use]
    pub const fn all() -> Self {
        Self { allow: None, deny: None, undecided: WhenUndecided::Allow }
    }

    /// Wants nothing.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { allow: None, deny: None, undecided: WhenUndecided::Deny }
    }

    /// Whether this name is wanted.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        let allowed = match &self.allow {
            Some(allow) => allow.is_match(name),
            None => self.undecided == WhenUndecided::Allow,
        };
        allowed && !self.deny.as_ref().is_some_and(|deny| deny.is_match(name))
    }
}

impl Default for Filter {
    /// Wants everything.
    fn default() -> Self {
        Self::all()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = |set: &Option<Arc<Regex>>| set.as_ref().map_or(0, |set| set.pattern_len());
        f.debug_struct("Filter")
            .field("allow", &patterns(&self.allow))
            .field("deny", &patterns(&self.deny))
            .field("undecided", &self.undecided)
            .finish()
    }
}

// === impl FilterBuilder ===

impl FilterBuilder {
    /// Adds a pattern of names that are wanted.
    pub fn allow(mut self, pattern: impl Into<String>) -> Self {
        self.allow.push(pattern.into());
        self
    }

    /// Adds a pattern of names that are not wanted, whatever is allowed.
    pub fn deny(mut self, pattern: impl Into<String>) -> Self {
        self.deny.push(pattern.into());
        self
    }

    /// Sets the part of a name that patterns must match; any part by default.
    pub fn anchoring(mut self, anchoring: Anchoring) -> Self {
        self.anchoring = anchoring;
        self
    }

    /// The filter, and the patterns that were skipped.
    ///
    /// Each pattern is parsed on its own, so flags such as `(?i)` end with it.
    #[must_use]
    pub fn build(self) -> (Filter, Vec<BadPattern>) {
        let Self { allow, deny, anchoring, undecided } = self;
        let mut bad = Vec::new();
        let allow = compile(allow, anchoring, &mut bad);
        let deny = compile(deny, anchoring, &mut bad);
        (Filter { allow, deny, undecided }, bad)
    }
}

fn compile(patterns: Vec<String>, anchoring: Anchoring, bad: &mut Vec<BadPattern>) -> Option<Arc<Regex>> {
    let mut good: Vec<(String, Hir)> = Vec::new();
    for pattern in patterns {
        if good.len() >= MAX_PATTERNS {
            bad.push(BadPattern { pattern, why: format!("there are {MAX_PATTERNS} patterns already") });
            continue;
        }
        match read(&pattern, anchoring) {
            Ok(hir) => good.push((pattern, hir)),
            Err(why) => bad.push(BadPattern { pattern, why }),
        }
    }
    // Each pattern fits alone. If all together do not, the last ones are skipped until the rest does.
    while !good.is_empty() {
        let hirs: Vec<_> = good.iter().map(|(_, hir)| hir).collect();
        match builder(MAX_SET_BYTES).build_many_from_hir(&hirs) {
            Ok(set) => return Some(Arc::new(set)),
            Err(error) => bad.extend(good.pop().map(|(pattern, _)| BadPattern {
                pattern,
                why: format!("too large together with the other patterns: {error}"),
            })),
        }
    }
    None
}

fn read(pattern: &str, anchoring: Anchoring) -> Result<Hir, String> {
    let hir = syntax::parse_with(pattern, &syntax::Config::new().nest_limit(64)).map_err(|error| error.to_string())?;
    let hir = match anchoring {
        Anchoring::Anywhere => hir,
        // The anchors surround the parsed pattern, not its text, so that no comment or bracket in the text can hide them.
        Anchoring::Whole => Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]),
    };
    match builder(MAX_PATTERN_BYTES).build_from_hir(&hir) {
        Ok(_) => Ok(hir),
        Err(error) => Err(error.to_string()),
    }
}

fn builder(bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.configure(Config::new().nfa_size_limit(Some(bytes)).hybrid_cache_capacity(256 << 10));
    builder
}

// === impl BadPattern ===

impl BadPattern {
    /// The pattern as it was given.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pattern `{}` was skipped: {}", self.pattern, self.why)
    }
}

impl Error for BadPattern {}
