//! Cross-crate tests of forebay; there is nothing here to use.
