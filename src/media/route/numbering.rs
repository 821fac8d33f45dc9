//! Outgoing sequence numbers: continuous where the relay leaves packets out, with the publisher's gaps where it lost them.

use std::collections::VecDeque;

/// Runs of left-out packets that are remembered: half of 30 frames a second for two seconds. A packet later than that finds
/// no number and is dropped.
const MAX_RUNS: usize = 32;

/// Maps the extended sequence numbers of the current layer to outgoing ones.
#[derive(Debug)]
pub(super) struct Numbering {
    /// Nothing below this incoming number is forwarded.
    start: u64,
    /// The newest incoming number.
    newest: u64,
    /// The newest outgoing number.
    outgoing: u64,
    /// In force behind the last run: that of the newest number. Here, so that a packet in order does not look at the runs.
    shift: Shift,
    /// In force from `start` to the first run.
    first: Shift,
    /// Runs left out by choice, oldest first.
    runs: VecDeque<Run>,
}

/// What to take off incoming numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Shift {
    sequence: u64,
    pictures: u16,
}

/// Incoming numbers left out, without a break, and the shift behind them.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    last: u64,
    shift: Shift,
}

impl Numbering {
    /// The extended outgoing number begins in cycle 1, so that arithmetic around it stays above zero.
    pub(super) fn new(initial: u16) -> Self {
        let outgoing = (1 << 16 | u64::from(initial)) - 1;
        Self { start: 0, newest: 0, outgoing, shift: Shift::default(), first: Shift::default(), runs: VecDeque::new() }
    }

    /// Starts anew with this incoming number, behind what went out and `gap` free numbers.
    pub(super) fn begin(&mut self, sequence: u64, gap: u64, pictures: u16) {
        self.start = sequence;
        self.newest = sequence.wrapping_sub(1);
        self.first = Shift { sequence: sequence.wrapping_sub(self.outgoing + 1 + gap), pictures };
        self.shift = self.first;
        self.runs.clear();
    }

    pub(super) fn is_late(&self, sequence: u64) -> bool {
        // Below zero only right behind `begin(0)`.
        sequence <= self.newest && self.newest != u64::MAX
    }

    /// How far a number lies ahead of the newest.
    pub(super) fn jump(&self, sequence: u64) -> u64 {
        sequence.wrapping_sub(self.newest)
    }

    /// What to take off the picture ids of new frames.
    pub(super) fn pictures(&self) -> u16 {
        self.shift.pictures
    }

    /// The outgoing number of a new packet.
    pub(super) fn take(&mut self, sequence: u64) -> u64 {
        self.newest = sequence;
        self.outgoing = sequence.wrapping_sub(self.shift.sequence);
        self.outgoing
    }

    /// Leaves a new packet out: later ones move up by one, and pictures too where a frame ends its life here.
    pub(super) fn close(&mut self, sequence: u64, new_frame: bool) {
        self.newest = sequence;
        self.shift.sequence = self.shift.sequence.wrapping_add(1);
        self.shift.pictures = self.shift.pictures.wrapping_add(u16::from(new_frame));
        if let Some(run) = self.runs.back_mut()
            && run.last.wrapping_add(1) == sequence
        {
            run.last = sequence;
            run.shift = self.shift;
            return;
        }
        if self.runs.len() >= MAX_RUNS
            && let Some(oldest) = self.runs.pop_front()
        {
            self.start = oldest.last.wrapping_add(1);
            self.first = oldest.shift;
        }
        self.runs.push_back(Run { first: sequence, last: sequence, shift: self.shift });
    }

    /// The outgoing number kept free for a late packet, and what to take off its picture id; `None` where it has none.
    pub(super) fn late(&self, sequence: u64) -> Option<(u64, u16)> {
        if sequence < self.start {
            return None;
        }
        let mut shift = self.first;
        for run in self.runs.iter().rev() {
            if sequence > run.last {
                shift = run.shift;
                break;
            }
            if sequence >= run.first {
                return None;
            }
        }
        Some((sequence.wrapping_sub(shift.sequence), shift.pictures))
    }

    /// The number of a packet that stands behind all others and comes from nobody; a new beginning must follow.
    pub(super) fn append(&mut self) -> u64 {
        self.outgoing += 1;
        self.outgoing
    }

    /// A late packet went out under its number.
    pub(super) fn filled(&mut self, outgoing: u64) {
        self.outgoing = self.outgoing.max(outgoing);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
    }
}
