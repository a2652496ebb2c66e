//! The node's media as it can change while calls go on: the addresses that peers are told, and the range of
//! ports. What calls have, they keep.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};

use control_core::settings::{AddressPair, Media, MediaPlace, PortRange};
use relay_engine::{Engine, Generation};
use signaling_core::proxy::config::{MediaAddresses, Place};

use super::kernel::Kernel;

/// The settings of media, of which the WAN IP may change. Read once for each session that is made.
#[derive(Clone)]
pub(super) struct MediaSettings(Arc<RwLock<Media>>);

impl MediaSettings {
    pub(super) fn new(media: &Media) -> MediaSettings {
        MediaSettings(Arc::new(RwLock::new(media.clone())))
    }

    fn read(&self) -> RwLockReadGuard<'_, Media> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MediaAddresses for MediaSettings {
    fn bind(&self, signaling: IpAddr) -> IpAddr {
        self.read().local_address(signaling)
    }

    fn advertised(&self, local: IpAddr) -> IpAddr {
        self.read().advertised_address(local)
    }

    fn place(&self, peer: IpAddr, facing: IpAddr) -> Option<Place> {
        let MediaPlace { local, advertised } = self.read().place(peer, facing)?;
        Some(Place { local, advertised })
    }
}

/// By which new calls are given other media.
#[derive(Clone)]
pub(crate) struct MediaSide {
    settings: MediaSettings,
    /// Weak: whoever holds this must not keep the workers from ending with the node.
    engine: Weak<Engine>,
}

impl MediaSide {
    pub(super) fn new(settings: MediaSettings, engine: &Arc<Engine>) -> MediaSide {
        MediaSide { settings, engine: Arc::downgrade(engine) }
    }

    /// The ports that the node was started with.
    pub(crate) fn ports(&self) -> PortRange {
        self.settings.read().ports
    }

    /// What peers of new calls are told, where their network says nothing else; of a family without one
    /// here they are told the local address.
    pub(crate) fn set_wan_ip(&self, wan_ip: AddressPair) {
        let mut media = self.settings.0.write().unwrap_or_else(PoisonError::into_inner);
        // It is what comes of both.
        (media.wan_ip, media.cluster_wan_ip) = (wan_ip, AddressPair::default());
    }

    /// New calls get ports of this range.
    ///
    /// # Errors
    /// In words; those before stay in use.
    pub(crate) fn set_ports(&self, ports: PortRange) -> Result<Generation, String> {
        let engine = self.engine.upgrade().ok_or("the node ends")?;
        let generation = engine.set_ports(ports.range()).map_err(|error| error.to_string())?;
        for line in Kernel::read().advice(ports) {
            tracing::warn!("{line}");
        }
        Ok(generation)
    }

    /// Earlier ranges that are in use; the first is the default.
    pub(crate) fn retired(&self) -> Vec<Generation> {
        self.engine.upgrade().map(|engine| engine.ports_retired()).unwrap_or_default()
    }
}
