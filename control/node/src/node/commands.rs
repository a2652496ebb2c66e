//! What a running node can be told: by its control socket, or by SIGHUP.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

use control_core::settings::Settings;
use serde_json::json;
use signaling_net::tls::Tls;
use tokio::sync::Notify;

use super::host_addresses::Watch;
use super::metrics::Figures;
use super::{Shared, bans, certificates, members, rotation, translate};
use crate::cluster::member::MemberHandle;
use crate::control::{Answer, Command};

/// How long the signaling thread may take to come to a question: it goes round in milliseconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Questions that wait for it. They come from the control socket, one at a time, and by SIGHUP.
const ASKED_MAX: usize = 16;

/// What only the signaling thread can do or knows.
pub(super) enum Ask {
    /// Look again at what may have changed outside; use these certificates from now on.
    Refresh { tls: Option<Tls> },
    /// List the bans.
    Bans,
    /// Ban a source for some time.
    Ban { source: IpAddr, time: Duration, reason: String },
    /// End the ban of a source.
    Unban { source: IpAddr },
    /// Take nothing new.
    Drain,
    /// The host has these addresses now.
    Addresses(Vec<IpAddr>),
}

/// Questions to the signaling thread, with where the answers go.
#[derive(Default)]
pub(super) struct Asks {
    waiting: Mutex<VecDeque<(Ask, mpsc::SyncSender<Answer>)>>,
}

impl Asks {
    /// The next question and where its answer goes.
    pub(super) fn next(&self) -> Option<(Ask, mpsc::SyncSender<Answer>)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Asks, wakes the signaling thread, and waits for its answer.
    fn ask(&self, ask: Ask, wake: &Notify) -> Answer {
        let (sender, answer) = mpsc::sync_channel(1);
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= ASKED_MAX {
                return Err("too many commands wait already".to_owned());
            }
            waiting.push_back((ask, sender));
        }
        wake.notify_one();
        let late = |_| "the signaling thread has not answered: it is busy or ending".to_owned();
        answer.recv_timeout(ANSWERED_WITHIN).map_err(late)?
    }
}

/// Carries out commands, on whichever thread they come.
pub(super) struct Commands {
    shared: Arc<Shared>,
    settings: Settings,
    /// `None`: the node is no member of a cluster.
    member: Option<MemberHandle>,
    addresses: Mutex<Watch>,
    ends: Mutex<certificates::Ends>,
    /// Of the keys by which members know each other.
    keys_end: Mutex<certificates::Ends>,
}

impl Commands {
    pub(super) fn new(
        shared: Arc<Shared>,
        settings: Settings,
        member: Option<MemberHandle>,
    ) -> Commands {
        let addresses = Mutex::new(Watch::new(&settings));
        let keys_end = Mutex::new(certificates::Ends::of_keys());
        let ends = Mutex::default();
        let commands = Commands { shared, settings, member, addresses, ends, keys_end };
        commands.keys_due_ends().iter().for_each(|text| tracing::warn!("{text}"));
        // What they are like at the start has been said when they were read.
        commands.due_ends();
        commands
    }

    /// Carries out one.
    pub(super) fn run(&self, command: Command) -> Answer {
        match command {
            Command::Refresh {} => self.refresh(),
            Command::Bans {} => self.ask(Ask::Bans),
            Command::Ban { source, minutes, reason } => {
                let time = Duration::from_secs(u64::from(minutes) * 60);
                bans::check(time, &reason)?;
                self.ask(Ask::Ban { source, time, reason })
            }
            Command::Unban { source } => self.ask(Ask::Unban { source }),
            Command::Drain {} => self.drain(),
            Command::Members {} => members::list(self.member()?, &self.figures()),
            Command::Remove { name, by } => members::remove(self.member()?, &name, by),
            Command::RotateKey { key: None, force, by } => {
                rotation::begin(self.member()?, force, &by)
            }
            Command::RotateKey { key: Some(number), force: _, by } => {
                rotation::go_on(self.member()?, number, &by)
            }
            Command::Settings { member, key } => {
                members::settings(self.member()?, member.as_deref(), key.as_deref())
            }
            Command::SettingsLog { member, limit } => {
                members::log(self.member()?, member.as_deref(), limit)
            }
            Command::Set { member, key, value, by } => {
                members::set(self.member()?, member.as_deref(), &key, value, by)
            }
            Command::Drained {} => {
                let figures = self.figures();
                Ok(json!({ "drained": figures.drained, "calls": figures.load.calls }))
            }
        }
    }

