//! The INVITE server transaction (RFC 3261 17.2.1, RFC 6026 8.5).

use smallvec::smallvec;

use super::{Action, Actions, Backoff, Class, State, Timer};
use crate::transaction::{Cause, Timing};

/// What happens to it.
#[derive(Clone, Copy, Debug)]
pub(in crate::transaction) enum Input {
    /// The INVITE again.
    Retransmission,
    Ack,
    /// The transaction user responds.
    Respond(Class),
    Timer(Timer),
    TransportError,
}

/// The machine.
#[derive(Debug)]
pub(in crate::transaction) struct InviteServer {
    state: State,
    reliable: bool,
    /// A response has been sent that can be sent again.
    responded: bool,
    interval: Backoff,
}

impl InviteServer {
    /// Proceeding, with the request handed to the transaction user.
    pub(in crate::transaction) fn start(timing: &Timing, reliable: bool) -> (Self, Actions) {
        let interval = Backoff::new(timing);
        let state = State::Proceeding;
        let machine = InviteServer { state, reliable, responded: false, interval };
        (machine, smallvec![Action::Start(Timer::Deadline, timing.proceeding_max)])
    }

    pub(in crate::transaction) const fn state(&self) -> State {
        self.state
    }

    pub(in crate::transaction) fn handle(&mut self, timing: &Timing, input: Input) -> Actions {
        match self.state {
            State::Proceeding => self.proceeding(timing, input),
            State::Completed => self.completed(timing, input),
            State::Confirmed => self.confirmed(input),
            State::Accepted => self.accepted(input),
            State::Calling | State::Trying | State::Terminated => smallvec![],
        }
    }

    fn proceeding(&mut self, timing: &Timing, input: Input) -> Actions {
        match input {
            Input::Retransmission if self.responded => smallvec![Action::SendLast],
            Input::Retransmission => smallvec![],
            Input::Respond(Class::Provisional) => {
                self.responded = true;
                smallvec![Action::SendNew, Action::Start(Timer::Deadline, timing.proceeding_max),]
            }
            Input::Respond(Class::Success) => {
                self.state = State::Accepted;
                // Timer L.
                smallvec![Action::SendNew, Action::Start(Timer::Deadline, timing.timeout())]
            }
            Input::Respond(Class::Failure) => self.complete(timing),
            // Nothing final has been sent that it could acknowledge.
            Input::Ack => smallvec![Action::Pass],
            Input::Timer(Timer::Deadline) => self.fail(Cause::Timeout),
            Input::Timer(Timer::Retransmit) => smallvec![],
            Input::TransportError => smallvec![Action::Fail(Cause::Transport)],
        }
    }

    fn complete(&mut self, timing: &Timing) -> Actions {
        self.state = State::Completed;
        // Timer H.
        let mut actions: Actions =
            smallvec![Action::SendNew, Action::Start(Timer::Deadline, timing.timeout())];
        if !self.reliable {
            // Timer G.
            actions.push(Action::Start(Timer::Retransmit, timing.t1));
        }
        actions
    }

    fn completed(&mut self, timing: &Timing, input: Input) -> Actions {
        match input {
            Input::Retransmission => smallvec![Action::SendLast],
            Input::Ack => self.confirm(timing),
            Input::Timer(Timer::Retransmit) => smallvec![
                Action::SendLast,
                Action::Start(Timer::Retransmit, self.interval.double_to_t2(timing)),
            ],
            Input::Timer(Timer::Deadline) => self.fail(Cause::Timeout),
            Input::TransportError => smallvec![Action::Fail(Cause::Transport)],
            Input::Respond(Class::Provisional | Class::Success | Class::Failure) => smallvec![],
        }
    }

    fn confirm(&mut self, timing: &Timing) -> Actions {
        if self.reliable {
            return self.end();
        }
        self.state = State::Confirmed;
        // Timer I.
        smallvec![Action::Stop(Timer::Retransmit), Action::Start(Timer::Deadline, timing.t4)]
    }

    fn confirmed(&mut self, input: Input) -> Actions {
        match input {
            Input::Timer(Timer::Deadline) => self.end(),
            Input::Retransmission
            | Input::Ack
            | Input::Respond(Class::Provisional | Class::Success | Class::Failure)
            | Input::Timer(Timer::Retransmit)
            | Input::TransportError => smallvec![],
        }
    }

    fn accepted(&mut self, input: Input) -> Actions {
        match input {
            Input::Respond(Class::Success) => smallvec![Action::SendNew],
            Input::Ack => smallvec![Action::Pass],
            Input::Timer(Timer::Deadline) => self.end(),
            Input::TransportError => smallvec![Action::Fail(Cause::Transport)],
            Input::Retransmission
            | Input::Respond(Class::Provisional | Class::Failure)
            | Input::Timer(Timer::Retransmit) => smallvec![],
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
