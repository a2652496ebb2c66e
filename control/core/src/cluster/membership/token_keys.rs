//! The keys of the farm's tokens, as far as the engine has had them.

use std::time::Instant;

use super::Membership;
use crate::cluster::{Change, Key, SettingKey};

impl Membership {
    /// Takes what stands in the engine, if it is further on. Keys never go back: an engine that has lost its
    /// data, or settings that cannot be read, would leave every token without a reader.
    pub(super) fn take_token_keys(&mut self) {
        let stored = self.store.cluster_settings.get().map(|settings| settings.token_keys());
        if let Some(further) = stored.filter(|stored| stored.is_after(&self.token_keys)) {
            self.token_keys = further;
        }
    }

    /// As Controller, writes them again where the engine has lost them: who joins has nobody else to ask.
    pub(super) fn restore_token_keys(&mut self, now: Instant) {
        let slot = &mut self.store.cluster_settings;
        if slot.is_unreadable() || !slot.is_free(now) {
            return;
        }
        let stored = slot.get().map(|settings| settings.token_keys()).unwrap_or_default();
        if !self.token_keys.is_after(&stored) {
            return;
        }
        let mut settings = slot.get().cloned().unwrap_or_default();
        let change = Change {
            key: SettingKey::TokenKeys,
            value: Some(self.token_keys.to_string()),
            by: format!("{}, which had them still", self.identity.name),
            at: self.unix(now),
        };
        settings.apply(&change);
        let slot = &mut self.store.cluster_settings;
        self.store.desk.write(slot, Key::ClusterSettings, settings, now);
    }
}
