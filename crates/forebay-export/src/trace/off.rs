use super::Loudness;
use crate::{Endpoint, ExportError, response_classifier::Unread};
use forebay_core::{BoxError, ConfigError, Totals};
use std::task::Context;

#[derive(Debug, Default)]
pub(crate) struct Bell {}

#[derive(Default)]
pub(crate) struct Losses {}

// === impl Bell ===

impl Bell {
    #[inline(always)]
    pub(crate) fn ring(&self) {}
}

// === impl Losses ===

impl Losses {
    #[inline(always)]
    pub(crate) fn look(&mut self, _: &str, _: Loudness, _: &Bell, _: impl Fn() -> Totals, _: &mut Context<'_>) {}
}

#[inline(always)]
pub(crate) fn request_failed(_: &BoxError) {}

#[inline(always)]
pub(crate) fn unreadable(_: Unread) {}

#[inline(always)]
pub(crate) fn export_failed(_: &str, _: &ExportError) {}

#[inline(always)]
pub(crate) fn setting_ignored(_: &str, _: Loudness, _: &ConfigError) {}

#[inline(always)]
pub(crate) fn switched(_: &str, _: bool) {}

#[inline(always)]
pub(crate) fn endpoint_changed(_: &str, _: &Endpoint) {}

#[inline(always)]
pub(crate) fn endpoints_changed(_: &str, _: usize) {}

#[inline(always)]
pub(crate) fn lookup_failed(_: &str) {}

#[inline(always)]
pub(crate) fn addresses_refused(_: usize) {}

#[inline(always)]
pub(crate) fn fallback_used(_: &str) {}

#[inline(always)]
pub(crate) fn credential_fetched(_: bool) {}
