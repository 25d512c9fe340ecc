use std::fmt;

/// A bit for each status from 0 to 1023; `StatusCode` goes to 999.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct StatusSet([u64; 16]);

// === impl StatusSet ===

impl StatusSet {
    pub(super) const NONE: Self = Self([0; 16]);
    pub(super) const ALL: Self = Self([u64::MAX; 16]);

    pub(super) const fn with(mut self, status: u16) -> Self {
        self.0[(status / 64) as usize] |= 1 << (status % 64);
        self
    }

    /// With `first`, `last`, and every status between the two.
    pub(super) const fn with_all(mut self, first: u16, last: u16) -> Self {
        let mut status = first;
        while status <= last {
            self = self.with(status);
            status += 1;
        }
        self
    }

    pub(super) const fn without(mut self, status: u16) -> Self {
        self.0[(status / 64) as usize] &= !(1 << (status % 64));
        self
    }

    pub(super) const fn has(&self, status: u16) -> bool {
        self.0[(status / 64) as usize] & (1 << (status % 64)) != 0
    }
}

impl fmt::Debug for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As ranges: `lenient` holds 996 of the 1000 codes.
        let mut list = f.debug_list();
        let mut status = 0;
        while status < 1000 {
            let start = status;
            while status < 1000 && self.has(status) {
                status += 1;
            }
            if status > start {
                list.entry(&(start..=status - 1));
            }
            status += 1;
        }
        list.finish()
    }
}
