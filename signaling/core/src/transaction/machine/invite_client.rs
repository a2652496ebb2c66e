//! The INVITE client transaction (RFC 3261 17.1.1, RFC 6026 8.4).

use smallvec::smallvec;

use super::{Action, Actions, Backoff, Class, State, Timer};
use crate::transaction::{Cause, Timing};

/// Timer D on an unreliable transport lasts at least this long (RFC 3261 17.1.1.2).
const TIMER_D_MIN: std::time::Duration = std::time::Duration::from_secs(32);

/// Where RFC 3261 9.1 stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    /// Not asked for.
    No,
    /// Asked for before a provisional response: nothing may be sent yet.
    Wanted,
    /// Sent.
    Sent,
}

/// What happens to it.
#[derive(Clone, Copy, Debug)]
pub(in crate::transaction) enum Input {
    Response(Class),
    Cancel,
    Timer(Timer),
    TransportError,
}

/// The machine.
#[derive(Debug)]
pub(in crate::transaction) struct InviteClient {
    state: State,
    reliable: bool,
    interval: Backoff,
    cancel: Cancel,
}

impl InviteClient {
    /// Calling, with the request on its way.
    pub(in crate::transaction) fn start(timing: &Timing, reliable: bool) -> (Self, Actions) {
        let interval = Backoff::new(timing);
        let machine =
            InviteClient { state: State::Calling, reliable, interval, cancel: Cancel::No };
        let mut actions: Actions = smallvec![Action::SendRequest];
        if !reliable {
            // Timer A.
            actions.push(Action::Start(Timer::Retransmit, timing.t1));
        }
        // Timer B.
        actions.push(Action::Start(Timer::Deadline, timing.timeout()));
        (machine, actions)
    }

    pub(in crate::transaction) const fn state(&self) -> State {
        self.state
    }

    pub(in crate::transaction) fn handle(&mut self, timing: &Timing, input: Input) -> Actions {
        match self.state {
            State::Calling => self.calling(timing, input),
            State::Proceeding => self.proceeding(timing, input),
            State::Completed => self.completed(input),
            State::Accepted => self.accepted(input),
            State::Trying | State::Confirmed | State::Terminated => smallvec![],
        }
    }

    fn calling(&mut self, timing: &Timing, input: Input) -> Actions {
        match input {
            Input::Response(Class::Provisional) => {
                self.state = State::Proceeding;
                let mut actions: Actions = smallvec![
                    Action::Stop(Timer::Retransmit),
                    Action::Pass,
                    Action::Start(Timer::Deadline, timing.proceeding_max),
                ];
                if self.cancel == Cancel::Wanted {
                    actions.extend(self.send_cancel(timing));
                }
                actions
            }
            Input::Response(Class::Success) => self.accept(timing),
            Input::Response(Class::Failure) => self.complete(timing),
            Input::Cancel => {
                self.cancel = Cancel::Wanted;
                smallvec![]
            }
            Input::Timer(Timer::Retransmit) => smallvec![
                Action::SendRequest,
                Action::Start(Timer::Retransmit, self.interval.double()),
            ],
            Input::Timer(Timer::Deadline) => self.fail(Cause::Timeout),
            Input::TransportError => self.fail(Cause::Transport),
        }
    }

    fn proceeding(&mut self, timing: &Timing, input: Input) -> Actions {
        match input {
            Input::Response(Class::Provisional) if self.cancel == Cancel::Sent => {
                smallvec![Action::Pass]
            }
            Input::Response(Class::Provisional) => {
                smallvec![Action::Pass, Action::Start(Timer::Deadline, timing.proceeding_max),]
            }
            Input::Response(Class::Success) => self.accept(timing),
            Input::Response(Class::Failure) => self.complete(timing),
            Input::Cancel if self.cancel == Cancel::Sent => smallvec![],
            Input::Cancel => self.send_cancel(timing),
            Input::Timer(Timer::Deadline) => self.fail(Cause::Timeout),
            Input::Timer(Timer::Retransmit) => smallvec![],
            // RFC 6026 8.4 has no such transition: the request has arrived, responses may yet.
            Input::TransportError => smallvec![],
        }
    }

    /// RFC 3261 9.1: without a final response 64*T1 after the CANCEL, the transaction is given up.
    fn send_cancel(&mut self, timing: &Timing) -> Actions {
        self.cancel = Cancel::Sent;
        smallvec![Action::SendCancel, Action::Start(Timer::Deadline, timing.timeout())]
    }

    fn accept(&mut self, timing: &Timing) -> Actions {
        self.state = State::Accepted;
        // Timer M.
        smallvec![
            Action::Stop(Timer::Retransmit),
            Action::Pass,
            Action::Start(Timer::Deadline, timing.timeout()),
        ]
    }

    fn complete(&mut self, timing: &Timing) -> Actions {
        let mut actions: Actions =
            smallvec![Action::Stop(Timer::Retransmit), Action::SendAck, Action::Pass];
        if self.reliable {
            self.state = State::Terminated;
            actions.push(Action::End);
        } else {
            self.state = State::Completed;
            // Timer D.
            actions.push(Action::Start(Timer::Deadline, timing.timeout().max(TIMER_D_MIN)));
        }
        actions
    }

    /// The final response has been passed on, so that a failure is nobody's concern any more.
    fn completed(&mut self, input: Input) -> Actions {
        match input {
            Input::Response(Class::Failure) => smallvec![Action::SendAck],
            Input::Response(Class::Success) => smallvec![Action::Stray],
            Input::Timer(Timer::Deadline) | Input::TransportError => self.end(),
            Input::Response(Class::Provisional)
            | Input::Cancel
            | Input::Timer(Timer::Retransmit) => {
                smallvec![]
            }
        }
    }

    fn accepted(&mut self, input: Input) -> Actions {
        match input {
            Input::Response(Class::Success) => smallvec![Action::Pass],
            Input::Timer(Timer::Deadline) => self.end(),
            Input::Response(Class::Provisional | Class::Failure)
            | Input::Cancel
            | Input::Timer(Timer::Retransmit)
            | Input::TransportError => smallvec![],
        }
    }

    fn fail(&mut self, cause: Cause) -> Actions {
        self.state = State::Terminated;
        smallvec![Action::Fail(cause), Action::End]
    }

    fn end(&mut self) -> Actions {
        self.state = State::Terminated;
        smallvec![Action::End]
    }
}
