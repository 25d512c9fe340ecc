//! What the examples around tonic share.

mod empty;

pub use self::empty::Empty;
