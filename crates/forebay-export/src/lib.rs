#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod encode;

pub use self::encode::{BodyTooLarge, Encode, Skipped};