    fn member(&self) -> Result<&MemberHandle, String> {
        let none = "this node is no member of a cluster: cluster.state is not set in its settings; \
                    `ringfarm cluster init` or `ringfarm cluster join TOKEN` makes the keys for it";
        self.member.as_ref().ok_or_else(|| none.to_owned())
    }

    fn figures(&self) -> Figures {
        *self.shared.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Health checks and balancers find out first; then nothing new is taken, and the others are told.
    fn drain(&self) -> Answer {
        self.shared.draining.store(true, Ordering::Release);
        self.ask(Ask::Drain)?;
        if let Some(member) = &self.member {
            member.drain()?;
        }
        tracing::warn!("draining: nothing new is taken");
        Ok(json!({ "calls": self.figures().load.calls }))
    }

    fn ask(&self, ask: Ask) -> Answer {
        self.shared.asks.ask(ask, &self.shared.wake)
    }

    /// Reads the certificates anew; new connections use them. What cannot be read leaves the old ones
    /// in use. Forgets which of the host's addresses lead where, and looks which there are.
    fn refresh(&self) -> Answer {
        translate::reroute();
        let (tls, error) = match certificates::load(&self.settings) {
            Ok(tls) => (tls, None),
            Err(error) => (None, Some(format!("the certificates in use stay: {error}"))),
        };
        let count = tls.as_ref().map_or(0, |tls| tls.certificates().len());
        if let Some(tls) = &tls {
            self.shared.note_certificates(tls);
            self.due_ends();
        }
        let absent = self.look_at_addresses();
        let signaling = self.shared.asks.ask(Ask::Refresh { tls }, &self.shared.wake);
        match error.or(signaling.err()) {
            Some(error) => Err(error),
            None => Ok(json!({ "certificates": count, "absent_addresses": absent })),
        }
    }

    /// Warns of certificates whose end has come nearer.
    pub(super) fn look_at_certificates(&self) {
        let due = self.due_ends().into_iter().chain(self.keys_due_ends());
        due.for_each(|text| tracing::warn!("{text}"));
    }

    fn keys_due_ends(&self) -> Vec<String> {
        let Some(member) = &self.member else { return Vec::new() };
        let mut ends = self.keys_end.lock().unwrap_or_else(PoisonError::into_inner);
        ends.due(member.certificates(), SystemTime::now())
    }

    fn due_ends(&self) -> Vec<String> {
        let certificates = self.shared.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.due(&certificates, SystemTime::now())
    }

    /// Looks which addresses the host has, tells the signaling thread of a change, and gives those that
    /// the settings name and the host lacks.
    pub(super) fn look_at_addresses(&self) -> Vec<String> {
        let mut watch = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        match watch.look() {
            Ok(None) => {}
            Ok(Some(found)) => {
                translate::reroute();
                if let Err(error) = self.shared.asks.ask(Ask::Addresses(found), &self.shared.wake) {
                    tracing::warn!("new addresses of the host are not taken over: {error}");
                }
                if let Some(member) = &self.member {
                    member.look_at_addresses(&self.settings);
                }
            }
            Err(error) => tracing::warn!(%error, "the system does not tell the host's addresses"),
        }
        let named = watch.named().to_vec();
        let absent = named.iter().filter(|named| !named.present).map(ToString::to_string).collect();
        *self.shared.named.lock().unwrap_or_else(PoisonError::into_inner) = named;
        absent
    }
}
