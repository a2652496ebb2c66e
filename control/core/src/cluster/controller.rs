//! `controller`: who publishes views.

use serde::{Deserialize, Serialize};

use super::document::{Document, documents};
use super::ids::{Instance, MemberName, Term};
use super::member::Incarnate;

/// The Controller's lease. It is held for as long as the key's revision moves; whoever has watched it
/// stand still for the time of a lease may take it over, with the next term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerLease {
    /// The document's version.
    pub version: u16,
    /// The number of this holding.
    pub term: Term,
    /// Who holds it; `None`: it was given back.
    pub holder: Option<Holder>,
    /// How often it has been renewed in this term.
    pub beat: u64,
}

documents! {
    ControllerLease: "the Controller's lease", 1;
}

/// Who holds the Controller's lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The member's name.
    pub name: MemberName,
    /// Which start of it.
    pub incarnate: Incarnate,
    /// Its process.
    pub instance: Instance,
}

impl ControllerLease {
    /// A lease that `holder` takes for `term`.
    #[must_use]
    pub fn taken(term: Term, holder: Holder) -> ControllerLease {
        ControllerLease { version: ControllerLease::VERSION, term, holder: Some(holder), beat: 1 }
    }

    /// The same lease, renewed.
    #[must_use]
    pub fn renewed(&self) -> ControllerLease {
        ControllerLease { beat: self.beat.saturating_add(1), ..self.clone() }
    }

    /// The lease, given back.
    #[must_use]
    pub fn given_back(&self) -> ControllerLease {
        ControllerLease { holder: None, ..self.renewed() }
    }
}
