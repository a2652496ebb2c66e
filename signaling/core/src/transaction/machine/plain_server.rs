//! The non-INVITE server transaction (RFC 3261 17.2.2).

use smallvec::smallvec;

use super::{Action, Actions, Class, State, Timer};
use crate::transaction::{Cause, Timing};

/// What happens to it.
#[derive(Clone, Copy, Debug)]
pub(in crate::transaction) enum Input {
    /// The request again.
    Retransmission,
    /// The transaction user responds.
    Respond(Class),
    Timer(Timer),
    TransportError,
}

/// The machine.
#[derive(Debug)]
pub(in crate::transaction) struct PlainServer {
    state: State,
    reliable: bool,
}

impl PlainServer {
    /// Trying, with the request handed to the transaction user.
    ///
    /// The client gives up after 64*T1, and a response after that does harm (RFC 4320 4.2), so a
    /// transaction that is not answered by then is over.
    pub(in crate::transaction) fn start(timing: &Timing, reliable: bool) -> (Self, Actions) {
        let machine = PlainServer { state: State::Trying, reliable };
        (machine, smallvec![Action::Start(Timer::Deadline, timing.timeout())])
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
            Input::Respond(Class::Provisional) => {
                self.state = State::Proceeding;
                smallvec![Action::SendNew]
            }
            Input::Respond(Class::Success | Class::Failure) => self.complete(timing),
            Input::Timer(Timer::Deadline) => self.fail(Cause::Timeout),
            Input::Retransmission | Input::Timer(Timer::Retransmit) | Input::TransportError => {
                smallvec![]
            }
        }
    }

    fn proceeding(&mut self, timing: &Timing, input: Input) -> Actions {
        match input {
            Input::Retransmission => smallvec![Action::SendLast],
            Input::Respond(Class::Provisional) => smallvec![Action::SendNew],
            Input::Respond(Class::Success | Class::Failure) => self.complete(timing),
            Input::Timer(Timer::Deadline) => self.fail(Cause::Timeout),
            Input::TransportError => self.fail(Cause::Transport),
            Input::Timer(Timer::Retransmit) => smallvec![],
        }
    }

    fn complete(&mut self, timing: &Timing) -> Actions {
        if self.reliable {
            self.state = State::Terminated;
            return smallvec![Action::SendNew, Action::End];
        }
        self.state = State::Completed;
        // Timer J.
        smallvec![Action::SendNew, Action::Start(Timer::Deadline, timing.timeout())]
    }

    fn completed(&mut self, input: Input) -> Actions {
        match input {
            Input::Retransmission => smallvec![Action::SendLast],
            Input::Timer(Timer::Deadline) => {
                self.state = State::Terminated;
                smallvec![Action::End]
            }
            Input::TransportError => self.fail(Cause::Transport),
            Input::Respond(Class::Provisional | Class::Success | Class::Failure)
            | Input::Timer(Timer::Retransmit) => smallvec![],
        }
    }

    fn fail(&mut self, cause: Cause) -> Actions {
        self.state = State::Terminated;
        smallvec![Action::Fail(cause), Action::End]
    }
}
