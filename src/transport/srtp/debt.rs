//! Tags that are written later: those of a whole batch cost a quarter when they are made side by side.
//!
//! Whoever is handed a [`Debt`] may leave out the tag of one packet. The list of what is owed lies beside the batch. GCM owes
//! nothing and touches nothing here.
//!
//! Entry points: [`Debts::lend`], [`Debts::pay`].

use super::hmac::{HmacKey, wipe};
use super::together::{Signed, make_tags};
use std::fmt;

/// Tags owed at a time: what is hashed is then still in the second-level cache, as the batch that a worker sends at once is; 16 KiB.
const MOST: usize = 256;

/// The tags that the packets of a batch lack.
#[derive(Default)]
pub(in crate::transport) struct Debts {
    /// In the order of their places.
    owed: Vec<Signed>,
    order: Vec<u32>,
}

/// Leave to write the tag of one packet later.
pub struct Debt<'a> {
    debts: &'a mut Debts,
    start: usize,
}

impl fmt::Debug for Debts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Debts").field("owed", &self.owed.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Debt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Debt").finish_non_exhaustive()
    }
}

impl Debt<'_> {
    /// Owes the tag behind so many signed bytes.
    pub(super) fn owe(self, key: HmacKey, rollover_counter: [u8; 4], len: usize) {
        self.debts.owed.push(Signed { start: self.start, len, rollover_counter, key });
    }
}

impl Debts {
    /// Lets the tag of the packet that starts here be owed; the list must not be [full](Self::is_full).
    pub(in crate::transport) fn lend(&mut self, start: usize) -> Debt<'_> {
        debug_assert!(!self.is_full(), "paid before");
        Debt { debts: self, start }
    }

    /// Whether as much is owed as may be.
    pub(in crate::transport) fn is_full(&self) -> bool {
        self.owed.len() >= MOST
    }

    /// Forgets what is owed from a place on: those packets were given up.
    pub(in crate::transport) fn forget_from(&mut self, start: usize) {
        if self.owed.last().is_none_or(|owed| owed.start < start) {
            return;
        }
        let kept = self.owed.partition_point(|owed| owed.start < start);
        wipe(self.owed.get_mut(kept..).unwrap_or_default());
        self.owed.truncate(kept);
    }

    /// Writes all tags that are owed.
    pub(in crate::transport) fn pay(&mut self, bytes: &mut [u8]) {
        if self.owed.is_empty() {
            return;
        }
        let Self { owed, order } = self;
        make_tags(owed, order, bytes, |bytes, place, tag| {
            if let Some(owed) = owed.get(place) {
                owed.write(bytes, tag);
            }
        });
        wipe(owed);
        owed.clear();
    }

    /// Writes the tag of the packet that starts here, if it is the last that is owed.
    pub(in crate::transport) fn pay_last(&mut self, start: usize, bytes: &mut [u8]) {
        if let Some(owed) = self.owed.last().filter(|owed| owed.start == start) {
            let tag = owed.message(bytes).tag();
            owed.write(bytes, &tag);
            self.forget_from(start);
        }
    }
}

impl Drop for Debts {
    fn drop(&mut self) {
        wipe(&mut self.owed);
    }
}
