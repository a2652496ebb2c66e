//! The non-INVITE client transaction (RFC 3261 17.1.2).

use smallvec::smallvec;

use super::{Action, Actions, Backoff, Class, State, Timer};
use crate::transaction::{Cause, Timing};

/// What happens to it.
#[derive(Clone, Copy, Debug)]
pub(in crate::transaction) enum Input {
    Response(Class),
    Timer(Timer),
    TransportError,
}

/// The machine.
#[derive(Debug)]
pub(in crate::transaction) struct PlainClient {
    state: State,
    reliable: bool,
    interval: Backoff,
}

impl PlainClient {
    /// Trying, with the request on its way.
    pub(in crate::transaction) fn start(timing: &Timing, reliable: bool) -> (Self, Actions) {
        let machine =
            PlainClient { state: State::Trying, reliable, interval: Backoff::new(timing) };
        let mut actions: Actions = smallvec![Action::SendRequest];
        if !reliable {
            // Timer E.
            actions.push(Action::Start(Timer::Retransmit, timing.t1));
        }
        // Timer F.
        actions.push(Action::Start(Timer::Deadline, timing.timeout()));
        (machine, actions)
    }

    pub(in crate::transaction) const fn state(&self) -> State {
        self.state
    }

    pub(in crate::transaction) fn handle(&mut self, timing: &Timing, input: Input) -> Actions {
        match self.state {
            State::Trying => self.trying(timing, input),
            State::Proceeding => self.proceeding(timing, input),
            State::Completed => self.completed(input),
            State::Calling | State::Confirmed | State::Accepted | State::Terminated => smallvec![],
        }
    }

    fn trying(&mut self, timing: &Timing, input: Input) -> Actions {
        match input {
            Input::Response(Class::Provisional) => {
                self.state = State::Proceeding;
                smallvec![Action::Pass]
            }
            Input::Response(Class::Success | Class::Failure) => self.complete(timing),
            Input::Timer(Timer::Retransmit) => smallvec![
                Action::SendRequest,
                Action::Start(Timer::Retransmit, self.interval.double_to_t2(timing)),
            ],
            Input::Timer(Timer::Deadline) => self.fail(Cause::Timeout),
            Input::TransportError => self.fail(Cause::Transport),
        }
    }

    fn proceeding(&mut self, timing: &Timing, input: Input) -> Actions {
        match input {
            Input::Response(Class::Provisional) => smallvec![Action::Pass],
            Input::Response(Class::Success | Class::Failure) => self.complete(timing),
            Input::Timer(Timer::Retransmit) => {
                smallvec![Action::SendRequest, Action::Start(Timer::Retransmit, timing.t2),]
            }
            Input::Timer(Timer::Deadline) => self.fail(Cause::Timeout),
            Input::TransportError => self.fail(Cause::Transport),
        }
    }

    fn complete(&mut self, timing: &Timing) -> Actions {
        let mut actions: Actions = smallvec![Action::Stop(Timer::Retransmit), Action::Pass];
        if self.reliable {
            self.state = State::Terminated;
            actions.push(Action::End);
        } else {
            self.state = State::Completed;
            // Timer K.
            actions.push(Action::Start(Timer::Deadline, timing.t4));
        }
        actions
    }

    fn completed(&mut self, input: Input) -> Actions {
        match input {
            Input::Timer(Timer::Deadline) => {
                self.state = State::Terminated;
                smallvec![Action::End]
            }
            Input::Response(Class::Provisional | Class::Success | Class::Failure)
            | Input::Timer(Timer::Retransmit)
            | Input::TransportError => smallvec![],
        }
    }

    fn fail(&mut self, cause: Cause) -> Actions {
        self.state = State::Terminated;
        smallvec![Action::Fail(cause), Action::End]
    }
}
