//! Extended sequence numbers and loss (RFC 3550 A.1 and A.3), duplicates told from late packets.

/// RFC 3550 A.1: a gap below this many packets is loss, a larger one a restarted sender.
const DROPOUT_MAX: u16 = 3000;
/// RFC 3550 A.1: a packet this far behind is late, one further behind a restarted sender.
const MISORDER_MAX: u16 = 100;

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

/// The sequence numbers of one source. Every stream has eight of these, so they are kept small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    /// Packets expected less packets received (RFC 3550 A.3). Below 0 where late packets were taken
    /// for new ones.
    missing: i64,
    /// Bit n: `highest - n` has arrived.
    arrived: u64,
    highest: u16,
    /// How many numbers are expected from the lowest to the highest; stays at the largest.
    span: u16,
    /// What follows the last suspect packet.
    suspect: Option<u16>,
}

impl Sequence {
    /// Nothing has arrived; `first` is about to.
    pub(super) fn starting_before(first: u16) -> Sequence {
        let highest = first.wrapping_sub(1);
        Sequence { missing: 0, arrived: 0, highest, span: 0, suspect: None }
    }

    pub(super) fn step(&mut self, number: u16) -> Step {
        let ahead = number.wrapping_sub(self.highest);
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
        self.highest = self.highest.wrapping_add(ahead);
        self.span = self.span.saturating_add(ahead);
        self.missing += i64::from(ahead) - 1;
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
        // The lowest number so far may be above this one.
        let more = (behind + 1).saturating_sub(self.span);
        self.span += more;
        self.missing += i64::from(more) - 1;
        Step::Late
    }

    /// RFC 3550 A.3, not below 0.
    pub(super) fn lost(&self) -> u64 {
        u64::try_from(self.missing).unwrap_or(0)
    }
}
