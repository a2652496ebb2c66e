//! What waits to be taken out.

use std::collections::VecDeque;

use super::api::{Notice, Output};

/// Most notices that wait: whoever takes outputs after each input never has more than a few. Further
/// ones are dropped and counted.
const NOTICES_MAX: usize = 64;

/// Outputs in their order. All but notices are bounded by what they tell of: a view takes the place of
/// an older one, and the others come once each time that this member joins, leaves or is told to
/// change a setting.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    queue: VecDeque<Output>,
    notices: usize,
    dropped: u64,
}

impl Outputs {
    pub(super) fn put(&mut self, output: Output) {
        match &output {
            Output::ViewChanged(_) => {
                self.queue.retain(|other| !matches!(other, Output::ViewChanged(_)));
            }
            Output::ProfileChanged(_) => {
                self.queue.retain(|other| !matches!(other, Output::ProfileChanged(_)));
            }
            Output::Push { to, .. } => self
                .queue
                .retain(|other| !matches!(other, Output::Push { to: older, .. } if older == to)),
            Output::Engine(_)
            | Output::Joined(_)
            | Output::Fenced { .. }
            | Output::Refused(_)
            | Output::Left
            | Output::SettingChanged { .. }
            | Output::Notice(_) => {}
        }
        self.queue.push_back(output);
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        if self.notices >= NOTICES_MAX {
            self.dropped += 1;
            return;
        }
        self.notices += 1;
        self.put(Output::Notice(notice));
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        let output = self.queue.pop_front()?;
        if matches!(output, Output::Notice(_)) {
            self.notices -= 1;
        }
        Some(output)
    }

    /// Notices that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}
