//! The SIP wire format (RFC 3261 7, 25): parsing without copying, editing without touching the rest,
//! and building.
//!
//! [`Message`] notes where the parts of a message are and reads only what every message must have;
//! everything else is read when asked for. Header values stay the bytes that were received.
//! [`Edit`] makes a changed copy in which every other header line keeps its bytes and its order.

mod addr;
mod auth;
mod carry;
mod chars;
pub(crate) mod digits;
mod edit;
mod framer;
mod host;
mod index;
mod limits;
mod list;
mod malformed;
mod media_type;
mod message;
mod method;
mod name;
mod name_lookup;
mod params;
mod parse;
mod reason;
mod request;
mod response;
mod salvage;
mod scan;
mod span;
mod stamp;
mod uri;
mod uri_compare;
mod via;
mod write;

pub use addr::{Contact, NameAddr};
pub use auth::AuthValue;
pub use edit::Edit;
pub use framer::{Frame, FramingError, StreamFramer};
pub use host::Host;
pub use limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, Limits};
pub use malformed::{Answer, BadHeader, Defect, Malformed, is_keep_alive};
pub use media_type::MediaType;
pub use message::{CSeq, Header, Message};
pub use method::{Method, NotAMethod, OtherMethod};
pub use name::{FieldName, HeaderName};
pub(crate) use params::unquote;
pub use params::{Param, Params, ParamsIter};
pub use parse::CSEQ_MAX;
pub use reason::default_reason;
pub use request::{MAX_FORWARDS_DEFAULT, RequestBuilder};
pub use response::{Reply, ResponseBuilder};
pub use stamp::{stamp_source, stamped_message};
pub use uri::{BadUri, Scheme, Uri};
pub(crate) use uri_compare::unescape;
pub use via::{BRANCH_MAGIC, Rport, SIP_PORT_DEFAULT, SIPS_PORT_DEFAULT, Via};
