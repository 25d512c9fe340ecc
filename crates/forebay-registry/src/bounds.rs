//! What keys, clients and configurations have to be, said once.

use std::hash::Hash;

pub(crate) trait Key: Hash + Eq + Clone + std::fmt::Debug + Send + Sync + 'static {}
impl<T: Hash + Eq + Clone + std::fmt::Debug + Send + Sync + 'static> Key for T {}

pub(crate) trait Client: Send + Sync + 'static {}
impl<T: Send + Sync + 'static> Client for T {}

pub(crate) trait Config: PartialEq + Clone + Send + Sync + 'static {}
impl<T: PartialEq + Clone + Send + Sync + 'static> Config for T {}
