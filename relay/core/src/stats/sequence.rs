//! Extended sequence numbers and loss (RFC 3550 A.1 and A.3), duplicates told from late packets.

/// RFC 3550 A.1: a gap below this many packets is loss, a larger one a restarted sender.
const DROPOUT_MAX: u16 = 3000;
/// RFC 3550 A.1: a packet this far behind is late, one further behind a restarted sender.
const MISORDER_MAX: u16 = 100;
/// The first cycle, so that a late packet from before the first one has a number too.
const CYCLE: u64 = 1 << 16;

/// What a packet's sequence number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is ahead of all before it.
    New,
    /// It fills a gap.
    Late,
    /// It was here before.
    Duplicate,
    /// It is far off: perhaps the sender restarted. Neither expected nor received.
    Suspect,
    /// The second in sequence after the jump: the sender restarted. What was lost until then.
    Restarted { lost: u64 },
}

/// The sequence numbers of one source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    /// The lowest and the highest extended number.
    base: u64,
    highest: u64,
    /// Distinct packets among them.
    received: u64,
    /// Bit n: `highest - n` has arrived.
    arrived: u64,
    /// What follows the last suspect packet.
    suspect: Option<u16>,
}

impl Sequence {
    /// Nothing has arrived; `first` is about to.
    pub(super) fn starting_before(first: u16) -> Sequence {
        let first = CYCLE + u64::from(first);
        Sequence { base: first, highest: first - 1, received: 0, arrived: 0, suspect: None }
    }

    pub(super) fn step(&mut self, number: u16) -> Step {
        // The low 16 bits are the sequence number, the rest counts cycles.
        let ahead = number.wrapping_sub(self.highest as u16);
        let behind = ahead.wrapping_neg();
        if (1..DROPOUT_MAX).contains(&ahead) {
            self.advance(ahead)
        } else if behind < MISORDER_MAX {
            self.fill(behind)
        } else if self.suspect == Some(number) {
            let lost = self.lost();
            *self = Sequence::starting_before(number);
            self.advance(1);
            Step::Restarted { lost }
        } else {
            self.suspect = Some(number.wrapping_add(1));
            Step::Suspect
        }
    }

    fn advance(&mut self, ahead: u16) -> Step {
        self.highest += u64::from(ahead);
        self.received += 1;
        self.arrived = self.arrived.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
        self.suspect = None;
        Step::New
    }

    fn fill(&mut self, behind: u16) -> Step {
        // Past the window nobody remembers whether it had arrived: it counts as late.
        let bit = 1_u64.checked_shl(u32::from(behind)).unwrap_or(0);
        if self.arrived & bit != 0 {
            return Step::Duplicate;
        }
        self.arrived |= bit;
        self.base = self.base.min(self.highest - u64::from(behind));
        self.received += 1;
        Step::Late
    }

    /// RFC 3550 A.3, not below 0.
    pub(super) fn lost(&self) -> u64 {
        (self.highest + 1 - self.base).saturating_sub(self.received)
    }
}
