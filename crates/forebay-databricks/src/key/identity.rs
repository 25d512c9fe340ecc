use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, OnceLock},
};

/// As whom a client talks to its endpoint; a part of an [`EndpointKey`](super::EndpointKey).
///
/// Two callers share a client when their identities are equal, and only then: a client that is logged in as one tenant
/// is never handed to another, and one that is not logged in at all is never handed to a caller that is. Whatever else a
/// client must not be shared across (TLS settings, a proxy) goes in with [`and`](Self::and).
///
/// Secrets are not kept: only 128 bits of a hash whose keys are drawn once in each process. Nothing of them is printed.
///
/// ```
/// use forebay_databricks::Identity;
///
/// let ours = Identity::named("tenant-7").and("token", b"s3cret");
/// assert_eq!(ours, Identity::named("tenant-7").and("token", b"s3cret"));
/// assert_ne!(ours, Identity::named("tenant-7").and("token", b"other"));
/// assert_ne!(ours, Identity::anonymous());
/// assert!(!format!("{ours:?}").contains("s3cret"));
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    name: Option<Arc<str>>,
    digest: Option<[u64; 2]>,
}

// === impl Identity ===

impl Identity {
    /// No identity: requests without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// A tenant, a user or a client, by a name that may be shown in logs.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self { name: Some(name.into()), digest: None }
    }

    /// An identity that is known by a secret alone: a token, a key, a certificate.
    ///
    /// A token that is renewed gives another identity, and with it another client. Where the client shall stay, use a
    /// name.
    #[must_use]
    pub fn of_secret(secret: impl AsRef<[u8]>) -> Self {
        Self::anonymous().and("secret", secret)
    }

    /// The same, and also this: what has another `value` under `what` is another identity.
    ///
    /// The value is not kept, so it may be a secret.
    #[must_use]
    pub fn and(mut self, what: &str, value: impl AsRef<[u8]>) -> Self {
        // Two keyed hashes of 64 bits: without the keys, two values that meet cannot be looked for.
        static KEYS: OnceLock<[RandomState; 2]> = OnceLock::new();
        let keys = KEYS.get_or_init(|| [RandomState::new(), RandomState::new()]);
        let before = self.digest;
        // `Hash` of a slice writes its length first, so no two lists of parts look alike.
        self.digest = Some(keys.each_ref().map(|key| key.hash_one((before, what.as_bytes(), value.as_ref()))));
        self
    }

    /// The name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// The name, and whether there is more; nothing of a secret, not even its hash.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.digest) {
            (None, None) => f.write_str("Identity(anonymous)"),
            (Some(name), None) => write!(f, "Identity({name:?})"),
            (None, Some(_)) => f.write_str("Identity(<redacted>)"),
            (Some(name), Some(_)) => write!(f, "Identity({name:?} + <redacted>)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(Identity::anonymous().and("a", "bc"), Identity::anonymous().and("ab", "c"));
        assert_ne!(Identity::of_secret("a").and("x", "b"), Identity::of_secret("b").and("x", "a"));
        assert_ne!(Identity::of_secret(""), Identity::anonymous());
    }

    #[test]
    fn nothing_of_a_secret_is_printed() {
        let shown = format!("{:?} {:?}", Identity::of_secret("hunter2"), Identity::named("t").and("pw", "hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!shown.bytes().any(|byte| byte.is_ascii_digit()), "{shown}");
    }
}
