//! The ng side of a node: its settings in the words of the core, and its place in the event loop.

use std::time::Instant;

use control_core::settings::Settings;
use relay_core::api::CloseCause;
use signaling_core::call::log_name;
use signaling_core::ng::{Config, Interface, Ng, Record};
use signaling_core::transport::ListenerId;

use super::calls_log;
use super::media::MediaSettings;
use super::translate::{KernelRoutes, learning, unix};

/// The core, and the listener whose datagrams are its own.
pub(super) struct NgSide {
    pub(super) listener: ListenerId,
    pub(super) core: Ng,
}

/// The ng side as the settings want it.
pub(super) fn core(settings: &Settings, media: MediaSettings) -> Ng {
    let interface = |interface: &control_core::settings::Interface| Interface {
        name: interface.name.to_string(),
        address: interface.address,
        advertised: interface.advertise,
    };
    let config = Config {
        allow: settings.ng.controllers(),
        interfaces: settings.ng.interfaces.iter().map(interface).collect(),
        learning: learning(settings),
        calls_max: settings.limits.sessions,
        call_lifetime: settings.limits.call_lifetime_s.duration(),
        unix: unix(),
    };
    Ng::new(Instant::now(), config, Box::new(KernelRoutes::default()), Box::new(media))
}

/// Logs a session that has ended.
pub(super) fn record(record: &Record) {
    let end = match record.cause {
        CloseCause::Asked => "deleted",
        CloseCause::Idle(_) => "media idle",
        CloseCause::WorkerLost => "media worker lost",
        CloseCause::Unknown => "not known to the relay",
    };
    tracing::info!(
        call_id = log_name(&record.call_id),
        end,
        duration_ms = u64::try_from(record.report.lifetime.as_millis()).unwrap_or(u64::MAX),
        media = calls_log::media(std::slice::from_ref(&record.report)),
        "ng session ended"
    );
}
