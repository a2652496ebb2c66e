//! The cluster as pure state: who its members are, what they may do, and which documents say so.
//!
//! The documents stand in the cluster's engine, a store with compare-and-set, under the names of
//! [`Key`]. They are JSON, so that an operator can read them with the engine's own tools; fields that
//! a version does not know are passed over, so that versions can be mixed while a new one is rolled
//! out. Nothing here does I/O or knows a clock: engine values, outcomes, the mesh's news and the time
//! come in as arguments.

mod controller;
mod document;
mod id_table;
mod ids;
mod key;
mod member;
pub mod membership;
mod ranges;
mod role;
mod settings;
mod token_keys;
mod view;

pub use controller::{ControllerLease, Holder};
pub use document::{DOCUMENT_BYTES_MAX, Document, Unreadable};
pub use id_table::{IdTable, NAMES_MAX, NoIdLeft};
pub use ids::{
    Epoch, Incarnation, Instance, MemberId, MemberName, Revision, Term, UnixMillis, UnixSeconds,
};
pub use key::Key;
pub use member::{
    Capacity, Incarnate, Load, Member, MemberRecord, Presence, Profile, SipAddress, Versions,
};
pub use ranges::{CLAIMS_MAX, Claim, Overlap, Ranges};
pub use role::{Farm, FarmSetting, Placement, PlacementSetting, Role, Surroundings};
pub use settings::{
    AUDIT_MAX, Audit, Change, LocalSettings, Scope, SettingKey, SettingsDocument, VALUE_BYTES_MAX,
};
pub use token_keys::{Salt, TokenKeys, TokenSalt};
pub use view::{MEMBERS_MAX, View};
